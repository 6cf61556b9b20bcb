"""Sweeps: many transfers, called lanes, that differ in their loss weights, in one call.

Images are float RGB in [0, 1], shape (h, w, 3); here they get a leading lane axis.
"""

from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.common.checks import as_weights, check_count, check_type, reverse_mode_only
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.objective import Losses, LossWeights, Targets
from jaxstyle.optimise.scaling import check_weights
from jaxstyle.optimise.state import Transfer
from jaxstyle.optimise.transfer import run
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.stacked_targets import StackedTargets, check_targets
from jaxstyle.parallel.weight_grid import lane_axes, num_lanes, pad_lanes

_PROGRAMS = 8  # that are kept of one transfer, with different options


class SweepResult(NamedTuple):
    """Outcome of a sweep.

    Attributes:
      images: (lanes, h, w, 3).
      losses: Losses with leaves (lanes, steps): column i is of the images before step i.
      final: Losses of `images`, with leaves (lanes,).
      state: of the transfer, with a leading lane axis, to go on from.
    """

    images: Float[Array, "lanes h w 3"]
    losses: Losses
    final: Losses
    state: Any


export.register_namedtuple_serialization(SweepResult, serialized_name="jaxstyle.SweepResult")


def sweep(
    transfer: Transfer,
    image: Float[ArrayLike, "*lanes h w 3"],
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
    *,
    num_steps: int,
    microbatch: int | None = None,
    mesh: Mesh | None = None,
) -> SweepResult:
    """Run one transfer a lane of `weights`, all lanes together, with shared parameters and targets.

    Lane i is what `run` gives for the i-th weights alone, to rounding. The sweep is jitted, and compiled once for each
    transfer, shape and option: new weights, and images and targets of the same shapes, are not compiled anew.
    `jax.export` for a TPU wants `disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("LayoutConstraint")]`, for
    the layout of lanes there.

    Args:
      transfer: from `make_transfer`.
      image: where to start: one (h, w, 3) for all lanes, or (lanes, h, w, 3).
      params: the network's parameters.
      targets: from `make_targets`, the same for all lanes; or `StackedTargets`.
      weights: LossWeights of which at least one leaf has a lane axis, for example from `weight_grid`.
      num_steps: steps to take.
      microbatch: lanes computed at once within a step on a device (see `make_lanes`); None: all.
      mesh: devices to share the lanes out among; where their number doesn't divide, the last lane is computed more
        than once, and the results are exchanged between devices after the last step, to cut it off. None: where jax
        computes by default.

    Returns:
      SweepResult, with the lanes in the order of the weights'.

    Raises:
      ValueError: for weights without lanes, below 0 (where values are known) or of different lane counts, or as many
        images as there aren't lanes; for an index of `StackedTargets` that is of no image (where values are known;
        elsewhere that lane's losses are NaN).

    Example:
      >>> import jax, jaxstyle as js, optax
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> targets = js.make_targets(features, params, content, style, **layers)
      >>> transfer = js.make_transfer(js.make_loss(features, **layers), optax.adam(0.02))
      >>> grid = js.weight_grid(beta=[0.1, 1.0, 10.0])
      >>> result = js.sweep(transfer, content, params, targets, grid, num_steps=2)
      >>> result.images.shape, result.losses.total.shape
      ((3, 12, 16, 3), (3, 2))
    """
    # A list of numbers is a leaf with lanes, not a tree.
    check_type("transfer", transfer, Transfer)
    check_type("weights", weights, LossWeights)
    check_count("num_steps", num_steps, 0)
    weights = as_weights(weights)
    image, count = as_image(image), num_lanes(weights)
    check_weights(weights)
    if image.ndim == 3:
        image = jnp.broadcast_to(image, (count, *image.shape))
    if image.ndim != 4 or image.shape[0] != count:
        raise ValueError(f"image must have shape (h, w, 3) or ({count}, h, w, 3), got {image.shape}")
    check_targets(targets, (count,))
    if mesh is not None:
        mesh = Mesh(mesh.devices, mesh.axis_names)  # with axes of the type that code outside of shard_map needs
        if count % mesh.size:
            image, targets, weights = _pad((image, targets, weights), mesh.size)
        image = jax.device_put(image, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    with reverse_mode_only():
        return _program(transfer, num_steps, microbatch, mesh, count)(image, params, targets, weights)


def _pad(operands: tuple[jax.Array, Any, LossWeights], multiple: int) -> tuple[jax.Array, Any, LossWeights]:
    """Images, targets and weights, with the last lane repeated until their number is a multiple."""
    image, targets, weights = operands
    axes = lane_axes(weights)._asdict()
    by_lane = {name: leaf for name, leaf in weights._asdict().items() if axes[name] == 0}
    image, by_lane = pad_lanes((image, by_lane), multiple)
    if isinstance(targets, StackedTargets):
        content_index, style_index = pad_lanes((targets.content_index, targets.style_index), multiple)
        targets = targets._replace(content_index=content_index, style_index=style_index)
    return image, targets, weights._replace(**by_lane)


def _program(transfer: Transfer, *options: Any) -> Callable[..., SweepResult]:
    """The jitted sweep of a transfer, the same one at each call, so that it is compiled once.

    The step function itself keeps it, so that both are freed together: a cache elsewhere would keep the arrays that the
    transfer's functions hold.
    """
    kept: dict[Any, Any] = {}
    if isinstance(transfer.step, FunctionType):
        kept = vars(transfer.step).setdefault("_programs_of_sweep", kept)
    key = (transfer, *options)
    if key not in kept:
        while len(kept) >= _PROGRAMS:
            del kept[next(iter(kept))]
        kept[key] = jax.jit(partial(_run_lanes, transfer, *options), inline=True)
    return kept[key]


def _run_lanes(
    transfer: Transfer,
    num_steps: int,
    microbatch: int | None,
    mesh: Mesh | None,
    count: int,
    image: jax.Array,
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
) -> SweepResult:
    lanes = make_lanes(transfer, weights, microbatch=microbatch, mesh=mesh)
    state, losses = run(lanes, lanes.init(image), params, targets, weights, num_steps=num_steps)
    final = lanes.losses(state.picture, params, targets, weights)
    if len(state.image) > count:
        state, final = jax.tree.map(lambda x: x[:count], (state, final))
        losses = jax.tree.map(lambda x: x[:, :count], losses)
    return SweepResult(state.picture, jax.tree.map(jnp.transpose, losses), final, state)
