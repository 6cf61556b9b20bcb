"""Products of matrices that no platform rounds to fewer bits."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def exact_matmul(a: Float[Array, "... m k"], b: Float[Array, "... k n"]) -> Float[Array, "... m n"]:
    """The product of two matrices at the full precision of their dtype, which TPUs and recent GPUs would else round.

    Args:
      a: (..., m, k).
      b: (..., k, n).

    Returns:
      (..., m, n).
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
