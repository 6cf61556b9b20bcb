"""Targets of lanes that work on different images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float, Int

from jaxstyle.common.checks import check_type, known
from jaxstyle.common.trees import stack
from jaxstyle.network.features import Params
from jaxstyle.objective.objective import Match
from jaxstyle.objective.targets import Targets


class StackedTargets(NamedTuple):
    """Targets of lanes that work on different images: each image's once, and which of them a lane takes.

    Attributes:
      content: {layer: n content targets, each leaf with a leading axis (n,)}, of images of one size; for `features`
        (contents, h, w, c).
      style: {layer: n style targets, each leaf with a leading axis (n,)}; for Gram matrices (n, styles, c, c).
      content_index: (lanes,) whole numbers below contents; a scalar for one lane.
      style_index: (lanes,) whole numbers below n; a scalar for one lane.
      masks: None, or {layer: (contents, regions, h, w)} masks of the content images.
      matches: None, or `Targets.matches` of each lane, each leaf with a leading axis (lanes,); see `match_lanes`.
    """

    content: Mapping[str, Any]
    style: Mapping[str, Any]
    content_index: Int[Array, "*lanes"]
    style_index: Int[Array, "*lanes"]
    masks: Mapping[str, Float[Array, "_contents _regions _h _w"]] | None = None
    matches: Any = None


export.register_namedtuple_serialization(StackedTargets, serialized_name="jaxstyle.StackedTargets")


def stack_targets(
    targets: Sequence[Targets], *, content: Sequence[int] | None = None, style: Sequence[int] | None = None
) -> StackedTargets:
    """Give each lane of a sweep a content image and a style image of its own.

    Lane i takes the content of `targets[content[i]]` and the style of `targets[style[i]]`. Each image that a lane takes
    is kept once, however many lanes take it.

    Args:
      targets: from one objective. All content images have one size; style images may have any.
      content: (lanes,) places in `targets`; None: lane i takes that of `targets[i]`.
      style: (lanes,) places in `targets`; None: likewise.

    Returns:
      StackedTargets, for `sweep` and `make_lanes`.

    Raises:
      ValueError: for no targets, places that are none, numbers of lanes that differ, content images of several sizes,
        targets of several objectives, and targets of which only some have masks.

    Examples:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> objective = js.make_objective(features, content_layers="relu1_1", style_layers="relu1_1")
      >>> photo, painting, mosaic = jax.random.uniform(jax.random.key(0), (3, 12, 16, 3))
      >>> both = [objective.targets(params, photo, style) for style in (painting, mosaic)]
      >>> stacked = js.stack_targets(both, content=[0, 0, 0, 0], style=[0, 0, 1, 1])  # one photo, two styles
      >>> stacked.content["relu1_1"].shape, stacked.style["relu1_1"].shape
      ((1, 12, 16, 64), (2, 1, 64, 64))
    """
    if not targets:
        raise ValueError("targets must hold those of at least one pair of images")
    for one in targets:
        check_type("targets", one, Targets)
        if one.matches is not None:
            raise ValueError("targets of one image hold matches: stack others, and give the result to match_lanes")
    places = {name: _places(name, given, len(targets)) for name, given in (("content", content), ("style", style))}
    if len(places["content"]) != len(places["style"]):
        raise ValueError(
            f"content and style must name as many lanes, got {len(places['content'])} and {len(places['style'])}"
        )
    contents, styles = (list(dict.fromkeys(places[name])) for name in ("content", "style"))
    if len({one.masks is None for one in targets}) > 1:
        raise ValueError("either all targets must have masks, or none")
    content_index, style_index = (
        jnp.array([kept.index(place) for place in places[name]])
        for name, kept in (("content", contents), ("style", styles))
    )
    masks = None if targets[0].masks is None else _stack([targets[i].masks for i in contents], "content masks")
    return StackedTargets(
        _stack([targets[i].content for i in contents], "content images"),
        _stack([targets[i].style for i in styles], "style targets"),
        content_index,
        style_index,
        masks,
    )


def _places(name: str, given: Sequence[int] | None, count: int) -> list[int]:
    if given is None:
        return list(range(count))
    places = np.asarray(given)
    if not np.issubdtype(places.dtype, np.integer) or places.ndim != 1 or ((places < 0) | (places >= count)).any():
        raise ValueError(f"{name} must be places from 0 to {count - 1} in targets, one a lane, got {places.tolist()}")
    return places.tolist()


def _stack(trees: list[Any], what: str) -> Any:
    shapes = [jax.tree.map(jnp.shape, tree) for tree in trees]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"the {what} of targets must have one shape, from one objective: got {shapes}"[:300])
    return stack(trees)


def parts_by_lane(targets: Targets | StackedTargets) -> tuple[Any, ...]:
    """Return what targets hold for each lane, for `targets_of_lane`.

    Args:
      targets: Targets that all lanes share, or `StackedTargets`.

    Returns:
      (content_index, style_index, matches) of `StackedTargets`; else ().
    """
    if not isinstance(targets, StackedTargets):
        return ()
    return targets.content_index, targets.style_index, targets.matches


def targets_of_lane(targets: Targets | StackedTargets, parts: tuple[Any, ...]) -> Targets:
    """Take the targets of one lane.

    Args:
      targets: Targets that all lanes share, or `StackedTargets`.
      parts: the lane's part of `parts_by_lane`.

    Returns:
      Targets: the lane's own out of `StackedTargets`, or `targets` itself.
    """
    if not isinstance(targets, StackedTargets):
        return targets
    content, style, matches = parts
    of_content = _take((targets.content, targets.masks), content)
    return Targets(of_content[0], _take(targets.style, style), of_content[1], matches)


def match_lanes(
    match: Match, images: Float[Array, "lanes h w 3"], params: Params, targets: Targets | StackedTargets
) -> StackedTargets:
    """Match an image of each lane with the lane's styles, one lane after another.

    Args:
      match: `Objective.match`.
      images: (lanes, h, w, 3), such as `pyramid.mix` of the content and of each lane's picture.
      params: the network's parameters.
      targets: those of the lanes, from `stack_targets`; or Targets that all lanes share.

    Returns:
      StackedTargets with the matches.
    """
    if not isinstance(targets, StackedTargets):
        content, style, masks = jax.tree.map(lambda x: x[None], (targets.content, targets.style, targets.masks))
        index = jnp.zeros(len(images), int)
        targets = StackedTargets(content, style, index, index, masks)
    of_all = targets._replace(matches=None)

    def of_lane(lane: Any) -> Any:
        image, parts = lane
        return match(image, params, targets_of_lane(of_all, parts)).matches

    return of_all._replace(matches=lax.map(of_lane, (images, parts_by_lane(of_all))))


def _take(tree: Any, index: jax.Array) -> Any:
    """Take each leaf's part at an index: NaN where there is none, while jax itself would take the last part."""

    def take(x: jax.Array) -> jax.Array:
        beyond = jnp.where(index < 0, len(x), index)  # -1 would be the last part
        return jnp.take(x, beyond, axis=0, mode="fill")

    return jax.tree.map(take, tree)


