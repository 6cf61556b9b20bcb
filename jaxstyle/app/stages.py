"""The sizes that lanes go through, from coarse to fine, and a job's pictures at each of them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxstyle.app.data import Picture, Shape
from jaxstyle.app.settings import Settings
from jaxstyle.layers import min_size
from jaxstyle.pyramid import resize
from jaxstyle.schedule import scales, steps_of

if TYPE_CHECKING:
    from jaxstyle.app.job import Job


class Stage(NamedTuple):
    """Steps at one size, (h, w)."""

    shape: Shape
    steps: int


def plan_stages(settings: Settings, shape: Shape) -> list[Stage]:
    """The stages of lanes of this shape, the coarsest first: see `schedule.scales`."""
    shapes = (shape,)
    if settings.min_size is not None:
        shapes = scales(shape, smallest=settings.min_size, least=_smallest(settings))
    steps = steps_of(shapes, steps=settings.steps, coarse_steps=settings.coarse_steps)
    return [Stage(*stage) for stage in zip(shapes, steps, strict=True)]


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
