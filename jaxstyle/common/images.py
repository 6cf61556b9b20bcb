"""Images as arrays of jax: float RGB in [0, 1]."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def as_image(image: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """An image, or images, as an array of jax.

    Args:
      image: of any shape.

    Returns:
      The array.

    Raises:
      ValueError: unless it is floating-point.
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
    """One image as an array of jax.

    Args:
      image: (h, w, 3).

    Returns:
      The array.

    Raises:
      ValueError: unless it is floating-point, (h, w, 3).
    """
    image = as_image(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        hint = "; use jax.vmap for a batch" if image.ndim > 3 else ""
        raise ValueError(f"image must have shape (h, w, 3), got {image.shape}{hint}")
    return image