def check_targets(targets: Any, lanes: tuple[int, ...]) -> None:
    """Check the indices of `StackedTargets`; any other targets are left to the loss.

    Args:
      targets: the targets of lanes.
      lanes: the shape that the indices must have: (number of lanes,), or () for one lane.

    Raises:
      ValueError: for indices of another shape or dtype, leaves with different numbers of images, an index of no image
        (where values are known), and matches of another number of lanes.
    """
    if not isinstance(targets, StackedTargets):
        return
    for name, part in (("content", (targets.content, targets.masks)), ("style", targets.style)):
        index = getattr(targets, f"{name}_index")
        if jnp.shape(index) != lanes or not jnp.issubdtype(jnp.result_type(index), jnp.integer):
            raise ValueError(
                f"targets.{name}_index must be whole numbers of shape {lanes}, "
                f"got {jnp.result_type(index)} of shape {jnp.shape(index)}"
            )
        counts = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(part)}
        if len(counts) > 1:
            raise ValueError(f"the leaves of targets.{name} must hold one number of images, got {sorted(counts)}")
        values = known(index)
        if counts and values is not None:
            (count,) = counts
            if ((values < 0) | (values >= count)).any():
                raise ValueError(f"targets.{name}_index must be from 0 to {count - 1}, got {values.tolist()}")
    for leaf in jax.tree.leaves(targets.matches):
        if jnp.shape(leaf)[: len(lanes)] != lanes:
            raise ValueError(f"targets.matches must have those of {lanes} lanes, got shape {jnp.shape(leaf)}")
