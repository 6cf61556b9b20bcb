"""The stages of a lane: the sizes that it goes through, from coarse to fine, and the steps at each."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from jaxstyle.app.settings.settings import Settings
from jaxstyle.optimise.pyramid_sizes import Shape, scales, steps_of


class Stage(NamedTuple):
    """One size (h, w), and the steps at it."""

    shape: Shape
    steps: int


def plan_stages(settings: Settings, shape: Shape, least: int) -> list[Stage]:
    """Return the stages of lanes of this shape, the coarsest first, as `pyramid_sizes.scales` chooses their sizes."""
    shapes = (shape,)
    if settings.min_size is not None:
        shapes = scales(shape, smallest=settings.min_size, least=least)
    steps = steps_of(shapes, steps=settings.steps, coarse_steps=settings.coarse_steps)
    return [Stage(*stage) for stage in zip(shapes, steps, strict=True)]


def pixel_steps(stages: Sequence[Stage]) -> int:
    """Return the work of a lane: the steps of all stages, each counted by its pixels."""
    return sum(stage.steps * prod(stage.shape) for stage in stages)
