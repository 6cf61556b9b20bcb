"""What the objective compares an image with: features of the content, statistics of the styles, masks of regions.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float, Real

from jaxstyle.common.images import as_image
from jaxstyle.common.layer_names import layer_names, optional_layer_names
from jaxstyle.common.trees import stack
from jaxstyle.network.features import Features, Params, layer_sizes, select_layers
from jaxstyle.objective.regions import content_masks, region_targets, style_masks
from jaxstyle.objective.statistics.content_statistics import ContentStatistic, content_statistic
from jaxstyle.objective.statistics.style_statistics import StyleLoss, check_statistic, statistics_by_layer

Masks = tuple[
    Real[ArrayLike, "_regions _h _w"],
    Real[ArrayLike, "_regions _h_style _w_style"]
    | Real[ArrayLike, "_styles _regions _h_style _w_style"]
    | Sequence[Real[ArrayLike, "_regions _h_style _w_style"]],
]
"""Masks (regions, h, w) of the content image, and masks (regions, h', w') of a style image or of each of several."""

StyleImages = (
    Float[ArrayLike, "_h_style _w_style 3"]
    | Float[ArrayLike, "_styles _h_style _w_style 3"]
    | Sequence[Float[ArrayLike, "_h_style _w_style 3"]]
)
"""One style image (h', w', 3), or several, which may have different sizes."""


class Targets(NamedTuple):
    """What the objective compares an image with, the same for every convention.

    Attributes:
      content: {layer: what a `ContentStatistic` measures of the content image}; for `features` (h, w, c).
      style: {layer: target of a `StyleStatistic`}, each leaf with a leading axis for the style images; for `gram`
        (styles, c, c) Gram matrices F'F / N. With masks, {layer: RegionTargets}.
      masks: None, or {layer: (regions, h, w)}, where the image takes which region's style.
      matches: None, or {layer: what `StyleStatistic.match` gives}, each leaf with a leading axis for the style images,
        and with masks one for the regions; see `Objective.match`.
    """

    content: Mapping[str, Any]
    style: Mapping[str, Any]
    masks: Mapping[str, Float[Array, "regions _h _w"]] | None = None
    matches: Mapping[str, Any] | None = None


export.register_namedtuple_serialization(Targets, serialized_name="jaxstyle.Targets")


def compute_targets(
    features: Features,
    params: Params,
    content: Float[ArrayLike, "h w 3"],
    style: StyleImages,
    *,
    content_layers: Sequence[str],
    style_layers: Sequence[str],
    style_loss: StyleLoss = "gram",
    content_loss: str | ContentStatistic = "features",
    masks: Masks | None = None,
) -> Targets:
    """Compute the targets of a content image and its style images; `Objective.targets` is this for its own options.

    Args:
      features: the network.
      params: its parameters.
      content: (h, w, 3) content image; the images to optimise have its size.
      style: (h', w', 3) style image of any size, or a sequence of them.
      content_layers: layers of the content loss; there may be none.
      style_layers: layers of the style loss.
      style_loss: how styles are compared; see `style_statistics.statistics_by_layer`.
      content_loss: how contents are compared, one of `weight_defaults.CONTENT_LOSSES` or a `ContentStatistic`.
      masks: None, or soft masks in [0, 1] of content and style images.

    Returns:
      Targets.

    Raises:
      ValueError: as `Objective.targets` does.
    """
    content, styles = as_image(content), as_styles(style)
    if masks is not None and len(masks) != 2:
        raise ValueError(f"masks must be two: those of the content, and those of the style; got {len(masks)}")
    of_content, of_style = (None, None) if masks is None else masks
    sizes = {} if of_content is None else layer_sizes(features, params, style_layers, content)
    return Targets(
        content=content_targets(features, params, content, content_layers, content_loss=content_loss),
        style=style_targets(features, params, styles, style_layers, style_loss=style_loss, masks=of_style),
        masks=None if of_content is None else content_masks(of_content, content, sizes),
    )


def as_styles(style: StyleImages) -> list[Float[Array, "_h_style _w_style 3"]]:
    """Make a list of style images.

    Args:
      style: (h', w', 3), or a sequence of such images.

    Returns:
      The images as arrays of jax.

    Raises:
      ValueError: if there is none, or one that isn't floating-point.
    """
    if not isinstance(style, Sequence):
        style = cast(Sequence[jax.Array], style if jnp.ndim(style) == 4 else [style])
    styles = [as_image(image) for image in style]
    if not styles:
        raise ValueError("style must be an image or a sequence of at least one image")
    return styles


def content_targets(
    features: Features,
    params: Params,
    content: Float[Array, "h w 3"],
    layers: Iterable[str],
    *,
    content_loss: str | ContentStatistic = "features",
) -> dict[str, Any]:
    """Compute `Targets.content` of a content image.

    Args:
      features: the network.
      params: its parameters.
      content: (h, w, 3).
      layers: layers of the content loss; there may be none.
      content_loss: one of `weight_defaults.CONTENT_LOSSES`, or a `ContentStatistic`.

    Returns:
      {layer: what the statistic measures}; for "features" {layer: (h', w', c)}.

    Raises:
      ValueError: for a layer that the network doesn't return, or an unknown content_loss.
    """
    layers = optional_layer_names(layers, "content_layers")
    measure = content_statistic(content_loss).measure
    if not layers:
        return {}
    found = select_layers(features(params, content), layers, "content_layers")
    return {layer: measure(f) for layer, f in found.items()}


def style_targets(
    features: Features,
    params: Params,
    styles: Sequence[Float[Array, "_h_style _w_style 3"]],
    layers: Iterable[str],
    *,
    style_loss: StyleLoss = "gram",
    masks: Any = None,
) -> dict[str, Any]:
    """Compute `Targets.style` of style images.

    Args:
      features: the network.
      params: its parameters.
      styles: the style images, each (h', w', 3).
      layers: layers of the style loss.
      style_loss: how styles are compared; see `style_statistics.statistics_by_layer`.
      masks: None, or masks (regions, h', w') of each style image; of a single style image, its masks alone will do.

    Returns:
      {layer: target of the style images}, each leaf with a leading axis for styles; with masks, {layer: RegionTargets}.

    Raises:
      ValueError: as `Objective.targets` does.
    """
    layers = layer_names(layers, "style_layers")
    statistics = statistics_by_layer(style_loss, layers)
    found = [select_layers(features(params, image), layers, "style_layers") for image in styles]
    for layer, f in found[0].items():
        check_statistic(statistics[layer], layer, f)
    if masks is None:
        return {k: stack([s.to_target(s.measure(f[k], None)) for f in found]) for k, s in statistics.items()}
    of_layers = style_masks(masks, styles, [{k: x.shape[:2] for k, x in f.items()} for f in found])
    return {k: region_targets(s, [f[k] for f in found], [m[k] for m in of_layers]) for k, s in statistics.items()}
