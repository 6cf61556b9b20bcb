"""Targets of lanes that work on different images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float, Int

from jaxstyle.common.checks import known
from jaxstyle.objective.objective import Targets


class StackedTargets(NamedTuple):
    """Targets of lanes that work on different images: those of all images once, and which of them are a lane's.

    Attributes:
      content: {layer: (contents, h, w, c)} features of the content images, all of one size.
      style: {layer: n style targets, each leaf with a leading axis (n,)}: of Gram matrices (n, styles, c, c).
      content_index: (lanes,) whole numbers below contents; of one lane a scalar.
      style_index: (lanes,) whole numbers below n; of one lane a scalar.
      masks: None, or {layer: (contents, regions, h, w)} masks of the content images.
    """

    content: Mapping[str, Float[Array, "_contents _h _w _c"]]
    style: Mapping[str, Any]
    content_index: Int[Array, "*lanes"]
    style_index: Int[Array, "*lanes"]
    masks: Mapping[str, Float[Array, "_contents _regions _h _w"]] | None = None


export.register_namedtuple_serialization(StackedTargets, serialized_name="jaxstyle.StackedTargets")


def targets_of_lane(targets: Targets | StackedTargets, indices: tuple[Int[Array, ""], ...]) -> Targets:
    """The targets of one lane.

    Args:
      targets: from `make_targets`, the same for all lanes; or `StackedTargets`.
      indices: of `StackedTargets`, the lane's content_index and style_index, scalars.

    Returns:
      Targets: the lane's own out of `StackedTargets`, or `targets` itself.
    """
    if not isinstance(targets, StackedTargets):
        return targets
    content, style = indices
    of_content = _take((targets.content, targets.masks), content)
    return Targets(of_content[0], _take(targets.style, style), of_content[1])


def _take(tree: Any, index: jax.Array) -> Any:
    """Each leaf's part of an index; NaN for an index of nothing, where jax would take the last part instead."""

    def take(x: jax.Array) -> jax.Array:
        of_something = jnp.where(index < 0, len(x), index)  # or -1 would be the last
        return jnp.take(x, of_something, axis=0, mode="fill")

    return jax.tree.map(take, tree)


def check_targets(targets: Any, lanes: tuple[int, ...]) -> None:
    """Check the indices of `StackedTargets`.

    Args:
      targets: of lanes; other ones than `StackedTargets` are left to the loss.
      lanes: the shape that the indices of `StackedTargets` must have: (number of lanes,), or () of one lane.

    Raises:
      ValueError: for indices of another shape or dtype, images of different numbers in the leaves, and an index of no
        image (looked at where values are known).
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
