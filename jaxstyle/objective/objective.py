"""The objective alpha * content + beta * style + tv * total variation, and the targets it compares an image with.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more. Weights are arrays, so
new values never recompile; parameters are an argument, never a constant of the compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import export, lax
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.common.checks import check_function, check_type
from jaxstyle.common.dtypes import promoted
from jaxstyle.common.layer_names import layer_names, optional_layer_names
from jaxstyle.network.features import Features, Params, select_layers
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS
from jaxstyle.objective.loss_weights import SCALARS, LossWeights, as_weights, weighted_sum
from jaxstyle.objective.losses import check_convention, total_variation
from jaxstyle.objective.statistics.content_statistics import ContentStatistic, content_statistic
from jaxstyle.objective.statistics.style_statistics import StyleLoss, statistics_by_layer
from jaxstyle.objective.targets import Masks, StyleImages, Targets, compute_targets
from jaxstyle.objective.terms import content_term, style_matches, style_term


class Losses(NamedTuple):
    """Terms of the objective of one image: scalars, or with leading axes for steps and lanes.

    Attributes:
      content: content loss, summed over layers with their weights, without alpha.
      style: style loss, summed over layers with their weights, without beta.
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


for _type in (Losses, LayerLosses):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")


Loss = Callable[[Float[Array, "h w 3"], Params, Targets, LossWeights], tuple[Float[Array, ""], Losses]]
"""A pure function (image, params, targets, weights) -> (scalar, Losses)."""

Match = Callable[[Float[Array, "h w 3"], Params, Targets], Targets]
"""A pure function (image, params, targets) -> targets with the matches of the image."""

Terms = Callable[[Float[Array, "h w 3"], Params, Targets, LossWeights], LayerLosses]
"""A pure function (image, params, targets, weights) -> LayerLosses."""


class MakeTargets(Protocol):
    """A function that gives the targets of images: targets(params, content, style, *, masks=None) -> Targets."""

    def __call__(
        self, params: Params, content: Float[ArrayLike, "h w 3"], style: StyleImages, *, masks: Masks | None = None
    ) -> Targets:
        """Compute what images are compared with: once, outside of any loop or vmap over lanes.

        Args:
          params: the network's parameters.
          content: (h, w, 3) content image; the images to optimise have its size.
          style: (h', w', 3) style image of any size, or a sequence of them (weighted by `LossWeights.style_mix`).
          masks: None, or soft masks in [0, 1] of the content image, (regions, h, w), and of the style image, (regions,
            h', w'), or of each of several: the image takes region i's style where the content's mask i is. A style may
            lack a region that another one has; where no content mask is, there is no style loss.

        Returns:
          Targets.

        Raises:
          ValueError: for a layer that the network doesn't return, no style image, masks of another shape than their
            image's or with values outside of [0, 1], or an empty region (where values are known; in a jitted function
            it counts for nothing).
        """
        ...


class Objective(NamedTuple):
    """What a transfer minimises, as pure functions that agree in network, layers, losses and convention.

    Attributes:
      targets: (params, content, style, *, masks=None) -> Targets, computed once; see `MakeTargets`.
      loss: (image, params, targets, weights) -> (total, Losses), for `make_transfer`.
      terms: (image, params, targets, weights) -> LayerLosses, without alpha, beta and layer weights: only the style mix
        of `weights` counts.
      match: (image, params, targets) -> targets, whose `matches` are those of the image, without gradient. The image
        has the size of the content's, and may be another than those that are compared: NNST (Kolkin et al., arXiv
        2203.13215) takes `pyramid.mix` of the content and of the picture so far, once a size. Where no statistic
        has a `match`, the targets are returned as they are.
    """

    targets: MakeTargets
    loss: Loss
    terms: Terms
    match: Match


