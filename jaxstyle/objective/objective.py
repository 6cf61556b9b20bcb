"""The objective alpha * content + beta * style + tv * total variation, and its targets.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more. Weights are arrays, so new values
never recompile; parameters are an argument, never a constant of the compiled program.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float, Real

from jaxstyle.common.checks import as_weights, check_function, check_shape, check_type
from jaxstyle.common.dtypes import promoted
from jaxstyle.common.images import as_image
from jaxstyle.common.trees import stack, unstack
from jaxstyle.network.features import Features, Params
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, check_content_layers, check_layers
from jaxstyle.objective.losses import check_convention, content_loss, total_variation
from jaxstyle.objective.regions import RegionTargets, content_masks, region_distances, region_targets, style_masks
from jaxstyle.objective.statistic import StyleStatistic
from jaxstyle.objective.style_statistics import check_statistic, style_statistic

Masks = tuple[
    Real[ArrayLike, "_regions _h _w"],
    Real[ArrayLike, "_regions _h_style _w_style"]
    | Real[ArrayLike, "_styles _regions _h_style _w_style"]
    | Sequence[Real[ArrayLike, "_regions _h_style _w_style"]],
]
"""Masks (regions, h, w) of the content image, and those (regions, h', w') of a style image or of each of several."""


StyleImages = (
    Float[ArrayLike, "_h_style _w_style 3"]
    | Float[ArrayLike, "_styles _h_style _w_style 3"]
    | Sequence[Float[ArrayLike, "_h_style _w_style 3"]]
)
"""One style image (h', w', 3) or several, which may have different sizes."""


class LossWeights(NamedTuple):
    """Weights of the terms of the objective; each leaf may be an array with a leading lane axis (see `lanes.py`).

    Attributes:
      alpha: content weight, a scalar >= 0.
      beta: style weight, a scalar >= 0.
      tv: weight of the total variation, a scalar >= 0.
      content_layers: (number of content layers,) weights, used as they are; None: equal, with sum 1.
      style_layers: (number of style layers,) weights, used as they are; None: equal, with sum 1.
      style_mix: (number of style images,) weights of the style images; None: equal, with sum 1.
    """

    alpha: Real[ArrayLike, "..."] = 1.0
    beta: Real[ArrayLike, "..."] = 1.0
    tv: Real[ArrayLike, "..."] = 0.0
    content_layers: Real[ArrayLike, "... _content_layers"] | None = None
    style_layers: Real[ArrayLike, "... _style_layers"] | None = None
    style_mix: Real[ArrayLike, "... _styles"] | None = None


class Targets(NamedTuple):
    """What the objective compares an image with, made by `make_targets`; the same for every convention.

    Attributes:
      content: {layer: (h, w, c)} features of the content image.
      style: {layer: statistic of the style images}, each leaf with a leading axis for styles: of `gram` (styles, c, c)
        Gram matrices F'F / N. With masks, {layer: RegionTargets}.
      masks: None, or {layer: (regions, h, w)} where the image takes which region's style.
    """

    content: Mapping[str, Float[Array, "_h _w _c"]]
    style: Mapping[str, Any]
    masks: Mapping[str, Float[Array, "regions _h _w"]] | None = None


class Losses(NamedTuple):
    """Terms of the objective of one image: scalars, or with leading axes for steps and lanes.

    Attributes:
      content: content loss summed over layers with their weights, without alpha.
      style: style loss summed over layers with their weights, without beta.
      tv: total variation, without its weight.
      total: alpha * content + beta * style + tv weight * tv.
    """

    content: Float[Array, "*axes"]
    style: Float[Array, "*axes"]
    tv: Float[Array, "*axes"]
    total: Float[Array, "*axes"]


class LayerLosses(NamedTuple):
    """Losses of one image by layer, each a scalar, without any weight.

    Attributes:
      content: {layer: loss} of the content layers.
      style: {layer: loss} of the style layers.
    """

    content: dict[str, Float[Array, "*axes"]]
    style: dict[str, Float[Array, "*axes"]]


for _type in (LossWeights, Targets, Losses, LayerLosses):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")


Loss = Callable[[Float[Array, "h w 3"], Params, Targets, LossWeights], tuple[Float[Array, ""], Losses]]
"""A pure function (image, params, targets, weights) -> (scalar, Losses)."""

Terms = Callable[[Float[Array, "h w 3"], Params, Targets, LossWeights], LayerLosses]
"""A pure function (image, params, targets, weights) -> LayerLosses."""


def make_targets(
    features: Features,
    params: Params,
    content: Float[ArrayLike, "h w 3"],
    style: StyleImages,
    *,
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
    style_loss: str | StyleStatistic = "gram",
    masks: Masks | None = None,
) -> Targets:
    """Compute what images are compared with: once, outside of any loop or vmap over lanes.

    Args:
      features: from `make_features`, with at least the layers named here.
      params: the network's parameters.
      content: (h, w, 3) content image; the images to optimise have its size.
      style: (h', w', 3) style image of any size, or a sequence of them (weighted by `LossWeights.style_mix`).
      content_layers: layers of the content loss.
      style_layers: layers of the style loss.
      style_loss: one of `layers.STYLE_LOSSES`, or a `StyleStatistic`; the same as of `make_loss`.
      masks: None, or soft masks in [0, 1] of the content image, (regions, h, w), and of the style image, (regions, h',
        w'), or of each of several: the image takes region i's style where the content's mask i is. A style may lack a
        region that another one has; where no content mask is, there is no style loss.

    Returns:
      Targets, for `make_loss` of the same layers and style_loss.

    Raises:
      ValueError: for features that are no function or lack a layer, no style image, an unknown style_loss, masks of
        another shape than their image's or with values outside of [0, 1], or a region that is empty (where values are
        known; in a jitted function it counts for nothing).

    Example:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1", "relu2_1")), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> layers = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
      >>> targets = js.make_targets(features, params, content, style, **layers)
      >>> targets.content["relu2_1"].shape, targets.style["relu1_1"].shape
      ((6, 8, 128), (1, 64, 64))
    """
    check_function("features", features, "js.make_features")
    content, styles = as_image(content), as_styles(style)
    style_layers = check_layers(style_layers, "style_layers")
    if masks is not None and len(masks) != 2:
        raise ValueError(f"masks must be two: those of the content, and those of the style; got {len(masks)}")
    of_content, of_style = (None, None) if masks is None else masks
    sizes = {}
    if of_content is not None:
        sizes = {k: f.shape[:2] for k, f in _select(jax.eval_shape(features, params, content), style_layers).items()}
    return Targets(
        content=content_targets(features, params, content, content_layers),
        style=style_targets(features, params, styles, style_layers, style_loss=style_loss, masks=of_style),
        masks=None if of_content is None else content_masks(of_content, content, sizes),
    )


def as_styles(style: StyleImages) -> list[Float[Array, "_h_style _w_style 3"]]:
    """Style images as a list.

    Args:
      style: (h', w', 3), or a sequence of such images.

    Returns:
      The images as arrays of jax.

    Raises:
      ValueError: where there is none, or one that isn't floating-point.
    """
    if not isinstance(style, Sequence):
        style = cast(Sequence[jax.Array], style if jnp.ndim(style) == 4 else [style])
    styles = [as_image(image) for image in style]
    if not styles:
        raise ValueError("style must be an image or a sequence of at least one image")
    return styles


def content_targets(
    features: Features, params: Params, content: Float[Array, "h w 3"], layers: Iterable[str]
) -> dict[str, Float[Array, "_h _w _c"]]:
    """`Targets.content` of a content image.

    Args:
      features: from `make_features`, with at least the layers named here.
      params: the network's parameters.
      content: (h, w, 3).
      layers: layers of the content loss; there may be none.

    Returns:
      {layer: (h', w', c)}.

    Raises:
      ValueError: for a layer that `features` doesn't compute.
    """
    layers = check_content_layers(layers)
    return _select(features(params, content), layers) if layers else {}


def style_targets(
    features: Features,
    params: Params,
    styles: Sequence[Float[Array, "_h_style _w_style 3"]],
    layers: Iterable[str],
    *,
    style_loss: str | StyleStatistic = "gram",
    masks: Any = None,
) -> dict[str, Any]:
    """`Targets.style` of style images.

    Args:
      features: from `make_features`, with at least the layers named here.
      params: the network's parameters.
      styles: the style images, each (h', w', 3).
      layers: layers of the style loss.
      style_loss: as of `make_targets`.
      masks: None, or masks (regions, h', w') of each style image or, of a single one, its masks.

    Returns:
      {layer: statistic of the style images}, each leaf with a leading axis for styles; with masks, {layer:
      RegionTargets}.

    Raises:
      ValueError: as `make_targets` does.
    """
    statistic = style_statistic(style_loss)
    found = [_select(features(params, image), layers) for image in styles]
    for layer, f in found[0].items():
        check_statistic(statistic, layer, f)
    if masks is None:
        return {k: stack([statistic.prepare(statistic.measure(f[k], None)) for f in found]) for k in found[0]}
    of_layers = style_masks(masks, styles, [{k: x.shape[:2] for k, x in f.items()} for f in found])
    return {k: region_targets(statistic, [f[k] for f in found], [m[k] for m in of_layers]) for k in found[0]}


def make_terms(
    features: Features,
    *,
    convention: str = "mean",
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
    style_loss: str | StyleStatistic = "gram",
) -> Terms:
    """Make the function that gives each layer's loss.

    Args:
      features: from `make_features`, with at least the layers named here.
      convention: one of `losses.CONVENTIONS`.
      content_layers: layers of the content loss.
      style_layers: layers of the style loss.
      style_loss: as of `make_loss`.

    Returns:
      A function (image, params, targets, weights) -> LayerLosses, without alpha, beta and layer weights: of `weights`
      only style_mix counts.

    Raises:
      ValueError: as `make_loss` does.
    """
    check_function("features", features, "js.make_features")
    check_convention(convention)
    statistic = style_statistic(style_loss)
    content_layers, style_layers = check_content_layers(content_layers), check_layers(style_layers, "style_layers")

    def terms(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> LayerLosses:
        check_type("targets", targets, Targets)
        found = features(params, image)
        content = _select(found, content_layers) if content_layers else {}
        style = _select(found, style_layers)
        return LayerLosses(
            {layer: _content_term(layer, f, targets, convention) for layer, f in content.items()},
            {layer: _style_term(statistic, layer, f, targets, weights, convention) for layer, f in style.items()},
        )

    return terms


def make_loss(
    features: Features,
    *,
    convention: str = "mean",
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
    style_loss: str | StyleStatistic = "gram",
) -> Loss:
    r"""Make the objective of Gatys et al. (CVPR 2016): (image, params, targets, weights) -> (scalar, Losses).

    $$\text{total} = \alpha \sum_l a_l C_l + \beta \sum_l w_l \sum_k m_k S_{lk} + \gamma \, \mathrm{TV}$$

    with the content loss $C_l$ of layer l and the style loss $S_{lk}$ of layer l and style image k, where the paper has
    one. Out of `LossWeights` are $\alpha$, $\beta$, the weight $\gamma$ of the total variation (`tv`), the layers'
    weights $a$ and $w$ and the style mix $m$.

    With masks, $S_{lk}$ is the mean over regions, each with the weight of its area, so that every pixel has the same
    balance of content and style as without.

    Args:
      features: from `make_features`, with at least the layers named here.
      convention: one of `losses.CONVENTIONS`: what alpha and beta multiply.
      content_layers: layers of the content loss, in the order of `LossWeights.content_layers`; none, for a texture
        (Gatys et al., arXiv 1505.07376): the content loss is 0, and nothing deeper than the style layers is computed.
      style_layers: layers of the style loss, in the order of `LossWeights.style_layers`.
      style_loss: one of `layers.STYLE_LOSSES`, or a `StyleStatistic`; the same as of `make_targets`. See there which
        conventions it takes.

    Returns:
      A pure function (image (h, w, 3), params, targets, weights) -> (total, Losses), all scalars.

    Raises:
      ValueError: for features that are no function, an unknown convention, layer or style_loss; the returned
        function raises it at trace time for targets of other layers or another image size, for weights of another
        length, and for a convention that style_loss doesn't take.

    Example:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> targets = js.make_targets(features, params, content, style, **layers)
      >>> loss = js.make_loss(features, **layers)
      >>> total, losses = jax.jit(loss)(content, params, targets, js.LossWeights(alpha=1.0, beta=0.5))
      >>> float(losses.content), bool(losses.style > 0)  # of the content image itself
      (0.0, True)
    """
    terms = make_terms(
        features,
        convention=convention,
        content_layers=content_layers,
        style_layers=style_layers,
        style_loss=style_loss,
    )

    def loss(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> tuple[jax.Array, Losses]:
        check_type("weights", weights, LossWeights)
        weights = as_weights(weights)
        for name in ("alpha", "beta", "tv"):
            if shape := jnp.shape(getattr(weights, name)):
                raise ValueError(f"weights.{name} must be a scalar, got shape {shape}; js.sweep or jax.vmap take lanes")
        of_content, of_style = terms(image, params, targets, weights)
        tv = total_variation(image)
        style = _weighted_sum("style_layers", weights.style_layers, list(of_style.values()))
        content = jnp.zeros_like(style)
        if of_content:
            content = _weighted_sum("content_layers", weights.content_layers, list(of_content.values()))
        content, style, tv = promoted(content, style, tv)
        alpha, beta, of_tv = (jnp.asarray(x, style.dtype) for x in (weights.alpha, weights.beta, weights.tv))
        total = alpha * content + beta * style + of_tv * tv
        return total, Losses(content, style, tv, total)

    return loss


def _content_term(layer: str, f: jax.Array, targets: Targets, convention: str) -> jax.Array:
    target = _of_layer("content", targets.content, layer)
    if f.shape == target.shape[1:]:
        raise ValueError(_STACKED.format(field="content", layer=layer, count=len(target)))
    if f.shape != target.shape:
        raise ValueError(
            f"{layer} of the image has shape {f.shape}, that of the content target {target.shape}: "
            "the image must have the size of the content image that the targets were made of"
        )
    return content_loss(f, target, convention=convention)


def _style_term(
    statistic: StyleStatistic, layer: str, f: jax.Array, targets: Targets, weights: LossWeights, convention: str
) -> jax.Array:
    target = _of_layer("style", targets.style, layer)
    masks = None if targets.masks is None else _of_layer("masks", targets.masks, layer)
    _check_style(statistic, layer, f, target, masks)
    if masks is None:
        measured = statistic.measure(f, None)
        terms = [statistic.distance(measured, style, convention=convention) for style in unstack(target)]
    else:
        terms = region_distances(statistic, f, masks, target, convention)
    return _weighted_sum("style_mix", weights.style_mix, terms)


_STACKED = (
    "targets.{field} of {layer} holds {count} stacked targets where those of one image are wanted: "
    "js.sweep takes StackedTargets, and jax.vmap maps over Targets"
)


def _check_style(statistic: StyleStatistic, layer: str, f: jax.Array, target: Any, masks: jax.Array | None) -> None:
    """Raise ValueError unless a layer's target is of this statistic and of one image, with masks that fit if any."""
    if isinstance(target, RegionTargets) != (masks is not None):
        raise ValueError("targets must have masks of content and style images, or of none, as make_targets gives them")
    mask = None
    if masks is not None:
        target, mask = target.statistic, jax.ShapeDtypeStruct(f.shape[:2], jnp.float32)
        if masks.ndim > 3:
            raise ValueError(_STACKED.format(field="masks", layer=layer, count=len(masks)))
        if masks.shape[1:] != f.shape[:2]:
            raise ValueError(
                f"targets.masks of {layer} have shape {masks.shape}, but the image's features there {f.shape}: "
                "the image must have the size of the content image that the targets were made of"
            )
    wanted = jax.tree.map(jnp.shape, jax.eval_shape(lambda f, m: statistic.prepare(statistic.measure(f, m)), f, mask))
    leading = 1 if masks is None else 2
    if jax.tree.map(lambda x: jnp.shape(x)[leading:], target) == wanted:
        return
    if jax.tree.map(lambda x: jnp.shape(x)[leading + 1 :], target) == wanted:
        raise ValueError(_STACKED.format(field="style", layer=layer, count=len(jax.tree.leaves(target)[0])))
    raise ValueError(
        f"targets.style of {layer} is of another style_loss, or of features of other channels: "
        "make_targets and make_loss must have the same features and style_loss"
    )


