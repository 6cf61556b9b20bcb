"""A matrix product that no platform rounds to fewer bits."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def exact_matmul(a: Float[Array, "... m k"], b: Float[Array, "... k n"]) -> Float[Array, "... m n"]:
    """Multiply two matrices at the full precision of their dtype. By default, TPUs and recent GPUs round the operands.

    Args:
      a: (..., m, k).
      b: (..., k, n).

    Returns:
      (..., m, n).
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
