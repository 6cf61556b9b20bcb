"""ReLU and 2x2 pooling, whose backward passes keep masks rather than values: features (h, w, c) of one image."""

import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0); its backward pass keeps the mask of positive values rather than the values."""
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    # Without the barrier, a TPU's compiler keeps the values themselves, and makes the mask of them when it needs it.
    return y, lax.optimization_barrier(y > 0)


def _relu_backward(positive: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive, g, 0),)


relu.defvjp(_relu_forward, _relu_backward)


@jax.custom_vjp
def max_pool(x: jax.Array) -> jax.Array:
    """2x2 maximum, stride 2; an odd last row or column is left out. (h, w, c) -> (h // 2, w // 2, c)."""
    # Slices rather than lax.reduce_window, whose gradient makes a whole step 1.9 times slower on CPU.
    return _max_pool_forward(x)[0]


def _max_pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    a, b, c, d = _quarters(x)
    y = jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
    # Which of the four was the (first) largest: a byte a position instead of the values.
    chosen = jnp.where(a == y, 0, jnp.where(b == y, 1, jnp.where(c == y, 2, 3))).astype(jnp.uint8)
    return y, (chosen, jnp.zeros((*x.shape[:2], 0), x.dtype))  # the empty array carries the size


def _max_pool_backward(residuals: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array]:
    chosen, size = residuals
    h, w, c = g.shape
    place = jnp.arange(4, dtype=jnp.uint8).reshape(1, 2, 1, 2, 1)
    spread = jnp.where(chosen[:, None, :, None] == place, g[:, None, :, None], 0).reshape(2 * h, 2 * w, c)
    return (jnp.pad(spread, ((0, size.shape[0] - 2 * h), (0, size.shape[1] - 2 * w), (0, 0))),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def average_pool(x: jax.Array) -> jax.Array:
    """2x2 mean, stride 2; an odd last row or column is left out. (h, w, c) -> (h // 2, w // 2, c)."""
    a, b, c, d = _quarters(x)
    return (a + b + c + d) / 4


def _quarters(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    return x[::2, ::2], x[::2, 1::2], x[1::2, ::2], x[1::2, 1::2]
