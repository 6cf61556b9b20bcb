"""Square roots of positive definite matrices, float32 or float64, by Newton and Schulz's iteration.

The iteration needs matrix products only. Its coupled form gives K^(1/2) and K^(-1/2) at once (Higham, Functions of
Matrices, 2008, chapter 6). The first steps are scaled after Chen and Chow (A stable scaling of Newton-Schulz, 2014), so
that 12 steps are enough, where 20 are needed without scaling.
"""

from functools import cache
from math import sqrt

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.exact_matmul import exact_matmul

SMALLEST = 2e-6
"""The smallest eigenvalue that the functions here resolve in float32, as a fraction of the matrix's Frobenius norm."""

_MAX_SCALE = 1.65  # sqrt(3) is the fastest, but takes the largest eigenvalue to 0, up to rounding


@cache
def _scales() -> tuple[float, ...]:
    """Compute the scale of each step, for as many steps as take all eigenvalues to 1 within 1e-13.

    The eigenvalues of K / |K| lie between `SMALLEST` and 1. A step with scale a maps the square root x of an eigenvalue
    to f(x) = a x (3 - a^2 x^2) / 2. Over [smallest x, 1], f is smallest at one of the two ends.
    """
    scales, x = [], sqrt(SMALLEST)
    while 1 - x > 1e-13:
        a = min(sqrt(3 / (1 + x + x * x)), _MAX_SCALE)
        scales.append(a)
        x = min(a * x * (3 - (a * x) ** 2), a * (3 - a * a)) / 2
    return tuple(scales)


def _iterate(k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute K^(1/2) and K^(-1/2) of a matrix (n, n)."""
    norm = jnp.sqrt(jnp.square(k).sum())
    eye = jnp.eye(len(k), dtype=k.dtype)

    def step(roots: tuple[jax.Array, jax.Array], scale: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        y, z = roots
        factor = scale / 2 * (3 * eye - scale**2 * exact_matmul(z, y))
        return (exact_matmul(y, factor), exact_matmul(factor, z)), None

    # This is a loop because 12 unrolled steps for each layer take long to compile.
    (y, z), _ = lax.scan(step, (k / norm, eye), jnp.asarray(_scales(), k.dtype))
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)


def matrix_root(k: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Compute K^(1/2) of a symmetric matrix whose eigenvalues are all at least `SMALLEST` times its Frobenius norm.

    Args:
      k: (n, n).

    Returns:
      (n, n).
    """
    return _iterate(k)[0]


@jax.custom_jvp
def root_trace(k: Float[Array, "n n"]) -> Float[Array, ""]:
    """Compute the trace of K^(1/2). Its gradient, K^(-1/2) / 2, costs nothing more.

    A gradient through the iteration would take twice the iteration's time, and would be wrong in the last digits.

    Args:
      k: (n, n), as in `matrix_root`.

    Returns:
      A scalar.
    """
    return jnp.trace(_iterate(k)[0])


@root_trace.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (k,), (t,) = primals, tangents
    root, inverse = _iterate(k)
    return jnp.trace(root), (inverse * t).sum() / 2
