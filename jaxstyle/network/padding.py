"""A frame of the nearest pixels around images, whose columns may be pairs of pixels.

Images have the shape (n, h, w, c). Where columns are pairs, w counts the pairs, and the channels of the left pixel come
before those of the right one.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def pad(x: Float[Array, "n h w c"], *, pairs: bool) -> Float[Array, "n h+2 w+2 c"]:
    """Put a frame of the nearest pixels around images.

    Args:
      x: (n, h, w, c).
      pairs: whether columns are pairs of pixels. Only that pixel of a pair in the frame counts which touches the image.

    Returns:
      (n, h + 2, w + 2, c).
    """
    if not pairs:
        return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    x = jnp.concatenate([_exchange(x[:, :, :1]), x, _exchange(x[:, :, -1:])], 2)
    return jnp.concatenate([x[:, :1], x, x[:, -1:]], 1)


def fold_of_transpose(
    g: Float[Array, "n h w c_out"], kernel: Float[Array, "3 3 c_out c_in"], *, pairs: bool
) -> Float[Array, "n h w c_in"]:
    """Compute what the frame of `pad` adds to the transpose of a convolution, at the outermost pixels.

    The transpose of padding and convolution is a convolution of `g` with zeros around it, and this. A frame is small,
    so its products cost little. Cut off from a larger convolution's result, it would cost two passes over the images.

    Args:
      g: (n, h, w, c_out) what the transpose is applied to.
      kernel: (3, 3, c_out, c_in) flipped, of the transposed convolution.
      pairs: as of `pad`.

    Returns:
      (n, h, w, c_in), zero but at the outermost pixels.
    """
    _, h, w, _ = g.shape
    # What the larger result has in the row above and the one below, from left to right of the image, corners included.
    rows = _sums(jnp.stack([g[:, 0], g[:, -1]]), jnp.stack([kernel[2], kernel[0]]), 2)
    columns = _sums(jnp.stack([g[:, :, 0], g[:, :, -1]]), jnp.stack([kernel[:, 2], kernel[:, 0]]), 1)
    corners = jnp.stack([rows[:, :, 0], rows[:, :, -1]])  # left and right, above and below
    zero = jnp.zeros((), g.dtype)

    def at(place: int, axis: int, shape: tuple[int, ...], value: jax.Array) -> jax.Array:
        return jnp.where(lax.broadcasted_iota(jnp.int32, shape, axis) == place, value, zero)

    ends = columns.shape
    columns = columns + at(0, 2, ends, corners[:, 0, :, None]) + at(h - 1, 2, ends, corners[:, 1, :, None])
    if pairs:
        columns = _exchange(columns)
    shape = (*g.shape[:3], kernel.shape[-1])
    top, bottom = rows[:, :, None, 1:-1]
    left, right = columns[:, :, :, None]
    return at(0, 1, shape, top) + at(h - 1, 1, shape, bottom) + at(0, 2, shape, left) + at(w - 1, 2, shape, right)


def _sums(lines: jax.Array, kernels: jax.Array, zeros: int) -> jax.Array:
    """Correlate lines of images (2, n, length, c_out) with kernels (2, 3, c_out, c_in) of their own."""
    lines = jnp.pad(lines, ((0, 0), (0, 0), (zeros, zeros), (0, 0)))
    length = lines.shape[2] - 2
    taps = jnp.concatenate([lines[:, :, i : i + length] for i in range(3)], -1)
    kernels = kernels.reshape(2, -1, kernels.shape[-1])
    return jnp.einsum(
        "enlk,ekc->enlc", taps, kernels, precision=lax.Precision.HIGHEST, preferred_element_type=taps.dtype
    )


def _exchange(x: jax.Array) -> jax.Array:
    """Exchange the two pixels of every pair."""
    return jnp.roll(x, x.shape[-1] // 2, -1)
