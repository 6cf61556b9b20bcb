"""The terms of the objective at one layer, and checks that the targets belong to the image and to the objective."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.trees import stack, unstack
from jaxstyle.objective.loss_weights import LossWeights, weighted_sum
from jaxstyle.objective.regions import RegionTargets, region_distances, region_matches
from jaxstyle.objective.statistics.content_statistics import ContentStatistic
from jaxstyle.objective.statistics.statistic import StyleStatistic, compare
from jaxstyle.objective.targets import Targets


def content_term(
    statistic: ContentStatistic, layer: str, f: Float[Array, "h w c"], targets: Targets, convention: str
) -> Float[Array, ""]:
    """Compute the content loss of one layer.

    Args:
      statistic: how contents are compared.
      layer: its name.
      f: (h, w, c) the image's features there.
      targets: from the objective's `targets`.
      convention: one of `losses.CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for targets of another objective, of stacked images, or of an image of another size.
    """
    target = _target_of("content", targets.content, layer)
    wanted, found = (jax.tree.map(jnp.shape, x) for x in (jax.eval_shape(statistic.measure, f), target))
    if found != wanted:
        if jax.tree.map(lambda x: jnp.shape(x)[1:], target) == wanted:
            raise ValueError(_STACKED.format(field="content", layer=layer, count=len(jax.tree.leaves(target)[0])))
        raise ValueError(
            f"{layer} of the image has shape {_brief(wanted)}, that of the content target {_brief(found)}: "
            "the image must have the size of the content image that the targets were made of, by one make_objective"
        )
    return statistic.distance(statistic.measure(f), target, convention=convention)


def _brief(shapes: Any) -> str:
    return str(shapes)[:100]


def style_term(
    statistic: StyleStatistic,
    layer: str,
    f: Float[Array, "h w c"],
    targets: Targets,
    weights: LossWeights,
    convention: str,
) -> Float[Array, ""]:
    """Compute the style loss of one layer, the mean over style images with the weights of the mix.

    Args:
      statistic: how styles are compared.
      layer: its name.
      f: (h, w, c) the image's features there.
      targets: from the objective's `targets`.
      weights: those of the terms, of which only the style mix counts.
      convention: one of `losses.CONVENTIONS`.

    Returns:
      A scalar >= 0.

    Raises:
      ValueError: for targets of another objective, of stacked images, or with masks of an image of another size; and
        for a style mix of another length.
    """
    target = _target_of("style", targets.style, layer)
    masks = None if targets.masks is None else _target_of("masks", targets.masks, layer)
    _check_style(statistic, layer, f, target, masks)
    matches = None if targets.matches is None else targets.matches.get(layer)
    if masks is None:
        measured = statistic.measure(f, None)
        styles = unstack(target)
        of_styles = [None] * len(styles) if matches is None else unstack(matches)
        terms = [
            compare(statistic, measured, style, own, convention) for style, own in zip(styles, of_styles, strict=True)
        ]
    else:
        terms = region_distances(statistic, f, masks, target, convention, matches)
    return weighted_sum("style_mix", weights.style_mix, terms)


def style_matches(statistic: StyleStatistic, layer: str, f: Float[Array, "h w c"], targets: Targets) -> Any:
    """Match an image with the styles at one layer.

    Args:
      statistic: how styles are compared, with a `match`.
      layer: its name.
      f: (h, w, c) the image's features there.
      targets: from the objective's `targets`.

    Returns:
      The matches, each leaf with a leading axis for styles, and with masks one for regions.

    Raises:
      ValueError: as `style_term` does.
    """
    assert statistic.match is not None
    target = _target_of("style", targets.style, layer)
    masks = None if targets.masks is None else _target_of("masks", targets.masks, layer)
    _check_style(statistic, layer, f, target, masks)
    if masks is not None:
        return region_matches(statistic.match, [statistic.measure(f, mask) for mask in masks], target)
    found = statistic.measure(f, None)
    return stack([statistic.match(found, style) for style in unstack(target)])


_STACKED = (
    "targets.{field} of {layer} holds {count} stacked targets where those of one image are wanted: "
    "js.sweep takes StackedTargets, and jax.vmap maps over Targets"
)


def _check_style(statistic: StyleStatistic, layer: str, f: jax.Array, target: Any, masks: jax.Array | None) -> None:
    """Raise ValueError unless a layer's target is of this statistic and of one image, with masks that fit if any."""
    if isinstance(target, RegionTargets) != (masks is not None):
        raise ValueError(
            "targets must have masks of content and style images, or of neither, as Objective.targets gives"
        )
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
    shapes = jax.eval_shape(lambda f, m: statistic.to_target(statistic.measure(f, m)), f, mask)
    wanted, leading = jax.tree.map(jnp.shape, shapes), 1 if masks is None else 2
    if jax.tree.map(lambda x: jnp.shape(x)[leading:], target) == wanted:
        return
    if jax.tree.map(lambda x: jnp.shape(x)[leading + 1 :], target) == wanted:
        raise ValueError(_STACKED.format(field="style", layer=layer, count=len(jax.tree.leaves(target)[0])))
    raise ValueError(
        f"targets.style of {layer} is of another style_loss, or of features of other channels: "
        "targets and loss must come from one make_objective"
    )


def _target_of(field: str, found: Mapping[str, Any], layer: str) -> Any:
    if layer not in found:
        raise ValueError(
            f"no {layer} among the layers {', '.join(found)} of targets.{field}: "
            "targets and loss must come from one make_objective"
        )
    return found[layer]
