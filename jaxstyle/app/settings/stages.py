"""The sizes that lanes go through, from coarse to fine, and the steps at each."""

from typing import NamedTuple

from jaxstyle.app.settings.settings import Settings
from jaxstyle.network.layers import min_size
from jaxstyle.optimise.schedule import Shape, scales, steps_of


class Stage(NamedTuple):
    """Steps at one size, (h, w)."""

    shape: Shape
    steps: int


def plan_stages(settings: Settings, shape: Shape) -> list[Stage]:
    """The stages of lanes of this shape, the coarsest first: see `schedule.scales`."""
    shapes = (shape,)
    if settings.min_size is not None:
        shapes = scales(shape, smallest=settings.min_size, least=smallest_side(settings))
    steps = steps_of(shapes, steps=settings.steps, coarse_steps=settings.coarse_steps)
    return [Stage(*stage) for stage in zip(shapes, steps, strict=True)]


def smallest_side(settings: Settings) -> int:
    """Pixels that the layers of a job need on each side of an image."""
    return min_size(tuple(dict.fromkeys(settings.content_layers + settings.style_layers)))
