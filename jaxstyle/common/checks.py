"""Checks of arguments, each of which raises one line that names the argument, what is wrong with it and what to do."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def known(x: Any) -> np.ndarray | None:
    """The values of an array, where they are known.

    Args:
      x: an array, or a number.

    Returns:
      The values; None of an array that is being traced, or of which other processes hold a part.
    """
    if isinstance(x, Tracer) or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return None
    # NumPy, since in a jitted function even what jax computes of constants is unknown.
    return np.asarray(x)


@contextmanager
def reverse_mode_only() -> Generator[None]:
    """Say what to do instead where forward mode meets a gradient of our own; a context, or a decorator.

    In a function that the caller jits, it is jax that finds this out later, in its own words.

    Returns:
      A context manager.

    Raises:
      TypeError: for forward-mode differentiation.
    """
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(
            "forward-mode differentiation (jax.jvp, jax.jacfwd, jax.hessian) does not go through the network, whose "
            "gradient is a custom one: use reverse mode (jax.grad, jax.vjp, jax.jacrev)"
        ) from None


def check_function(name: str, value: object, source: str) -> None:
    """Check a function.

    Args:
      name: of the argument.
      value: what should be a function.
      source: of such functions, for the message.

    Raises:
      ValueError: for anything else.
    """
    if not callable(value):
        raise ValueError(f"{name} must be a function, as {source} gives it, got {type(value).__name__}")


def check_type(name: str, value: object, wanted: type) -> None:
    """Check the type of an argument.

    Args:
      name: of the argument.
      value: what should be of the type.
      wanted: the type.

    Raises:
      ValueError: for anything else.
    """
    if not isinstance(value, wanted):
        raise ValueError(f"{name} must be {wanted.__name__}, got {type(value).__name__}")


def check_count(name: str, value: Any, smallest: int) -> None:
    """Check a number of things.

    Args:
      name: of the argument.
      value: what should be a whole number.
      smallest: the least that it may be.

    Raises:
      ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
        raise ValueError(f"{name} must be a whole number, {smallest} or more, got {value!r}")


def check_shape(name: str, x: Any, axes: tuple[str, ...]) -> None:
    """Check the number of axes.

    Args:
      name: of the array.
      x: the array.
      axes: their names.

    Raises:
      ValueError: for another number.
    """
    shape = jnp.shape(x)
    if len(shape) != len(axes):
        hint = "; use jax.vmap for a batch" if len(shape) > len(axes) else ""
        raise ValueError(f"{name} must have shape ({', '.join(axes)}), got {shape}{hint}")
