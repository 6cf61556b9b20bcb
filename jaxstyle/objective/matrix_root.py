"""Square roots of positive definite matrices by Newton and Schulz's iteration: matrix products only, at least float32.

The coupled iteration gives K^(1/2) and K^(-1/2) at once (Higham, Functions of Matrices, 2008, chapter 6); its first
steps are scaled after Chen and Chow (A stable scaling of Newton-Schulz, 2014), so that 12 do what 20 did.
"""

from functools import cache
from math import sqrt

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.exact_matmul import exact_matmul

SMALLEST = 2e-6
"""Smallest eigenvalue, of a matrix's Frobenius norm, that the functions here resolve in float32."""


_MAX_SCALE = 1.65  # sqrt(3), the best for speed, would take the largest eigenvalue to 0 but for rounding


@cache
def _scales() -> tuple[float, ...]:
    """Factor of each step, for eigenvalues of K / |K| between `SMALLEST` and 1, until all are 1 to 1e-13.

    With x^2 an eigenvalue, a step maps x to f(x) = a x (3 - a^2 x^2) / 2, which is least at an end of [smallest x, 1].
    """
    scales, x = [], sqrt(SMALLEST)
    while 1 - x > 1e-13:
        a = min(sqrt(3 / (1 + x + x * x)), _MAX_SCALE)
        scales.append(a)
        x = min(a * x * (3 - (a * x) ** 2), a * (3 - a * a)) / 2
    return tuple(scales)


def _iterate(k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """K^(1/2) and K^(-1/2) of a matrix (n, n)."""
    norm = jnp.sqrt(jnp.square(k).sum())
    eye = jnp.eye(len(k), dtype=k.dtype)

    def step(roots: tuple[jax.Array, jax.Array], scale: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        y, z = roots
        factor = scale / 2 * (3 * eye - scale**2 * exact_matmul(z, y))
        return (exact_matmul(y, factor), exact_matmul(factor, z)), None

    # A loop, since 12 steps for each layer take long to compile.
    (y, z), _ = lax.scan(step, (k / norm, eye), jnp.asarray(_scales(), k.dtype))
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)


def matrix_root(k: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """K^(1/2) of a symmetric matrix whose eigenvalues are all at least `SMALLEST` times its Frobenius norm.

    Args:
      k: (n, n).

    Returns:
      (n, n).
    """
    return _iterate(k)[0]


@jax.custom_jvp
def root_trace(k: Float[Array, "n n"]) -> Float[Array, ""]:
    """Trace of K^(1/2), of a matrix as `matrix_root` takes it. Its gradient, K^(-1/2) / 2, costs nothing.

    A gradient through the iteration would take twice its time again, and differ from that in the last digits.

    Args:
      k: (n, n).

    Returns:
      A scalar.
    """
    return jnp.trace(_iterate(k)[0])


@root_trace.defjvp
def _(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (k,), (t,) = primals, tangents
    root, inverse = _iterate(k)
    return jnp.trace(root), (inverse * t).sum() / 2
