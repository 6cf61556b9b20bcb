"""Images to start a transfer from. Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more."""

import jax
import jax.numpy as jnp

from jaxstyle.colour import colour_moments, symmetric_sqrt

STARTS: tuple[str, ...] = ("content", "noise", "style", "gray", "statistics")


def starting_image(start: str, content: jax.Array, style: jax.Array, key: jax.Array) -> jax.Array:
    """The image to start from: (h, w, 3), of the content's size and dtype.

    Args:
      start: "content"; "noise", uniform in [0, 1) (Gatys et al. start from white noise); "style", the style image
        scaled to cover the content's area and cropped around its centre; "gray", the middle gray with noise of one
        level of 255, without which equal places would stay equal; or "statistics", normal noise with the mean and
        covariance of the style image's pixels (as crowsonkb/style-transfer-pytorch has it), clipped to [0, 1].
      content: (h, w, 3).
      style: (h', w', 3).
      key: random key, for those with noise.

    Raises:
      ValueError: for an unknown start.
    """
    shape, dtype = content.shape, content.dtype
    if start == "content":
        return content
    if start == "noise":
        return jax.random.uniform(key, shape, dtype)
    if start == "style":
        return cover(style, shape[0], shape[1]).astype(dtype)
    if start == "gray":
        return jax.random.uniform(key, shape, dtype, 0.5 - 0.5 / 255, 0.5 + 0.5 / 255)
    if start == "statistics":
        mean, covariance = colour_moments(style.astype(dtype))
        noise = jax.random.normal(key, shape, dtype)
        noise = jnp.einsum("hwc,cd->hwd", noise, symmetric_sqrt(covariance), precision="highest")
        return jnp.clip(noise + mean, 0, 1)
    raise ValueError(f"unknown start {start!r}; valid: {', '.join(STARTS)}")


def cover(image: jax.Array, height: int, width: int) -> jax.Array:
    """An image (h', w', 3) scaled to cover (height, width), and cropped to it around its centre."""
    h, w, channels = image.shape
    scale = max(height / h, width / w)
    h, w = max(height, round(h * scale)), max(width, round(w * scale))
    image = jnp.clip(jax.image.resize(image, (h, w, channels), "cubic"), 0, 1)
    top, left = (h - height) // 2, (w - width) // 2
    return image[top : top + height, left : left + width]
