"""The program of a sweep: it starts all lanes, takes their steps and computes the losses at the end.

`sweep` compiles and runs it, `plan` compiles it and looks at what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_count, check_type
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.transfer import run
from jaxstyle.optimise.transfer_state import Transfer
from jaxstyle.parallel.hyperparams import set_hyperparams
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.microbatch_size import device_microbatch
from jaxstyle.parallel.stacked_targets import StackedTargets, check_targets, parts_by_lane
from jaxstyle.parallel.weight_grid import lane_axes, num_lanes, pad_lanes


class SweepResult(NamedTuple):
    """Outcome of a sweep.

    Attributes:
      images: (lanes, h, w, 3).
      losses: Losses with leaves (lanes, steps): column i belongs to the images before step i.
      final: Losses of `images`, with leaves (lanes,).
      state: of the transfer, with a leading lane axis; another sweep can go on from it.
    """

    images: Float[Array, "lanes h w 3"]
    losses: Losses
    final: Losses
    state: Any


export.register_namedtuple_serialization(SweepResult, serialized_name="jaxstyle.SweepResult")


def _is_state(start: Any) -> bool:
    return hasattr(start, "picture")


def _image_of(start: Any) -> Any:
    return start.image if _is_state(start) else start


def check_arguments(transfer: Transfer, weights: LossWeights, num_steps: int) -> None:
    """Check those arguments of `sweep` that need no look at arrays.

    Args:
      transfer: should be a Transfer.
      weights: should be LossWeights.
      num_steps: should be a whole number of 0 or more.

    Raises:
      ValueError: if one of them is something else.
    """
    check_type("transfer", transfer, Transfer)
    check_type("weights", weights, LossWeights)
    check_count("num_steps", num_steps, 0)


def choose_microbatch(microbatch: int | Literal["auto"] | None, start: Any, mesh: Mesh | None) -> int | None:
    """Choose how many lanes a device computes at once.

    Args:
      microbatch: the argument of `sweep`.
      start: images or a state, as arrays or their shapes.
      mesh: the devices; None: where jax computes by default.

    Returns:
      The number; None: all.
    """
    if microbatch != "auto":
        return microbatch
    height, width = _image_of(start).shape[-3:-1]
    device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
    return device_microbatch(height * width, device)


def fill_devices(
    start: Any, targets: Targets | StackedTargets, weights: LossWeights, mesh: Mesh | None
) -> tuple[Any, Targets | StackedTargets, LossWeights]:
    """Give every lane its start, and repeat the last lane until the devices of the mesh divide the number of lanes.

    Args:
      start: as of `sweep`, like all that follow.
      targets: the targets.
      weights: LossWeights of arrays.
      mesh: the devices, or None.

    Returns:
      The start, the targets and the weights of all lanes.

    Raises:
      ValueError: as `sweep` does, for a start or targets that don't suit the number of lanes.
    """
    count = num_lanes(weights)
    start = _check_start(start, count)
    check_targets(targets, (count,))
    if mesh is None or not count % mesh.size:
        return start, targets, weights
    return _pad((start, targets, weights), mesh.size)


def _check_start(start: Any, count: int) -> Any:
    """The images (lanes, h, w, 3) or the state to start from."""
    if not _is_state(start):
        start = as_image(start)
        if start.ndim == 3:
            start = jnp.broadcast_to(start, (count, *start.shape))
    image = _image_of(start)
    if image.ndim != 4 or image.shape[0] != count:
        shapes = f"({count}, h, w, 3)"
        what = f"the state's image must have shape {shapes}"
        if not _is_state(start):
            what = f"image must have shape (h, w, 3) or {shapes}"
        raise ValueError(f"{what}, got {image.shape}")
    return start


def _pad(operands: tuple[Any, Any, LossWeights], multiple: int) -> tuple[Any, Any, LossWeights]:
    """Images or state, targets and weights, with the last lane repeated until their number is a multiple."""
    start, targets, weights = operands
    axes = lane_axes(weights)._asdict()
    by_lane = {name: leaf for name, leaf in weights._asdict().items() if axes[name] == 0}
    start, by_lane = pad_lanes((start, by_lane), multiple)
    if isinstance(targets, StackedTargets):
        content_index, style_index, matches = pad_lanes(parts_by_lane(targets), multiple)
        targets = targets._replace(content_index=content_index, style_index=style_index, matches=matches)
    return start, targets, weights._replace(**by_lane)


def start_lanes(
    transfer: Transfer,
    microbatch: int | None,
    mesh: Mesh | None,
    count: int,
    start: Any,
    weights: LossWeights,
    hyperparams: Mapping[str, jax.Array],
) -> Any:
    """Start all lanes from their images, or go on from their states.

    Args:
      transfer: of one lane; for the rest, see `run_lanes`.
      microbatch: lanes computed at once on a device, or None.
      mesh: the devices, or None.
      count: the number of lanes without those that only fill devices up.
      start: images or a state.
      weights: LossWeights with lanes.
      hyperparams: of the optimiser, by name.

    Returns:
      The state of all lanes.

    Raises:
      ValueError: for a hyperparameter that the optimiser doesn't keep.
    """
    lanes = make_lanes(transfer, weights, microbatch=microbatch, mesh=mesh)
    state = start if _is_state(start) else lanes.init(start)
    if not hyperparams:
        return state
    size = len(state.image)
    padded = {name: x if x.ndim != 1 or len(x) != count else pad_lanes(x, size) for name, x in hyperparams.items()}
    return set_hyperparams(state, padded)


def run_lanes(
    transfer: Transfer,
    num_steps: int,
    microbatch: int | None,
    mesh: Mesh | None,
    count: int,
    start: Any,
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
    hyperparams: Mapping[str, jax.Array],
) -> SweepResult:
    """Start all lanes, take their steps and compute the losses at the end; this is what `sweep` jits.

    Args:
      transfer: of one lane.
      num_steps: steps to take.
      microbatch: lanes computed at once on a device, or None.
      mesh: the devices, or None.
      count: the number of lanes without those that only fill devices up.
      start: of `fill_devices`, like targets and weights.
      params: the network's parameters.
      targets: the targets.
      weights: LossWeights with lanes.
      hyperparams: of the optimiser, by name.

    Returns:
      SweepResult of `count` lanes.
    """
    state = start_lanes(transfer, microbatch, mesh, count, start, weights, hyperparams)
    lanes = make_lanes(transfer, weights, microbatch=microbatch, mesh=mesh)
    state, losses = run(lanes, state, params, targets, weights, num_steps=num_steps)
    final = lanes.losses(state.picture, params, targets, weights)
    if len(state.image) > count:
        state, final = jax.tree.map(lambda x: x[:count], (state, final))
        losses = jax.tree.map(lambda x: x[:, :count], losses)
    return SweepResult(state.picture, jax.tree.map(jnp.transpose, losses), final, state)
