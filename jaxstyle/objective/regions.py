"""Regions: soft masks that say which part of a style goes where (Gatys et al., arXiv 1611.07865, section 4).

The masks of an image of h x w pixels are one array (regions, h, w) with values in [0, 1].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, ArrayLike, Float, Real

from jaxstyle.common.checks import known
from jaxstyle.common.dtypes import promoted, wide
from jaxstyle.common.trees import stack, unstack
from jaxstyle.objective.statistics.statistic import StyleStatistic, compare

Sizes = Mapping[str, tuple[int, int]]
"""Height and width of the features at each layer."""


class RegionTargets(NamedTuple):
    """Style targets at one layer, for each style and region.

    Attributes:
      statistic: the result of `StyleStatistic.to_target`; each leaf has the leading axes (styles, regions).
      present: (styles, regions), 1 if the style image has any part of the region, else 0.
    """

    statistic: Any
    present: Float[Array, "*contents styles regions"]


export.register_namedtuple_serialization(RegionTargets, serialized_name="jaxstyle.RegionTargets")


def content_masks(
    masks: Real[ArrayLike, "regions h w"], content: Float[Array, "h w 3"], sizes: Sizes
) -> dict[str, Float[Array, "regions _h _w"]]:
    """Make `Targets.masks` from the masks of a content image.

    Args:
      masks: (regions, h, w) in [0, 1].
      content: (h, w, 3) the content image.
      sizes: sizes of the content's features at the style layers.

    Returns:
      {layer: (regions, h', w')}, float64 for a float64 image, else float32.

    Raises:
      ValueError: for masks whose size is not the image's; and, if values are known, for values outside of [0, 1] or a
        region that is empty at some layer.
    """
    found = layer_masks(_check(masks, content, "content"), sizes)
    _check_present([found], "content")
    return found


def style_masks(
    masks: Any, styles: Sequence[Float[Array, "_h _w 3"]], sizes: Sequence[Sizes]
) -> list[dict[str, Float[Array, "regions _h _w"]]]:
    """Bring the masks of style images to the size of each layer.

    Args:
      masks: a sequence of arrays (regions, h', w'), one for each style image; or one such array for a single style.
      styles: the style images.
      sizes: sizes of each style image's features at the style layers.

    Returns:
      {layer: (regions, h, w)} for each style image.

    Raises:
      ValueError: as in `content_masks`, but a region may be empty in some of the styles; and for masks of too many or
        too few styles, or numbers of regions that differ.
    """
    by_style = list(masks) if isinstance(masks, Sequence) or jnp.ndim(masks) == 4 else [masks]
    if len(by_style) != len(styles):
        raise ValueError(f"there must be masks of each of the {len(styles)} style images, got {len(by_style)}")
    checked = [_check(m, image, "style") for m, image in zip(by_style, styles, strict=True)]
    if len({len(m) for m in checked}) > 1:
        raise ValueError(f"all style images must have as many regions, got {[len(m) for m in checked]}")
    found = [layer_masks(m, of_style) for m, of_style in zip(checked, sizes, strict=True)]
    _check_present(found, "style")
    return found


def layer_masks(masks: Float[Array, "regions h w"], sizes: Sizes) -> dict[str, Float[Array, "regions _h _w"]]:
    """Bring masks to the size of each layer.

    The mask at a position of a layer is the mean over the pixels that the network's pooling gathers there, so edges are
    soft at deep layers. VGG's layers have the image's size over a power of two, rounded down. For a layer of any other
    size, the image is divided into as many equal parts as there are positions.

    Features also see pixels around these, across the edge of a region. If a style must not touch its neighbour, erode
    the masks beforehand.

    Args:
      masks: (regions, h, w) of an image of h x w pixels.
      sizes: {layer: (h', w') of its features}, as `features.layer_sizes` finds them.

    Returns:
      {layer: (regions, h', w')}.
    """
    return {layer: _shrink(masks, size) for layer, size in sizes.items()}


def _shrink(masks: jax.Array, size: tuple[int, int]) -> jax.Array:
    n, height, width = masks.shape
    h, w = size
    for side in (2**k for k in range(height.bit_length())):
        if (height // side, width // side) == (h, w):
            return masks[:, : h * side, : w * side].reshape(n, h, side, w, side).mean((2, 4))
    down, across = (jnp.asarray(_shares(a, b), masks.dtype) for a, b in ((height, h), (width, w)))
    return jnp.einsum("nij,ai,bj->nab", masks, down, across, precision="highest").clip(0, 1)


def _shares(pixels: int, positions: int) -> np.ndarray:
    """Compute the share (positions, pixels) of each pixel in the mean of each of `positions` equal parts of a line."""
    ends = np.arange(positions + 1)[:, None] * pixels / positions
    overlap = np.minimum(ends[1:], np.arange(pixels) + 1) - np.maximum(ends[:-1], np.arange(pixels))
    return np.maximum(overlap, 0) * positions / pixels


def region_targets(
    statistic: StyleStatistic, found: list[Float[Array, "_h _w c"]], masks: list[Float[Array, "regions _h _w"]]
) -> RegionTargets:
    """Make the style targets of one layer.

    Args:
      statistic: what to compare.
      found: features (h, w, c) of each style image at this layer.
      masks: masks (regions, h, w) of each style image at this layer.

    Returns:
      RegionTargets.
    """
    by_style = [
        stack([statistic.to_target(statistic.measure(f, mask)) for mask in regions])
        for f, regions in zip(found, masks, strict=True)
    ]
    return RegionTargets(stack(by_style), jnp.stack([(m.sum((1, 2)) > 0).astype(m.dtype) for m in masks]))


def region_distances(
    statistic: StyleStatistic,
    features: Float[Array, "h w c"],
    masks: Float[Array, "regions h w"],
    target: RegionTargets,
    convention: str,
    matches: Any = None,
) -> list[Float[Array, ""]]:
    """Compute the style loss of one layer for each style: the mean over regions, weighted by their areas.

    A region's area is the sum of its mask's squares.

    Args:
      statistic: what to compare.
      features: (h, w, c) the image's features.
      masks: (regions, h, w) the content image's masks at this layer.
      target: the style targets, from `region_targets`.
      convention: one of `losses.CONVENTIONS`.
      matches: None, or what `region_matches` gives.

    Returns:
      A scalar >= 0 for each style.

    Raises:
      ValueError: for numbers of regions that differ.
    """
    regions = target.present.shape[1]
    if len(masks) != regions:
        raise ValueError(f"the content masks have {len(masks)} regions, the style masks {regions}")
    areas = jnp.square(masks).sum((1, 2))
    shares = areas / jnp.maximum(areas.sum(), 1e-12)
    measured = [statistic.measure(features, mask) for mask in masks]
    found = []
    of_styles = [None] * len(target.present) if matches is None else unstack(matches)
    for style, present, own in zip(unstack(target.statistic), target.present, of_styles, strict=True):
        of_regions = [None] * regions if own is None else unstack(own)
        parts = zip(measured, unstack(style), of_regions, strict=True)
        terms = [compare(statistic, *part, convention) for part in parts]
        share, *terms = promoted(shares * present.astype(shares.dtype), *terms)
        found.append(jnp.dot(share, jnp.stack(terms), precision="highest"))
    return found


def region_matches(match: Callable[[Any, Any], Any], measured: Sequence[Any], target: RegionTargets) -> Any:
    """Match an image with each style, region by region.

    Args:
      match: `StyleStatistic.match`.
      measured: the statistic of the image for each region.
      target: the style targets, from `region_targets`.

    Returns:
      The matches, each leaf with the leading axes (styles, regions).
    """
    by_style = [
        stack([match(found, own) for found, own in zip(measured, unstack(style), strict=True)])
        for style in unstack(target.statistic)
    ]
    return stack(by_style)


def _check(masks: Any, image: jax.Array, what: str) -> jax.Array:
    masks = jnp.asarray(masks)
    if masks.ndim != 3 or not len(masks) or masks.shape[1:] != image.shape[:2]:
        h, w = image.shape[:2]
        raise ValueError(f"{what} masks must have the shape (regions, {h}, {w}) of their image, got {masks.shape}")
    values = known(masks)
    if values is not None and not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{what} masks must be between 0 and 1: divide bytes by 255")
    return masks.astype(wide(image.dtype))


def _check_present(masks: Sequence[dict[str, jax.Array]], what: str) -> None:
    """Raise ValueError if a region is empty in all images at some layer."""
    for layer in masks[0]:
        here = [values for m in masks if (values := known(m[layer])) is not None]
        if len(here) < len(masks):
            continue
        areas = sum(values.astype(np.float64).sum((1, 2)) for values in here)
        for region in np.flatnonzero(areas == 0):
            raise ValueError(f"region {region} of the {what} masks is empty at layer {layer}: nothing to compare there")
