"""The stages of a lane: the sizes that it goes through, from coarse to fine, and the steps at each."""

from typing import NamedTuple

from jaxstyle.app.settings.settings import Settings
from jaxstyle.network.layers import min_size
from jaxstyle.optimise.schedule import Shape, scales, steps_of


class Stage(NamedTuple):
    """One size (h, w), and the steps at it."""

    shape: Shape
    steps: int


def plan_stages(settings: Settings, shape: Shape) -> list[Stage]:
    """Return the stages of lanes of this shape, the coarsest first, as `schedule.scales` chooses their sizes."""
    shapes = (shape,)
    if settings.min_size is not None:
        shapes = scales(shape, smallest=settings.min_size, least=smallest_side(settings))
    steps = steps_of(shapes, steps=settings.steps, coarse_steps=settings.coarse_steps)
    return [Stage(*stage) for stage in zip(shapes, steps, strict=True)]


def smallest_side(settings: Settings) -> int:
    """Return how many pixels the layers of a job need on each side of an image."""
    return min_size(tuple(dict.fromkeys(settings.content_layers + settings.style_layers)))
