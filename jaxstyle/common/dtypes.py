"""Dtypes to compute in.

The library chooses them explicitly, so that it also works in a program which forbids implicit promotion.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def wide(dtype: jax.typing.DTypeLike) -> np.dtype:
    """Choose the dtype that losses and statistics of features are computed in.

    Args:
      dtype: the features' dtype.

    Returns:
      float64 for float64; float32 for any other dtype.
    """
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def widen(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Convert half precision to float32, and leave float32 and float64 as they are.

    Args:
      x: an array of any shape.

    Returns:
      An array of the same shape.
    """
    return x.astype(wide(x.dtype))


def as_float(x: Any) -> Array:
    """Make an array of floating-point numbers, whose dtype doesn't depend on whether Python's numbers were whole.

    Args:
      x: a number, a list of numbers or an array.

    Returns:
      An array of the same shape, without jax's weak type; complex numbers stay complex.

    Raises:
      TypeError, ValueError: for what is no array of numbers.
    """
    array = jnp.asarray(x)
    with jax.numpy_dtype_promotion("standard"):
        return jnp.asarray(array, jnp.result_type(array, float))


def promoted(*trees: Any) -> list[Any]:
    """Convert all arrays to one dtype: the one to which jax's usual rules promote them together.

    Args:
      trees: pytrees of arrays of any shapes.

    Returns:
      A list of the converted pytrees, which have the same structures and shapes.
    """
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*jax.tree.leaves(trees))
    return [jax.tree.map(lambda x: jnp.asarray(x, dtype), tree) for tree in trees]
