"""The sizes that a transfer goes through from coarse to fine, and the number of steps at each.

This is plain Python, and imports no jax.
"""

import math
from collections.abc import Sequence

from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, min_size

SMALLEST = 60
"""Longest side of the first size in pixels."""

LEAST = min_size(CONTENT_LAYERS + STYLE_LAYERS)
"""Number of pixels that Gatys et al.'s layers need on each side."""

STEPS, COARSE_STEPS = 40, 30
"""Number of steps at the full size, and at each smaller one."""

Shape = tuple[int, int]
"""Height and width in pixels."""


def scales(
    shape: Sequence[int], *, smallest: int = SMALLEST, least: int = LEAST, factor: float = 2.0
) -> tuple[Shape, ...]:
    """Choose the sizes from coarse to fine. Each is about `factor` times the one before, and `shape` is the last.

    The first size has the same longest side for every `shape`, so that pictures of all sizes begin alike. The ratios
    between neighbouring sizes are equal.

    Args:
      shape: (h, w) of the finished image. Further numbers are ignored, so it may be an image's shape.
      smallest: longest side of the first size in pixels. If `shape` isn't larger, it is the only size.
      least: smallest number of pixels that the network takes on a side. The first size is made larger if its shorter
        side would have fewer.
      factor: approximate ratio of neighbouring sizes, above 1. Every size is compiled once.

    Returns:
      ((h, w), ...), at least one.

    Raises:
      ValueError: for a smallest or a least below 1, or a factor of 1 or less.

    Examples:
      >>> from jaxstyle.optimise.pyramid_sizes import scales
      >>> scales((240, 320), smallest=80)
      ((60, 80), (120, 160), (240, 320))
    """
    for name, pixels in (("smallest", smallest), ("least", least)):
        if pixels < 1:
            raise ValueError(f"{name} must be 1 or more, got {pixels}")
    if not factor > 1 or not math.isfinite(factor):
        raise ValueError(f"factor must be above 1, got {factor}")
    height, width = (int(side) for side in shape[:2])
    ratio = min(max(height, width) / smallest, min(height, width) / least)
    steps = round(math.log(max(ratio, 1), factor))
    found = [(round(height / ratio ** (i / steps)), round(width / ratio ** (i / steps))) for i in range(steps, 0, -1)]
    return tuple(dict.fromkeys([*found, (height, width)]))


def style_shape(style: Sequence[int], content: Sequence[int], shape: Sequence[int], *, least: int = LEAST) -> Shape:
    """Scale a style image's size by the ratio between a size of the content and its full size.

    Args:
      style: (h, w) of the style image. Further numbers are ignored, here and below.
      content: (h, w) of the content image at full size.
      shape: (h, w) of the content image at the size that is wanted.
      least: smallest number of pixels that the network takes on a side. A side of the style image gets no fewer, unless
        it has fewer already.

    Returns:
      (h, w) of the style image at that size.

    Examples:
      >>> from jaxstyle.optimise.pyramid_sizes import style_shape
      >>> style_shape((256, 512), (512, 512), (60, 60))
      (32, 60)
    """
    ratio = math.sqrt(math.prod(shape[:2]) / math.prod(content[:2]))
    height, width = (min(side, max(least, round(side * ratio))) for side in style[:2])
    return height, width


def steps_of(shapes: Sequence[Shape], *, steps: int = STEPS, coarse_steps: int = COARSE_STEPS) -> tuple[int, ...]:
    """List the number of steps at each size.

    Args:
      shapes: the sizes, from coarse to fine.
      steps: number of steps at the last size.
      coarse_steps: number of steps at each size before it.

    Returns:
      One number for each size.
    """
    return (*(coarse_steps for _ in shapes[:-1]), steps)
