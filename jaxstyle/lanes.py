"""Sweeps: many transfers, called lanes, that differ in their loss weights and run as one vmapped loop.

Images are float RGB in [0, 1], shape (h, w, 3); here they get a leading lane axis.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.objective import Losses, LossWeights, Targets
from jaxstyle.transfer import Transfer, TransferState, run
from jaxstyle.vgg import Params

_RANKS = {"alpha": 0, "beta": 0, "tv": 0, "content_layers": 1, "style_layers": 1, "style_mix": 1}


class StackedTargets(NamedTuple):
    """Targets of lanes that work on different images: those of all images once, and which of them are a lane's.

    Attributes:
      content: {layer: (contents, h, w, c)} features of the content images, all of one size.
      style: {layer: (n, styles, c, c)} Gram matrices of n style targets.
      content_index: (lanes,) whole numbers below contents.
      style_index: (lanes,) whole numbers below n.
    """

    content: Mapping[str, jax.Array]
    style: Mapping[str, jax.Array]
    content_index: jax.Array
    style_index: jax.Array


class SweepResult(NamedTuple):
    """Outcome of a sweep.

    Attributes:
      images: (lanes, h, w, 3).
      losses: Losses with leaves (lanes, steps): column i is of the images before step i.
      state: TransferState with a leading lane axis, to go on from.
    """

    images: jax.Array
    losses: Losses
    state: TransferState


def weight_grid(
    *,
    alpha: jax.typing.ArrayLike | Sequence[float] = 1.0,
    beta: jax.typing.ArrayLike | Sequence[float] = 1.0,
    tv: jax.typing.ArrayLike | Sequence[float] = 0.0,
) -> LossWeights:
    """All combinations of the given values as LossWeights with a lane axis; the last argument varies fastest.

    Args:
      alpha: content weights, a scalar or a one-dimensional list.
      beta: style weights.
      tv: total-variation weights.

    Returns:
      LossWeights with alpha, beta and tv of shape (len(alpha) * len(beta) * len(tv),).

    Raises:
      ValueError: for an empty list or one of more than one dimension.
    """
    axes = {"alpha": alpha, "beta": beta, "tv": tv}
    values = {name: jnp.atleast_1d(jnp.asarray(value, dtype=float)) for name, value in axes.items()}
    for name, value in values.items():
        if value.ndim != 1 or not value.size:
            raise ValueError(f"{name} must be a scalar or a list of at least one value, got shape {value.shape}")
    grid = jnp.meshgrid(*values.values(), indexing="ij")
    return LossWeights(**{name: x.ravel() for name, x in zip(axes, grid, strict=True)})


def lane_axes(weights: LossWeights) -> LossWeights:
    """For each leaf, 0 where it has a lane axis, None where it is the same for all lanes: vmap's in_axes.

    Raises:
      ValueError: for a leaf with more axes than that, leaves whose lane counts differ, or no lane axis at all.
    """
    given = {name: leaf for name, leaf in weights._asdict().items() if leaf is not None}
    axes: dict[str, int | None] = dict.fromkeys(weights._fields)
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
    return LossWeights(**axes)  # type: ignore[arg-type]


def num_lanes(weights: LossWeights) -> int:
    """Number of lanes of weights with a lane axis; raises ValueError as `lane_axes` does."""
    axes = lane_axes(weights)
    return next(jnp.shape(leaf)[0] for leaf, axis in zip(weights, axes, strict=True) if axis == 0 and leaf is not None)


def make_lanes(transfer: Transfer, weights: LossWeights, *, microbatch: int | None = None) -> Transfer:
    """The transfer over a leading lane axis of images, states and losses, for weights shaped as `weights` are.

    Its `init` takes (lanes, h, w, 3); its `step` takes the same params and targets for all lanes, or `StackedTargets`,
    and works with `run`, which then returns losses of shape (steps, lanes).

    Args:
      transfer: from `make_transfer`.
      weights: LossWeights with lanes; only their shapes are used.
      microbatch: lanes that a step computes at once, group after group: the memory for features is that of one
        group, whatever the number of lanes. None: all.
    """
    if microbatch is not None and microbatch < 1:
        raise ValueError(f"microbatch must be None or 1 or more, got {microbatch}")
    axes = lane_axes(weights)
    count = num_lanes(weights)

    def step(
        state: TransferState, params: Params, targets: Targets | StackedTargets, weights: LossWeights
    ) -> tuple[TransferState, Losses]:
        by_lane = {name: leaf for name, leaf in weights._asdict().items() if getattr(axes, name) == 0}
        indices = (targets.content_index, targets.style_index) if isinstance(targets, StackedTargets) else ()

        def one(lane: tuple[TransferState, dict[str, jax.Array], tuple[jax.Array, ...]]) -> Any:
            state, leaves, indices = lane
            return transfer.step(state, params, targets_of_lane(targets, indices), weights._replace(**leaves))

        lanes = (state, by_lane, indices)
        if microbatch is None or microbatch >= count:
            return jax.vmap(one)(lanes)
        return lax.map(one, lanes, batch_size=microbatch)

    return Transfer(jax.vmap(transfer.init), step)


def targets_of_lane(targets: Targets | StackedTargets, indices: tuple[jax.Array, ...]) -> Targets:
    """The targets of a lane with these (content, style) indices; without any, those that all lanes share."""
    if not isinstance(targets, StackedTargets):
        return targets
    stacks = (targets.content, targets.style)
    return Targets(*({layer: x[i] for layer, x in stack.items()} for stack, i in zip(stacks, indices, strict=True)))


def sweep(
    transfer: Transfer,
    image: jax.Array,
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
    *,
    num_steps: int,
    microbatch: int | None = None,
) -> SweepResult:
    """Run one transfer a lane of `weights`, all lanes together, with shared parameters and targets.

    Lane i is what `run` gives for the i-th weights alone, to rounding.

    Args:
      transfer: from `make_transfer`.
      image: where to start: one (h, w, 3) for all lanes, or (lanes, h, w, 3).
      params: the network's parameters.
      targets: from `make_targets`, the same for all lanes; or `StackedTargets`.
      weights: LossWeights of which at least one leaf has a lane axis, for example from `weight_grid`.
      num_steps: steps to take.
      microbatch: lanes computed at once within a step (see `make_lanes`); None: all.

    Raises:
      ValueError: for weights without lanes or of different lane counts, or as many images as there aren't lanes.
    """
    lanes = make_lanes(transfer, weights, microbatch=microbatch)
    count = num_lanes(weights)
    if image.ndim == 3:
        image = jnp.broadcast_to(image, (count, *image.shape))
    if image.ndim != 4 or image.shape[0] != count:
        raise ValueError(f"image must have shape (h, w, 3) or ({count}, h, w, 3), got {image.shape}")
    state, losses = run(lanes, lanes.init(image), params, targets, weights, num_steps=num_steps)
    return SweepResult(state.image, jax.tree.map(jnp.transpose, losses), state)