def _weighted_sum(name: str, weights: jax.typing.ArrayLike | None, terms: list[jax.Array]) -> jax.Array:
    if weights is None:
        terms = promoted(*terms)
        return sum(terms[1:], terms[0]) / len(terms)
    weights = jnp.asarray(weights)
    if weights.shape != (len(terms),):
        raise ValueError(f"weights.{name} must have shape ({len(terms)},), got {weights.shape}")
    stacked = jnp.stack(promoted(*terms))
    return jnp.dot(weights.astype(stacked.dtype), stacked, precision="highest")


def _select(found: Any, layers: Iterable[str]) -> dict[str, Any]:
    layers = check_layers(layers)
    if not isinstance(found, Mapping):
        raise ValueError(f"features must return a mapping of layers to arrays, got {type(found).__name__}")
    chosen = {layer: _of_layer("features", found, layer) for layer in layers}
    for layer, f in chosen.items():
        check_shape(f"features of {layer}", f, ("h", "w", "c"))
    return chosen


def _of_layer(what: str, found: Mapping[str, Any], layer: str) -> Any:
    if layer not in found:
        raise ValueError(
            f"no {layer} among the layers {', '.join(found)} of {what if what == 'features' else f'targets.{what}'}: "
            "make_features, make_targets and make_loss must name the same layers"
        )
    return found[layer]
