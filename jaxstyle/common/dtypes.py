"""Dtypes to compute in, chosen here so that a program which forbids implicit promotion can use the library too."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def wide(dtype: jax.typing.DTypeLike) -> np.dtype:
    """The dtype that losses and statistics of features are computed in.

    Args:
      dtype: of the features.

    Returns:
      float64 for float64, else float32.
    """
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def widen(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Half precision as float32; float32 and float64 as they are.

    Args:
      x: an array of any shape.

    Returns:
      An array of the same shape.
    """
    return x.astype(wide(x.dtype))


def promoted(*trees: Any) -> list[Any]:
    """Arrays in one dtype: that which jax's usual rules of promotion give all of them together.

    Args:
      trees: pytrees of arrays of any shapes.

    Returns:
      As many pytrees of the same structures and shapes.
    """
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*jax.tree.leaves(trees))
    return [jax.tree.map(lambda x: jnp.asarray(x, dtype), tree) for tree in trees]
