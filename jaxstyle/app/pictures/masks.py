"""Read masks of regions from image files: a region is white, the rest black or transparent, and edges may be soft."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.image import resize

from jaxstyle.app.image_files.decode import MAX_PIXELS
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.read_image import read_image, resolve_path
from jaxstyle.app.settings.settings import Settings
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import printable
from jaxstyle.colour import luminance, to_gray

_OTHER_ASPECT = 0.02


def load_masks(names: Sequence[str], picture: Picture, *, max_pixels: int | None) -> list[Picture]:
    """Read masks of a picture as gray images, and resize them to the picture's shape.

    Raises:
      StartError: if a mask can't be read, or has another aspect ratio than the picture.
    """
    h, w, _ = picture.image.shape
    masks = []
    for name in names:
        # What is transparent in a mask is no part of its region.
        mask = jnp.asarray(read_image(name, max(h, w), background=(0, 0, 0), max_pixels=max_pixels or MAX_PIXELS))
        mask_h, mask_w, _ = mask.shape
        if abs(mask_w - mask_h * w / h) > 1 + _OTHER_ASPECT * mask_w:
            raise StartError(
                f"the mask {name} is {mask_w / mask_h:.2f} times as wide as high, its image {picture.name} "
                f"{w / h:.2f} times: a mask must cover its image"
            )
        mask = jnp.clip(resize(to_gray(mask), (h, w, 3), "linear"), 0, 1)
        masks.append(Picture(printable(resolve_path(name).name), np.asarray(mask), ""))
    return masks


def check_counts(settings: Settings, contents: int, styles: int, blend: int) -> None:
    """Raise StartError if the number of masks doesn't fit the numbers of content, style and --blend images."""
    regions, of_style, images = len(settings.content_mask), len(settings.style_mask), 1 + blend
    if of_style and not regions:
        raise StartError("--style-mask needs --content-mask, which says where each region's style goes")
    if regions and contents > 1:
        raise StartError(f"--content-mask is for one content image, but CONTENT holds {contents}")
    if of_style and styles > 1:
        raise StartError(f"--style-mask is for one style image, but STYLE holds {styles}")
    if of_style and of_style != regions * images:
        of_all = f"for STYLE and then for each image of --blend, {regions * images} in all" if images > 1 else ""
        raise StartError(f"{of_style} style masks for {regions} content masks: give as many {of_all}".rstrip())
    if regions and not of_style and regions != images:
        raise StartError(
            f"{regions} content masks for {images} style images: without --style-mask, the first region takes STYLE, "
            "and each further one an image of --blend"
        )


def as_array(masks: Sequence[Picture]) -> jax.Array:
    """Stack the masks of one image to an array (regions, h, w)."""
    return jnp.stack([luminance(jnp.asarray(mask.image)) for mask in masks])


def own_regions(shapes: Sequence[tuple[int, ...]]) -> list[jax.Array]:
    """Make masks (images, h, w) for each style image, in which the first image is the whole first region, and so on."""
    return [
        jnp.broadcast_to((jnp.arange(len(shapes)) == i).astype(jnp.float32)[:, None, None], (len(shapes), *shape[:2]))
        for i, shape in enumerate(shapes)
    ]
