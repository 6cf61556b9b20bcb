"""Images to start a transfer from.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from jaxstyle.colour import colour_moments, symmetric_sqrt
from jaxstyle.common.checks import check_shape

STARTS: tuple[str, ...] = ("content", "noise", "style", "gray", "statistics")
"""The names of the images that `starting_image` makes."""

NOISY_STARTS: tuple[str, ...] = ("noise", "gray", "statistics")
"""Those of `STARTS` that depend on the random key."""


def starting_image(
    start: str,
    content: Float[Array, "h w 3"],
    style: Float[Array, "h_style w_style 3"],
    key: Key[Array, ""] | UInt32[Array, " _words"],
) -> Float[Array, "h w 3"]:
    """Make the image to start from.

    - "content" is the content image.
    - "noise" is uniform in [0, 1). Gatys et al. start from white noise.
    - "style" is the style image, scaled to cover the content's area and cropped around its centre.
    - "gray" is the middle gray with noise of one level of 255. Without noise, equal places would stay equal.
    - "statistics" is normal noise with the mean and covariance of the style image's pixels, clipped to [0, 1], as in
      crowsonkb/style-transfer-pytorch.

    Args:
      start: one of `STARTS`.
      content: (h, w, 3) the content image.
      style: (h', w', 3) the style image.
      key: random key for the images with noise.

    Returns:
      (h, w, 3), with the content's size and dtype.

    Raises:
      ValueError: for an unknown start; the message lists the valid ones.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jaxstyle.optimise.initial_images import starting_image
      >>> content, style = jnp.zeros((8, 10, 3)), jnp.ones((6, 6, 3))
      >>> starting_image("style", content, style, jax.random.key(0)).shape
      (8, 10, 3)
    """
    for image in (content, style):
        check_shape("image", image, ("h", "w", "3"))
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
        noise = jax.random.normal(key, shape, mean.dtype)
        noise = jnp.einsum("hwc,cd->hwd", noise, symmetric_sqrt(covariance), precision="highest")
        return jnp.clip(noise + mean[None, None], 0, 1).astype(dtype)
    raise ValueError(f"unknown start {start!r}; valid: {', '.join(STARTS)}")


def cover(image: Float[Array, "h w channels"], height: int, width: int) -> Float[Array, "{height} {width} channels"]:
    """Scale an image so that it covers a size, and crop it to that size around its centre.

    Args:
      image: (h, w, channels).
      height: pixels of the result.
      width: pixels of the result.

    Returns:
      (height, width, channels), clipped to [0, 1].
    """
    h, w, channels = image.shape
    scale = max(height / h, width / w)
    h, w = max(height, round(h * scale)), max(width, round(w * scale))
    image = jnp.clip(jax.image.resize(image, (h, w, channels), "cubic"), 0, 1)
    top, left = (h - height) // 2, (w - width) // 2
    return image[top : top + height, left : left + width]
