"""Scale the pictures of a job to the size of one of its stages."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.job_pictures import Pictures, StyleSet
from jaxstyle.app.system.kept_programs import jit_kept
from jaxstyle.optimise.pyramid import resize
from jaxstyle.optimise.pyramid_sizes import Shape, style_shape


def at_scale(pictures: Pictures, full: Shape, shape: Shape, *, least: int) -> Pictures:
    """Scale content images of shape `full` to `shape`, and the style images by the same ratio.

    Content images of other shapes stay. No side of a style image gets fewer than `least` pixels, unless it has fewer
    already.
    """
    if shape == full:
        return pictures

    def shrink(picture: Picture, to: Shape) -> Picture:
        return picture._replace(image=np.asarray(jit_kept(partial(resize, shape=tuple(to)))(picture.image)))

    def shrink_styles(styles: Sequence[Picture]) -> list[Picture]:
        return [shrink(style, style_shape(style.image.shape, full, shape, least=least)) for style in styles]

    return pictures._replace(
        contents=[shrink(p, shape) if p.image.shape[:2] == full else p for p in pictures.contents],
        style_sets={scale: StyleSet(*map(shrink_styles, found)) for scale, found in pictures.style_sets.items()},
        content_masks=[shrink(p, shape) for p in pictures.content_masks],
    )
