"""The sizes that lanes go through, from coarse to fine, and a job's pictures at each of them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.app.data import Picture, Shape
from jaxstyle.app.errors import StartError
from jaxstyle.app.settings import Settings
from jaxstyle.layers import min_size
from jaxstyle.pyramid import resize, scales

if TYPE_CHECKING:
    from jaxstyle.app.job import Job


_FACTOR = 2.0


class Stage(NamedTuple):
    """Steps at one size, (h, w)."""

    shape: Shape
    steps: int


def plan_stages(settings: Settings, shape: Shape) -> list[Stage]:
    """The stages of lanes of this shape: halved in size until the longest side is `min_size`, the coarsest first."""
    shapes = [shape]
    if settings.min_size is not None and settings.min_size < max(shape):
        smallest = max(1, math.floor(settings.min_size * min(shape) / max(shape)))
        shapes = list(scales(shape, smallest=smallest, factor=_FACTOR))
    coarse = settings.coarse_steps or settings.steps
    return [*(Stage(s, coarse) for s in shapes[:-1]), Stage(shapes[-1], settings.steps)]


def check_stages(settings: Settings, contents: Sequence[Picture]) -> None:
    """Raise StartError if the pictures of a stage are too small for the layers."""
    smallest = _smallest(settings)
    for picture in contents:
        shape = (picture.image.shape[0], picture.image.shape[1])
        h, w = plan_stages(settings, shape)[0].shape
        if min(h, w) < smallest <= min(shape):
            raise StartError(
                f"--min-size {settings.min_size} makes {picture.name} {w}x{h} pixels at first, too few for the layers "
                f"asked for, which need {smallest} on each side; take a larger one"
            )


def _smallest(settings: Settings) -> int:
    return min_size(tuple(dict.fromkeys(settings.content_layers + settings.style_layers)))


def at_scale(job: "Job", full: Shape, shape: Shape) -> "Job":
    """The job with content images of shape `full` at `shape`, and the style images scaled by as much."""
    if shape == full:
        return job
    ratio = math.sqrt(math.prod(shape) / math.prod(full))
    smallest = _smallest(job.settings)

    def shrink(picture: Picture, to: Shape) -> Picture:
        return picture._replace(image=np.asarray(resize(jnp.asarray(picture.image), to)))

    def style_shape(image: np.ndarray) -> Shape:
        h, w = (max(smallest, round(side * ratio)) for side in image.shape[:2])
        return min(h, image.shape[0]), min(w, image.shape[1])

    def shrink_styles(pictures: Sequence[Picture]) -> list[Picture]:
        return [shrink(p, style_shape(p.image)) for p in pictures]

    pictures = job.pictures
    return job._replace(
        pictures=pictures._replace(
            contents=[shrink(p, shape) if p.image.shape[:2] == full else p for p in pictures.contents],
            styles=shrink_styles(pictures.styles),
            blend=shrink_styles(pictures.blend),
            content_masks=[shrink(p, shape) for p in pictures.content_masks],
            style_masks=shrink_styles(pictures.style_masks),
        )
    )