def make_objective(
    features: Features,
    *,
    content_layers: Iterable[str] = CONTENT_LAYERS,
    style_layers: Iterable[str] = STYLE_LAYERS,
    content_loss: str | ContentStatistic = "features",
    style_loss: StyleLoss = "gram",
    convention: str = "mean",
) -> Objective:
    r"""Make the objective of Gatys et al. (CVPR 2016) over the features of a network.

    $$\text{total} = \alpha \sum_l a_l C_l + \beta \sum_l w_l \sum_k m_k S_{lk} + \gamma \, \mathrm{TV}$$

    Here $C_l$ is the content loss of layer l, and $S_{lk}$ the style loss of layer l and style image k, where the paper
    has one style image. `LossWeights` holds $\alpha$, $\beta$, the weight $\gamma$ of the total variation (`tv`), the
    weights $a$ and $w$ of the layers and the style mix $m$. With masks, $S_{lk}$ is the mean over regions, each with
    the weight of its area, so that every pixel has the same balance of content and style as without masks.

    Args:
      features: from `make_features`, or any function (params, image) -> {layer: (h, w, c)}: another network, or layers
        made of a network's. Names of layers are whatever it returns.
      content_layers: layers of the content loss, in the order of `LossWeights.content_layers`. There may be none, for a
        texture (Gatys et al., arXiv 1505.07376): the content loss is then 0.
      style_layers: layers of the style loss, in the order of `LossWeights.style_layers`.
      content_loss: one of `weight_defaults.CONTENT_LOSSES`, or a `ContentStatistic`.
      style_loss: one of `weight_defaults.STYLE_LOSSES`, or a `StyleStatistic`, which says what conventions it takes; or
        one for each layer, as {layer: name or statistic}; see `style_statistics.statistics_by_layer`.
      convention: one of `losses.CONVENTIONS`, which says what alpha and beta multiply.

    Returns:
      Objective.

    Raises:
      ValueError: for features that are no function, names of layers that are no or repeated names, an unknown
        content_loss, style_loss or convention. The objective's functions raise it at trace time for a layer that the
        network doesn't return, targets of another image size or, as far as shapes tell, of another objective, weights
        of another length, and a convention that content_loss or style_loss doesn't take.

    Examples:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1", "relu2_1")), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, content_layers="relu2_1", style_layers=("relu1_1", "relu2_1"))
      >>> targets = objective.targets(params, content, style)
      >>> targets.content["relu2_1"].shape, targets.style["relu1_1"].shape
      ((6, 8, 128), (1, 64, 64))
      >>> total, losses = jax.jit(objective.loss)(content, params, targets, js.LossWeights(alpha=1.0, beta=0.5))
      >>> float(losses.content), bool(losses.style > 0)  # of the content image itself
      (0.0, True)
    """
    check_function("features", features, "js.make_features")
    check_convention(convention)
    content_layers = optional_layer_names(content_layers, "content_layers")
    style_layers = layer_names(style_layers, "style_layers")
    of_content, of_style = content_statistic(content_loss), statistics_by_layer(style_loss, style_layers)

    def targets_of(
        params: Params, content: Float[ArrayLike, "h w 3"], style: StyleImages, *, masks: Masks | None = None
    ) -> Targets:
        return compute_targets(
            features,
            params,
            content,
            style,
            content_layers=content_layers,
            style_layers=style_layers,
            style_loss=of_style,
            content_loss=of_content,
            masks=masks,
        )

    def terms(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> LayerLosses:
        check_type("targets", targets, Targets)
        found = features(params, image)
        content = select_layers(found, content_layers, "content_layers")
        style = select_layers(found, style_layers, "style_layers")
        return LayerLosses(
            {layer: content_term(of_content, layer, f, targets, convention) for layer, f in content.items()},
            {layer: style_term(of_style[layer], layer, f, targets, weights, convention) for layer, f in style.items()},
        )

    def match(image: jax.Array, params: Params, targets: Targets) -> Targets:
        check_type("targets", targets, Targets)
        matching = tuple(layer for layer, statistic in of_style.items() if statistic.match)
        if not matching:
            return targets
        found = select_layers(features(params, image), matching, "style_layers")
        matches = {layer: style_matches(of_style[layer], layer, f, targets) for layer, f in found.items()}
        return targets._replace(matches=lax.stop_gradient(matches))

    return Objective(targets_of, make_loss(terms, content_layers, style_layers), terms, match)


def make_loss(terms: Terms, content_layers: Sequence[str], style_layers: Sequence[str]) -> Loss:
    """Sum the losses of layers to the objective.

    Args:
      terms: the losses by layer, such as `Objective.terms`.
      content_layers: names in the order of `LossWeights.content_layers`; jax sorts what a jitted `terms` returns.
      style_layers: names in the order of `LossWeights.style_layers`.

    Returns:
      A pure function (image (h, w, 3), params, targets, weights) -> (total, Losses), all scalars.

    Raises:
      ValueError: from that function, for weights that are no LossWeights, or whose alpha, beta or tv is no scalar.
    """

    def loss(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> tuple[jax.Array, Losses]:
        check_type("weights", weights, LossWeights)
        weights = as_weights(weights)
        for name in SCALARS:
            if shape := jnp.shape(getattr(weights, name)):
                raise ValueError(f"weights.{name} must be a scalar, got shape {shape}; js.sweep or jax.vmap take lanes")
        of_content, of_style = terms(image, params, targets, weights)
        tv = total_variation(image)
        style = weighted_sum("style_layers", weights.style_layers, [of_style[layer] for layer in style_layers])
        of_layers = [of_content[layer] for layer in content_layers]
        content = weighted_sum("content_layers", weights.content_layers, of_layers)
        content, style, tv = promoted(content, style, tv)
        alpha, beta, of_tv = (jnp.asarray(x, style.dtype) for x in (weights.alpha, weights.beta, weights.tv))
        total = alpha * content + beta * style + of_tv * tv
        return total, Losses(content, style, tv, total)

    return loss
