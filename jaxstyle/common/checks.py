"""Checks of arguments. Each raises one line that names the argument, and says what is wrong with it and what to do."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def known(x: Any) -> np.ndarray | None:
    """Return the values of an array as NumPy's, if they are known.

    Args:
      x: an array, a number, or a list of them.

    Returns:
      The values; None if a part of them is being traced, or if other processes hold a part of an array.
    """
    if any(isinstance(part, Tracer) for part in jax.tree.leaves(x)):
        return None
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return None
    # This takes NumPy: in a jitted function, even the result of a jax function of constants is a tracer.
    return np.asarray(x)


@contextmanager
def reverse_mode_only() -> Generator[None]:
    """Replace jax's error for forward mode through a custom gradient by one that says what to do instead.

    This is a context manager, and a decorator too. If the caller jits the function, jax itself raises its own error
    later.

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
    """Check that an argument is a function.

    Args:
      name: the argument's name, for the message.
      value: the argument.
      source: what makes such functions, for the message.

    Raises:
      ValueError: if it is not callable.
    """
    if not callable(value):
        raise ValueError(f"{name} must be a function, as {source} gives it, got {type(value).__name__}")


def check_type(name: str, value: object, wanted: type) -> None:
    """Check the type of an argument.

    Args:
      name: the argument's name, for the message.
      value: the argument.
      wanted: the type that it must have.

    Raises:
      ValueError: if it has another type.
    """
    if not isinstance(value, wanted):
        raise ValueError(f"{name} must be {wanted.__name__}, got {type(value).__name__}")


def check_count(name: str, value: Any, smallest: int) -> None:
    """Check that an argument is a whole number and large enough.

    Args:
      name: the argument's name, for the message.
      value: the argument.
      smallest: the smallest number that is allowed.

    Raises:
      ValueError: if it is smaller, or no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
        raise ValueError(f"{name} must be a whole number, {smallest} or more, got {value!r}")


def check_bounds(bounds: tuple[float, float] | None) -> None:
    """Check bounds of pixel values.

    Args:
      bounds: (low, high), or None.

    Raises:
      ValueError: if they are anything else, or not low < high.
    """
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be None or (low, high) with low < high, got {bounds}")


def check_shape(name: str, x: Any, axes: tuple[str, ...]) -> None:
    """Check the number of axes of an array.

    Args:
      name: the argument's name, for the message.
      x: the array.
      axes: names of the axes that it must have, for the message.

    Raises:
      ValueError: if it has more or fewer axes.
    """
    shape = jnp.shape(x)
    if len(shape) != len(axes):
        hint = "; use jax.vmap for a batch" if len(shape) > len(axes) else ""
        raise ValueError(f"{name} must have shape ({', '.join(axes)}), got {shape}{hint}")
