"""ReLU and 2x2 pooling, whose backward passes keep masks rather than values: features (h, w, c) of one image."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def relu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """max(x, 0); its backward pass keeps the mask of positive values rather than the values.

    Args:
      x: an array of any shape.

    Returns:
      An array of the same shape.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    # Without the barrier, a TPU's compiler keeps the values themselves, and makes the mask of them when it needs it.
    return y, lax.optimization_barrier(y > 0)


def _relu_backward(positive: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(positive, g, 0),)


relu.defvjp(_relu_forward, _relu_backward)


@jax.custom_vjp
def max_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """2x2 maximum, stride 2; an odd last row or column is left out.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
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


def average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """2x2 mean, stride 2; an odd last row or column is left out.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    a, b, c, d = _quarters(x)
    return (a + b + c + d) / 4


def scaled_average_pool(x: Float[Array, "h w c"]) -> Float[Array, "h//2 w//2 c"]:
    """1.7 times the 2x2 mean, stride 2, which leaves activations about as large as maximum pooling does.

    Means alone make them smaller at every pool, and a seventh by relu5_1. With 1.7, mean activations of relu2_1 to
    relu5_1 were 0.7 to 1.4 times those of maximum pooling, on two photographs and two paintings of 160 pixels with the
    bundled weights; with the 2 of crowsonkb/style-transfer-pytorch, 1.4 to 2.2 times.

    Args:
      x: (h, w, c).

    Returns:
      (h // 2, w // 2, c).
    """
    return 1.7 * average_pool(x)


def _quarters(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    return x[::2, ::2], x[::2, 1::2], x[1::2, ::2], x[1::2, 1::2]
