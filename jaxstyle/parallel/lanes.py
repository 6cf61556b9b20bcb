"""One transfer over many lanes: vmapped, in groups that bound the memory, and shared out among devices.

Images are float RGB in [0, 1], shape (h, w, 3); here they get a leading lane axis.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import ArrayLike, Float

from jaxstyle.common.checks import check_count, check_type
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.loss_normalisation import check_weights
from jaxstyle.optimise.transfer_state import Transfer
from jaxstyle.parallel.stacked_targets import StackedTargets, check_targets, parts_by_lane, targets_of_lane
from jaxstyle.parallel.weight_grid import lane_axes, num_lanes


def make_lanes(
    transfer: Transfer, weights: LossWeights, *, microbatch: int | None = None, mesh: Mesh | None = None
) -> Transfer:
    """Make a transfer of many lanes out of a transfer of one, for weights of the shapes of `weights`.

    Its `init` takes images (lanes, h, w, 3). Its `step` takes one set of params and targets for all lanes, or
    `StackedTargets`; with it, `run` returns losses of shape (steps, lanes).

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`.
      weights: LossWeights with lanes; only their shapes are used.
      microbatch: the most lanes that a step computes at once on a device. It takes them group after group, all of one
        size, so that the memory for features is that of one group, whatever the number of lanes. None: all at once.
      mesh: devices that share the lanes among them, over all its axes. Lanes need nothing from each other. `init` puts
        them on the devices. None: where jax computes by default.

    Returns:
      A transfer whose state has a leading lane axis.

    Raises:
      ValueError: for a microbatch below 1, or lanes that don't divide by the devices (see `pad_lanes`).
    """
    check_type("transfer", transfer, Transfer)
    if microbatch is not None:
        check_count("microbatch", microbatch, 1)
    axes = lane_axes(weights)
    count = num_lanes(weights)
    if mesh is not None and count % mesh.size:
        raise ValueError(f"{count} lanes do not divide by {mesh.size} devices: pad_lanes repeats the last one")

    def of_lanes(of_one: Callable[..., Any]) -> Callable[..., Any]:
        """Map a function of one lane's (state, params, targets, weights), or (image, ...), over all lanes."""

        def apply(state: Any, params: Params, targets: Targets | StackedTargets, weights: LossWeights) -> Any:
            check_weights(weights)
            check_targets(targets, (len(jax.tree.leaves(state)[0]),))
            by_lane = {name: leaf for name, leaf in weights._asdict().items() if getattr(axes, name) == 0}

            def one(state: Any, lane: tuple[dict[str, jax.Array], tuple[Any, ...]]) -> Any:
                leaves, parts = lane
                return of_one(state, params, targets_of_lane(targets, parts), weights._replace(**leaves))

            def together(state: Any, lanes: Any) -> tuple[Any, Losses]:
                state, losses = jax.vmap(one)(jax.tree.map(_keep_layout, state), lanes)
                return jax.tree.map(_keep_layout, state), losses

            return _step_groups(together, microbatch, state, (by_lane, parts_by_lane(targets)))

        return apply

    evaluate = of_lanes(lambda image, *others: (image, transfer.losses(image, *others)))
    lanes = Transfer(jax.vmap(transfer.init), of_lanes(transfer.step), lambda *operands: evaluate(*operands)[1])
    return lanes if mesh is None else _shard(lanes, axes, mesh)


def _step_groups(step: Any, microbatch: int | None, state: Any, lanes: Any) -> Any:
    """Take a step of (state, lanes), at most `microbatch` lanes at once, in the memory that the state lies in."""
    count = jax.tree.leaves(state)[0].shape[0]
    if microbatch is None or microbatch >= count:
        return step(state, lanes)
    groups = -(-count // microbatch)
    size = -(-count // groups)
    step = jax.jit(step, inline=True)  # traced once, not for its shapes and again for the loop
    of_group = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), (state, lanes))
    losses = jax.tree.map(lambda s: jnp.zeros((count, *s.shape[1:]), s.dtype), jax.eval_shape(step, *of_group)[1])

    # The loop carries the state; lax.map would hold it twice, before and after.
    def body(carry: Any, group: jax.Array) -> tuple[Any, None]:
        start = jnp.minimum(group * size, count - size)
        before, own = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), (carry, lanes))
        before = lax.optimization_barrier(before)  # else XLA takes slices again when some of the state is new already
        after = step(before[0], own)
        if count % size:  # the last group overlaps the one before, whose lanes have taken this step already
            due = start + jnp.arange(size) >= group * size
            after = jax.vmap(lambda d, a, b: jax.tree.map(partial(jnp.where, d), a, b))(due, after, before)
        put = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return jax.tree.map(put, carry, after), None

    return lax.scan(body, (state, losses), jnp.arange(groups))[0]


def _keep_layout(x: jax.Array) -> jax.Array:
    """On a TPU, keep images laid out channel by channel, and on a GPU row by row, as arguments are.

    Otherwise the layout that suits an operation of a step spreads over the loops of steps and groups. On a TPU it is
    the first convolution's: it makes a padded copy of all lanes' state, which takes a third more memory for 512 lanes
    of 512 pixels and 16 times as much for 8 lanes. On a GPU the pairs of `lbfgs` lie pixel by pixel, so that every
    product with them reads with strides: on an H200 a step of 8 lanes of 512 pixels took 10.5 instead of 8.3 ms (with
    Triton's matrix products).
    """
    if x.ndim < 4:
        return x
    *leading, height, width, channels = range(x.ndim)

    def lay(*order: int) -> Callable[[jax.Array], jax.Array]:
        return lambda x: with_layout_constraint(x, Layout(order))

    by_channel, by_row = lay(*leading, channels, height, width), lay(*range(x.ndim))
    return lax.platform_dependent(x, tpu=by_channel, cuda=by_row, default=lambda x: x)


def _shard(lanes: Transfer, axes: LossWeights, mesh: Mesh) -> Transfer:
    """Share the lanes of a transfer out among the devices of a mesh.

    This is done by shard_map and not by the sharding of arguments: XLA would gather the lanes where a loop takes groups
    of them, or where a line search's loop asks whether any lane is left. Each lane has its own image, because the
    gradient of an image that all devices share would be summed over them.
    """
    mesh = with_plain_axes(mesh)
    by_lane: Any = PartitionSpec(mesh.axis_names)
    shared: Any = PartitionSpec()
    of_stacked, of_weights = lane_specs(axes, by_lane)
    # check_vma: the line search of optax.lbfgs starts its loop with values that are the same on all devices.
    split = partial(jax.shard_map, mesh=mesh, check_vma=False)

    def init(image: Float[ArrayLike, "lanes h w 3"]) -> Any:
        image = jax.device_put(as_image(image), NamedSharding(mesh, by_lane))
        return split(lanes.init, in_specs=by_lane, out_specs=by_lane)(image)

    def of_devices(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(x: Any, params: Params, targets: Targets | StackedTargets, weights: LossWeights) -> Any:
            of_targets = of_stacked if isinstance(targets, StackedTargets) else shared
            specs = (by_lane, shared, of_targets, of_weights)
            return split(function, in_specs=specs, out_specs=by_lane)(x, params, targets, weights)

        return apply

    return Transfer(init, of_devices(lanes.step), of_devices(lanes.losses))


def with_plain_axes(mesh: Mesh) -> Mesh:
    """Make a mesh of the same devices whose axes have the type that code outside of shard_map needs.

    Axes of that type leave the partitioning to XLA.

    Args:
      mesh: a mesh with axes of any type.

    Returns:
      The new mesh.
    """
    return Mesh(mesh.devices, mesh.axis_names)


def lane_specs(axes: LossWeights, by_lane: Any) -> tuple[StackedTargets, LossWeights]:
    """Say which arguments of a step of lanes are shared out among devices; the others are on all of them.

    Args:
      axes: the lane axes of the weights, from `lane_axes`.
      by_lane: the PartitionSpec of a leading lane axis.

    Returns:
      A PartitionSpec for each leaf of `StackedTargets` and of LossWeights.
    """
    shared: Any = PartitionSpec()
    of_weights = LossWeights(*(by_lane if axis == 0 else shared for axis in axes))
    return StackedTargets(shared, shared, by_lane, by_lane, shared, by_lane), of_weights
