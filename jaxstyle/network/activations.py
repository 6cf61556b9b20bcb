"""ReLU and 2x2 pooling. For the backward pass, ReLU and maximum pooling keep masks instead of values.

Features have the shape (h, w, c) and belong to one image.
"""

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
