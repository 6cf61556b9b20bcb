"""The objective alpha * content + beta * style + tv * total variation, and its targets.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more. Weights are arrays, so new values
never recompile; parameters are an argument, never a constant of the compiled program.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxstyle.layers import CONTENT_LAYERS, STYLE_LAYERS, check_content_layers, check_layers
from jaxstyle.losses import check_convention, content_loss, gram_matrix, style_loss, total_variation
from jaxstyle.vgg import Features, Params


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

    alpha: jax.typing.ArrayLike = 1.0
    beta: jax.typing.ArrayLike = 1.0
    tv: jax.typing.ArrayLike = 0.0
    content_layers: jax.typing.ArrayLike | None = None
    style_layers: jax.typing.ArrayLike | None = None
    style_mix: jax.typing.ArrayLike | None = None


class Targets(NamedTuple):
    """What the objective compares an image with, made by `make_targets`; the same for every convention.

    Attributes:
      content: {layer: (h, w, c)} features of the content image.
      style: {layer: (styles, c, c)} Gram matrices F'F / N of the style images.
    """

    content: Mapping[str, jax.Array]
    style: Mapping[str, jax.Array]


class Losses(NamedTuple):
    """Terms of the objective of one image: scalars, or with leading axes for steps and lanes.

    Attributes:
      content: content loss summed over layers with their weights, without alpha.
      style: style loss summed over layers with their weights, without beta.
      tv: total variation, without its weight.
      total: alpha * content + beta * style + tv weight * tv.
    """

    content: jax.Array
    style: jax.Array
    tv: jax.Array
    total: jax.Array


class LayerLosses(NamedTuple):
    """Losses of one image by layer, each a scalar, without any weight.

    Attributes:
      content: {layer: loss} of the content layers.
      style: {layer: loss} of the style layers.
    """

    content: dict[str, jax.Array]
    style: dict[str, jax.Array]


Loss = Callable[[jax.Array, Params, Targets, LossWeights], tuple[jax.Array, Losses]]
"""A pure function (image, params, targets, weights) -> (scalar, Losses)."""

Terms = Callable[[jax.Array, Params, Targets, LossWeights], LayerLosses]
"""A pure function (image, params, targets, weights) -> LayerLosses."""


def make_targets(
    features: Features,
    params: Params,
    content: jax.Array,
    style: jax.Array | Sequence[jax.Array],
    *,
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
) -> Targets:
    """Compute what images are compared with: once, outside of any loop or vmap over lanes.

    Args:
      features: from `make_features`, with at least the layers named here.
      params: the network's parameters.
      content: (h, w, 3) content image; the images to optimise have its size.
      style: (h', w', 3) style image of any size, or a sequence of them (weighted by `LossWeights.style_mix`).
      content_layers: layers of the content loss.
      style_layers: layers of the style loss.

    Raises:
      ValueError: for a layer that `features` doesn't compute, or no style image.
    """
    styles = list(style) if isinstance(style, Sequence) or jnp.ndim(style) == 4 else [style]
    if not styles:
        raise ValueError("style must be an image or a sequence of at least one image")
    return Targets(
        content=content_targets(features, params, content, content_layers),
        style=style_targets(features, params, styles, style_layers),
    )


def content_targets(
    features: Features, params: Params, content: jax.Array, layers: Iterable[str]
) -> dict[str, jax.Array]:
    """`Targets.content` of a content image."""
    layers = check_content_layers(layers)
    return _select(features(params, content), layers) if layers else {}


def style_targets(
    features: Features, params: Params, styles: Sequence[jax.Array], layers: Iterable[str]
) -> dict[str, jax.Array]:
    """`Targets.style` of style images."""
    found = [_select(features(params, image), layers) for image in styles]
    return {layer: jnp.stack([gram_matrix(f[layer]) for f in found]) for layer in found[0]}


def make_terms(
    features: Features,
    *,
    convention: str = "mean",
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
) -> Terms:
    """Make the function that gives each layer's loss: (image, params, targets, weights) -> (content, style).

    Both are {layer: scalar}, without alpha, beta and layer weights; of `weights` only style_mix counts. Arguments and
    errors are those of `make_loss`.
    """
    check_convention(convention)
    content_layers, style_layers = check_content_layers(content_layers), check_layers(style_layers)

    def terms(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> LayerLosses:
        found = features(params, image)
        content = _select(found, content_layers) if content_layers else {}
        style = _select(found, style_layers)
        return LayerLosses(
            {layer: _content_term(layer, f, targets, convention) for layer, f in content.items()},
            {layer: _style_term(layer, f, targets, weights, convention) for layer, f in style.items()},
        )

    return terms


def make_loss(
    features: Features,
    *,
    convention: str = "mean",
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
) -> Loss:
    """Make the objective of Gatys et al. (CVPR 2016): (image, params, targets, weights) -> (scalar, Losses).

    total = alpha * sum_l a_l content_l + beta * sum_l w_l sum_k m_k style_lk + tv * TV(image), with layer
    weights a, w and style mix m out of `LossWeights`; a sum over style images k, where the paper has one.

    Args:
      features: from `make_features`, with at least the layers named here.
      convention: one of `losses.CONVENTIONS`: what alpha and beta multiply.
      content_layers: layers of the content loss, in the order of `LossWeights.content_layers`; none, for a texture
        (Gatys et al., arXiv 1505.07376): the content loss is 0, and nothing deeper than the style layers is computed.
      style_layers: layers of the style loss, in the order of `LossWeights.style_layers`.

    Raises:
      ValueError: for an unknown convention or layer; the returned function raises it at trace time for targets
        of other layers or another image size, and for weights of another length.
    """
    terms = make_terms(features, convention=convention, content_layers=content_layers, style_layers=style_layers)

    def loss(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> tuple[jax.Array, Losses]:
        of_content, of_style = terms(image, params, targets, weights)
        tv = total_variation(image)
        style = _weighted_sum("style_layers", weights.style_layers, list(of_style.values()))
        content = jnp.zeros_like(style)
        if of_content:
            content = _weighted_sum("content_layers", weights.content_layers, list(of_content.values()))
        total = weights.alpha * content + weights.beta * style + weights.tv * tv
        return total, Losses(content, style, tv, total)

    return loss


def _content_term(layer: str, f: jax.Array, targets: Targets, convention: str) -> jax.Array:
    target = _select(targets.content, (layer,))[layer]
    if f.shape != target.shape:
        raise ValueError(
            f"{layer} of the image has shape {f.shape}, that of the content target {target.shape}: "
            "the image must have the size of the content image that the targets were made of"
        )
    return content_loss(f, target, convention=convention)


def _style_term(layer: str, f: jax.Array, targets: Targets, weights: LossWeights, convention: str) -> jax.Array:
    gram = gram_matrix(f)
    terms = [style_loss(gram, target, convention=convention) for target in _select(targets.style, (layer,))[layer]]
    return _weighted_sum("style_mix", weights.style_mix, terms)


def _weighted_sum(name: str, weights: jax.typing.ArrayLike | None, terms: list[jax.Array]) -> jax.Array:
    if weights is None:
        return sum(terms[1:], terms[0]) / len(terms)
    weights = jnp.asarray(weights)
    if weights.shape != (len(terms),):
        raise ValueError(f"weights.{name} must have shape ({len(terms)},), got {weights.shape}")
    return jnp.dot(weights, jnp.stack(terms), precision="highest")


def _select(found: Mapping[str, jax.Array], layers: Iterable[str]) -> dict[str, jax.Array]:
    layers = check_layers(layers)
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise ValueError(
            f"no {', '.join(missing)} among the layers {', '.join(found)}: "
            "make_features, make_targets and make_loss must name the same layers"
        )
    return {layer: found[layer] for layer in layers}
