"""Check images and convert them to jax arrays. Images are float RGB in [0, 1]."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def as_image(image: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Convert one image, or several in one array, to a jax array.

    Args:
      image: an array of any shape.

    Returns:
      The jax array, of the same shape.

    Raises:
      ValueError: if it is no array, or not floating-point.
    """
    try:
        if hasattr(image, "_fields") or isinstance(image, Mapping):
            raise TypeError
        image = jnp.asarray(image)
    except (TypeError, ValueError):
        hint = "; a state's image is state.image" if hasattr(image, "image") else ""
        raise ValueError(f"image must be an array of shape (h, w, 3), got {type(image).__name__}{hint}") from None
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be floating-point RGB in [0, 1], got {image.dtype}: divide bytes by 255")
    return image


def one_image(image: Float[ArrayLike, "h w 3"]) -> Float[Array, "h w 3"]:
    """Convert one image to a jax array.

    Args:
      image: (h, w, 3).

    Returns:
      The jax array (h, w, 3).

    Raises:
      ValueError: if it is no array, not floating-point, or not of shape (h, w, 3).
    """
    image = as_image(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        hint = "; use jax.vmap for a batch" if image.ndim > 3 else ""
        raise ValueError(f"image must have shape (h, w, 3), got {image.shape}{hint}")
    return image
