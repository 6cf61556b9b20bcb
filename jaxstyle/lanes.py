"""Sweeps: many transfers, called lanes, that differ in their loss weights and run as one vmapped loop.

Images are float RGB in [0, 1], shape (h, w, 3); here they get a leading lane axis.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float, Int, Real

from jaxstyle.checks import check_count, check_type, known
from jaxstyle.objective import Losses, LossWeights, Targets
from jaxstyle.scaling import check_weights
from jaxstyle.transfer import Transfer
from jaxstyle.vgg import Params, as_image

_RANKS = {"alpha": 0, "beta": 0, "tv": 0, "content_layers": 1, "style_layers": 1, "style_mix": 1}


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


def weight_grid(
    *,
    alpha: Real[ArrayLike, "*alphas"] | Sequence[float] = 1.0,
    beta: Real[ArrayLike, "*betas"] | Sequence[float] = 1.0,
    tv: Real[ArrayLike, "*tvs"] | Sequence[float] = 0.0,
) -> LossWeights:
    """All combinations of the given values as LossWeights with a lane axis; the last argument varies fastest.

    Args:
      alpha: content weights, a scalar or a one-dimensional list.
      beta: style weights.
      tv: total-variation weights.

    Returns:
      LossWeights with alpha, beta and tv of shape (len(alpha) * len(beta) * len(tv),).

    Raises:
      ValueError: for an empty list or one of more than one dimension, and for what is no number >= 0 (where values are
        known: not in a function that is traced).

    Example:
      >>> import jaxstyle as js
      >>> grid = js.weight_grid(alpha=[1.0, 2.0], beta=[0.5, 1.0, 4.0])
      >>> grid.alpha.tolist(), grid.beta.tolist()
      ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [0.5, 1.0, 4.0, 0.5, 1.0, 4.0])
    """
    axes = {"alpha": alpha, "beta": beta, "tv": tv}
    values = {name: jnp.atleast_1d(jnp.asarray(_check_weights(name, x), dtype=float)) for name, x in axes.items()}
    for name, value in values.items():
        if value.ndim != 1 or not value.size:
            raise ValueError(f"{name} must be a scalar or a list of at least one value, got shape {value.shape}")
    grid = jnp.meshgrid(*values.values(), indexing="ij")
    return LossWeights(**{name: x.ravel() for name, x in zip(axes, grid, strict=True)})


def _check_weights(name: str, value: Any) -> Any:
    """The value; raises ValueError unless it is of numbers >= 0, where values are known."""
    values = [known(leaf) for leaf in jax.tree.leaves(value)]
    if any(v is None for v in values):
        return value
    try:
        if not all((np.asarray(v, float) >= 0).all() for v in values):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number >= 0 or a list of them, got {value!r}") from None
    return value


def lane_axes(weights: LossWeights) -> LossWeights:
    """Which leaves of weights have a lane axis, as vmap's in_axes.

    Args:
      weights: LossWeights, at least one leaf of which has a leading lane axis.

    Returns:
      LossWeights: 0 for a leaf with a lane axis, None for one that is the same for all lanes.

    Raises:
      ValueError: for a leaf with more axes than that, leaves whose lane counts differ, or no lane axis at all.
    """
    given = {name: leaf for name, leaf in weights._asdict().items() if leaf is not None}
    axes: dict[str, Any] = dict.fromkeys(weights._fields)
    counts = {}
    for name, leaf in given.items():
        extra = jnp.ndim(leaf) - _RANKS[name]
        if extra not in (0, 1):
            raise ValueError(
                f"weights.{name} must have {_RANKS[name]} axes, or {_RANKS[name] + 1} with lanes, got {jnp.shape(leaf)}"
            )
        if extra:
            axes[name] = 0
            counts[name] = jnp.shape(leaf)[0]
    if len(set(counts.values())) != 1:
        raise ValueError(f"weights must have one number of lanes, got {counts or 'no lane axis'}")
    return LossWeights(**axes)


def num_lanes(weights: LossWeights) -> int:
    """Number of lanes of weights.

    Args:
      weights: LossWeights, at least one leaf of which has a leading lane axis.

    Returns:
      The number.

    Raises:
      ValueError: as `lane_axes` does.
    """
    axes = lane_axes(weights)
    return next(jnp.shape(leaf)[0] for leaf, axis in zip(weights, axes, strict=True) if axis == 0 and leaf is not None)


def pad_lanes(lanes: Any, multiple: int) -> Any:
    """Repeat the last lane until the number of lanes is a multiple of `multiple`, as `make_lanes` wants of a mesh.

    Args:
      lanes: a pytree whose leaves all have a leading lane axis.
      multiple: of which the number of lanes is to be one, for example the number of devices.

    Returns:
      The pytree, each leaf with that many lanes.
    """
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], -len(x) % multiple, axis=0)]), lanes)


def make_lanes(
    transfer: Transfer, weights: LossWeights, *, microbatch: int | None = None, mesh: Mesh | None = None
) -> Transfer:
    """The transfer over a leading lane axis of images, states and losses, for weights shaped as `weights` are.

    Its `init` takes (lanes, h, w, 3); its `step` takes the same params and targets for all lanes, or `StackedTargets`,
    and works with `run`, which then returns losses of shape (steps, lanes).

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`.
      weights: LossWeights with lanes; only their shapes are used.
      microbatch: lanes that a step computes at once on a device, group after group (of equal size, so that it may be
        fewer): the memory for features is that of one group, whatever the number of lanes. None: all.
      mesh: devices that share the lanes out among them, over all its axes; they need nothing from each other. `init`
        puts the lanes there. None: where jax computes by default.

    Returns:
      A transfer of the same kind of state, with a leading lane axis.

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
        """Of all lanes, what of one takes (state, params, targets, weights); or an image in place of the state."""

        def apply(state: Any, params: Params, targets: Targets | StackedTargets, weights: LossWeights) -> Any:
            check_weights(weights)
            check_targets(targets, (len(jax.tree.leaves(state)[0]),))
            by_lane = {name: leaf for name, leaf in weights._asdict().items() if getattr(axes, name) == 0}
            indices = (targets.content_index, targets.style_index) if isinstance(targets, StackedTargets) else ()

            def one(state: Any, lane: tuple[dict[str, jax.Array], tuple[jax.Array, ...]]) -> Any:
                leaves, indices = lane
                return of_one(state, params, targets_of_lane(targets, indices), weights._replace(**leaves))

            def together(state: Any, lanes: Any) -> tuple[Any, Losses]:
                state, losses = jax.vmap(one)(jax.tree.map(_keep_layout, state), lanes)
                return jax.tree.map(_keep_layout, state), losses

            return _step_groups(together, microbatch, state, (by_lane, indices))

        return apply

    evaluate = of_lanes(lambda image, *others: (image, transfer.losses(image, *others)))
    lanes = Transfer(jax.vmap(transfer.init), of_lanes(transfer.step), lambda *operands: evaluate(*operands)[1])
    return lanes if mesh is None else _shard(lanes, axes, mesh)


def _step_groups(step: Any, microbatch: int | None, state: Any, lanes: Any) -> Any:
    """`step` of (state, lanes), at most `microbatch` lanes at once, in the memory that the state lies in."""
    count = jax.tree.leaves(state)[0].shape[0]
    if microbatch is None or microbatch >= count:
        return step(state, lanes)
    groups = -(-count // microbatch)
    size = -(-count // groups)
    step = jax.jit(step, inline=True)  # traced once, not for its shapes and again for the loop
    of_group = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), (state, lanes))
    losses = jax.tree.map(lambda s: jnp.zeros((count, *s.shape[1:]), s.dtype), jax.eval_shape(step, *of_group)[1])

    # A loop that carries the state, rather than lax.map, which would hold it twice: before and after.
    def body(carry: Any, group: jax.Array) -> tuple[Any, None]:
        start = jnp.minimum(group * size, count - size)
        before, own = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), (carry, lanes))
        before = lax.optimization_barrier(before)  # or slices are taken again after some of the state is new
        after = step(before[0], own)
        if count % size:  # then the last group overlaps the one before, whose lanes have taken this step
            due = start + jnp.arange(size) >= group * size
            after = jax.vmap(lambda d, a, b: jax.tree.map(partial(jnp.where, d), a, b))(due, after, before)
        put = partial(lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
        return jax.tree.map(put, carry, after), None

    return lax.scan(body, (state, losses), jnp.arange(groups))[0]


def _keep_layout(x: jax.Array) -> jax.Array:
    """On a TPU, keep images laid out as arguments are, channel by channel.

    Otherwise the layout that suits the first convolution spreads over the loops of steps and groups, where it makes a
    copy of all lanes' state, with padding: a third more for 512 lanes of 512 pixels, 16 times as much for 8.
    """
    if x.ndim < 4:
        return x
    *leading, height, width, channels = range(x.ndim)
    layout = Layout((*leading, channels, height, width))
    return lax.platform_dependent(x, tpu=lambda x: with_layout_constraint(x, layout), default=lambda x: x)


def _shard(lanes: Transfer, axes: LossWeights, mesh: Mesh) -> Transfer:
    """The same, its lanes shared out among the devices of a mesh.

    By shard_map and not by the sharding of arguments, for which XLA gathers the lanes where a loop takes groups of
    them, or a line search's loop asks whether any is left. Each lane has its own image: the gradient of one that is the
    same on all devices would be summed over them.
    """
    mesh = Mesh(mesh.devices, mesh.axis_names)  # whose axes are of the type that code outside of shard_map needs
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


def lane_specs(axes: LossWeights, by_lane: Any) -> tuple[StackedTargets, LossWeights]:
    """What of the arguments of a step of lanes is shared out among devices; the rest is on all of them.

    Args:
      axes: of the weights, from `lane_axes`.
      by_lane: PartitionSpec of a leading lane axis.

    Returns:
      Of `StackedTargets` and of LossWeights, a PartitionSpec a leaf.
    """
    shared: Any = PartitionSpec()
    of_weights = LossWeights(*(by_lane if axis == 0 else shared for axis in axes))
    return StackedTargets(shared, shared, by_lane, by_lane, shared), of_weights


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
