"""ReLU and 2x2 pooling. For the backward pass, ReLU and maximum pooling keep masks instead of values.

Features have the shape (h, w, c) and belong to one image.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute max(x, 0). The backward pass keeps the mask of positive values instead of the values.

    Args:
      x: an array of any shape.

    Returns:
      An array of the same shape.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    # Without the barrier, the compiler for TPUs keeps the values, and computes the mask when it needs it.
    return y, lax.optimization_barrier(y > 0)


def _relu_backward(positive: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive, g, 0),)


relu.defvjp(_relu_forward, _relu_backward)


@jax.custom_vjp
def max_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """Take the maximum of each 2x2 block, with stride 2. An odd last row or column is left out.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    # Slices are used because the gradient of lax.reduce_window makes a whole step 1.9 times slower on CPU.
    return _max_pool_forward(x)[0]


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    a, b, c, d = _quarters(x)
    y = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    # The backward pass keeps the index of the (first) largest of the four, a byte for each position.
    chosen = jnp.where(a == y, 0, jnp.where(b == y, 1, jnp.where(c == y, 2, 3))).astype(jnp.uint8)
    return y, (chosen, jnp.zeros((*x.shape[:2], 0), x.dtype))  # the empty array carries the size


def _max_pool_backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    chosen, size = residuals
    h, w, c = g.shape
    place = jnp.arange(4, dtype=jnp.uint8).reshape(1, 2, 1, 2, 1)
    spread = jnp.where(chosen[:, None, :, None] == place, g[:, None, :, None], 0).reshape(2 * h, 2 * w, c)
    return (jnp.pad(spread, ((0, size.shape[0] - 2 * h), (0, size.shape[1] - 2 * w), (0, 0))),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def relu_max_pool(x: Float[Array, "h w c"], pairs: bool = False) -> Float[Array, "_h _w _c"]:
    """Compute max(x, 0) and its maximum pooling, in one pass of a TPU over x, or as the end of a convolution.

    Args:
      x: (h, w, c), or with `pairs` (h, w / 2, 2 c).
      pairs: whether columns are pairs of pixels; the channels of the left one come first.

    Returns:
      (h // 2, w // 2, c).
    """
    return _pool_and_index(x, pairs)[0]


def _pool_and_index(x: jax.Array, pairs: bool) -> tuple[jax.Array, jax.Array]:
    """Return the pooled array, and the number of the first largest of four; -1 if none is positive."""
    by_reduce, by_slices = partial(_pool_by_reduce, pairs=pairs), partial(_pool_by_slices, pairs=pairs)
    return lax.platform_dependent(x, tpu=by_reduce, default=by_slices)


def _pool_by_slices(x: jax.Array, pairs: bool) -> tuple[jax.Array, jax.Array]:
    y, (chosen, _) = _max_pool_forward(x.reshape(x.shape[0], -1, x.shape[2] // 2) if pairs else x)
    return jnp.maximum(y, 0), jnp.where(y > 0, chosen.astype(jnp.int8), -1)


def _pool_by_reduce(x: jax.Array, pairs: bool) -> tuple[jax.Array, jax.Array]:
    # First over pairs of rows, as one operation with two results, which becomes a part of the convolution before it.
    h, w, c = x.shape[0] // 2, x.shape[1] if pairs else x.shape[1] // 2 * 2, x.shape[2]
    rows = x[: 2 * h, :w].reshape(h, 2, w, c)
    index = lax.broadcasted_iota(jnp.int8, rows.shape, 1) * 2
    y, i = _largest(rows, index + (0 * rows).astype(jnp.int8), 1)
    if pairs:
        left, right = ((a[..., : c // 2], a[..., c // 2 :]) for a in (y, i))
        return _larger((left[0], right[0]), (left[1], _next(right[1], jnp.ones((), jnp.int8))))
    y, i = (a.reshape(h, w // 2, 2, c) for a in (y, i))
    return _largest(y, _next(i, lax.broadcasted_iota(jnp.int8, i.shape, 2)), 2)


def _next(index: jax.Array, step: jax.Array) -> jax.Array:
    return jnp.where(index < 0, index, index + step)


def _largest(x: jax.Array, index: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    start = jnp.zeros((), x.dtype), jnp.full((), -1, index.dtype)
    y, i = lax.reduce((x, index), start, _larger, (axis,))
    return y, i


def _larger(a: Any, b: Any) -> tuple[jax.Array, jax.Array]:
    """Return the pair (value, index) whose value is larger, or whose index is smaller."""
    (x, i), (y, j) = a, b
    first = (x > y) | ((x == y) & (i <= j))
    return jnp.where(first, x, y), jnp.where(first, i, j)


def _relu_max_pool_forward(x: jax.Array, pairs: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    chosen = _pool_and_index(lax.stop_gradient(x), pairs)[1]
    return relu_max_pool(x, pairs), (chosen, jnp.zeros((*x.shape[:2], 0), x.dtype))


def _relu_max_pool_backward(pairs: bool, residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    chosen, size = residuals
    h, _, c = g.shape
    if pairs:
        right = jnp.arange(2 * c) >= c
        place = jnp.arange(0, 4, 2).reshape(1, 2, 1, 1) + right.astype(int)[None, None, None]
        g, chosen = (jnp.concatenate([a, a], -1)[:, None] for a in (g, chosen))
    else:
        place = jnp.arange(4).reshape(1, 2, 1, 2, 1)
        g, chosen = (a[:, None, :, None] for a in (g, chosen))
    spread = jnp.where(chosen == place.astype(jnp.int8), g, 0).reshape(2 * h, -1, 2 * c if pairs else c)
    missing = [(0, all_of - some) for all_of, some in zip(size.shape[:2], spread.shape[:2], strict=True)]
    # Without the barrier, a TPU writes g and the choice four times as large each, where a convolution reads them.
    return (lax.optimization_barrier(jnp.pad(spread, (*missing, (0, 0)))),)


relu_max_pool.defvjp(_relu_max_pool_forward, _relu_max_pool_backward)


def average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """Take the mean of each 2x2 block, with stride 2. An odd last row or column is left out.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    a, b, c, d = _quarters(x)
    return (a + b + c + d) / 4


def scaled_average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """Take 1.7 times the mean of each 2x2 block, with stride 2. An odd last row or column is left out.

    Activations then are about as large as with maximum pooling. Means alone make them smaller at every pooling: at
    relu5_1 they are a seventh. With the factor 1.7, the mean activations of relu2_1 to relu5_1 were 0.7 to 1.4 times
    those of maximum pooling, on two photographs and two paintings of 160 pixels with the bundled weights. With the
    factor 2 of crowsonkb/style-transfer-pytorch, they were 1.4 to 2.2 times as large.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    return 1.7 * average_pool(x)


def _quarters(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    return x[::2, ::2], x[::2, 1::2], x[1::2, ::2], x[1::2, 1::2]
