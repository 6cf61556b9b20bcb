"""Regions: soft masks that say which part of a style goes where (Gatys et al., arXiv 1611.07865, section 4).

A set of masks has shape (regions, h, w), with values in [0, 1], of an image of h x w pixels.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, ArrayLike, Float, Real

from jaxstyle.common.checks import known
from jaxstyle.common.dtypes import promoted, wide
from jaxstyle.common.trees import stack, unstack
from jaxstyle.objective.statistic import StyleStatistic

Sizes = Mapping[str, tuple[int, int]]
"""Height and width of each layer's features."""


class RegionTargets(NamedTuple):
    """Targets of one layer of several styles, by region.

    Attributes:
      statistic: as of `StyleStatistic.to_target`, each leaf with leading axes (styles, regions).
      present: (styles, regions), 1 or 0: whether the style has anything of the region.
    """

    statistic: Any
    present: Float[Array, "*contents styles regions"]


export.register_namedtuple_serialization(RegionTargets, serialized_name="jaxstyle.RegionTargets")


def content_masks(
    masks: Real[ArrayLike, "regions h w"], content: Float[Array, "h w 3"], sizes: Sizes
) -> dict[str, Float[Array, "regions _h _w"]]:
    """`Targets.masks`, of the masks of a content image.

    Args:
      masks: (regions, h, w) in [0, 1].
      content: (h, w, 3).
      sizes: of the content's features at the style layers.

    Returns:
      {layer: (regions, h', w')}, at least float32.

    Raises:
      ValueError: for masks of another shape than the image's, values outside of [0, 1], or a region that is empty at
        some layer (where values are known).
    """
    found = layer_masks(_check(masks, content, "content"), sizes)
    _check_present([found], "content")
    return found


def style_masks(
    masks: Any, styles: Sequence[Float[Array, "_h _w 3"]], sizes: Sequence[Sizes]
) -> list[dict[str, Float[Array, "regions _h _w"]]]:
    """Masks of style images, at each layer.

    Args:
      masks: a sequence of (regions, h', w'), one of each style; or, of a single style, its masks.
      styles: the style images.
      sizes: of the features of each style image at the style layers.

    Returns:
      {layer: (regions, h, w)} of each style image.

    Raises:
      ValueError: as `content_masks` does, but a region needs to be in one style only.
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

    The mask at a position of a layer is the mean over the pixels that the network's pooling gathers there, so edges of
    deep layers are soft. Where its size is not the image's over a power of two, rounded down as VGG's pooling does, the
    image is divided into as many equal parts as there are positions. Features also see pixels around those, across the
    edge: for a style that must not touch its neighbour's, erode the masks beforehand.

    Args:
      masks: (regions, h, w) of an image of h x w pixels.
      sizes: {layer: (h', w') of its features}, such as `features.layer_sizes` finds.

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
    rows, columns = (jnp.asarray(_shares(a, b), masks.dtype) for a, b in ((height, h), (width, w)))
    return jnp.einsum("nij,ai,bj->nab", masks, rows, columns, precision="highest").clip(0, 1)


def _shares(pixels: int, positions: int) -> np.ndarray:
    """(positions, pixels) share of each pixel in the mean over each of as many equal parts of a line."""
    ends = np.arange(positions + 1)[:, None] * pixels / positions
    overlap = np.minimum(ends[1:], np.arange(pixels) + 1) - np.maximum(ends[:-1], np.arange(pixels))
    return np.maximum(overlap, 0) * positions / pixels


def region_targets(
    statistic: StyleStatistic, found: list[Float[Array, "_h _w c"]], masks: list[Float[Array, "regions _h _w"]]
) -> RegionTargets:
    """Targets of one layer.

    Args:
      statistic: how to compare styles.
      found: features (h, w, c) of each style image at this layer.
      masks: (regions, h, w) of each style image at this layer.

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
) -> list[Float[Array, ""]]:
    """Style loss of one layer for each style: the mean over regions, each with the weight of its area.

    Args:
      statistic: how to compare styles.
      features: (h, w, c) of the image.
      masks: (regions, h, w) of the content image at this layer. A region's area is the sum of its mask's squares.
      target: of the style images.
      convention: one of `losses.CONVENTIONS`.

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
    for style, present in zip(unstack(target.statistic), target.present, strict=True):
        pairs = zip(measured, unstack(style), strict=True)
        terms = [statistic.distance(*pair, convention=convention) for pair in pairs]
        share, *terms = promoted(shares * present.astype(shares.dtype), *terms)
        found.append(jnp.dot(share, jnp.stack(terms), precision="highest"))
    return found


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
    """Raise ValueError for a region of which no image has anything at some layer."""
    for layer in masks[0]:
        here = [values for m in masks if (values := known(m[layer])) is not None]
        if len(here) < len(masks):
            continue
        areas = sum(values.astype(np.float64).sum((1, 2)) for values in here)
        for region in np.flatnonzero(areas == 0):
            raise ValueError(f"region {region} of the {what} masks is empty at layer {layer}: nothing to compare there")
