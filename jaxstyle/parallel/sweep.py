"""Sweeps: many transfers, called lanes, that differ in their loss weights and more, in one call.

Images are float RGB in [0, 1], shape (h, w, 3); here they get a leading lane axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import FunctionType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped
from jaxtyping import ArrayLike, Float

from jaxstyle.common.checks import check_count, reverse_mode_only
from jaxstyle.common.dtypes import as_float
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights, as_weights
from jaxstyle.objective.objective import Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.loss_normalisation import check_weights
from jaxstyle.optimise.transfer_state import State, Transfer
from jaxstyle.parallel.lanes import with_plain_axes
from jaxstyle.parallel.stacked_targets import StackedTargets
from jaxstyle.parallel.sweep_program import (
    SweepResult,
    check_arguments,
    choose_microbatch,
    fill_devices,
    run_lanes,
    start_lanes,
)
from jaxstyle.parallel.weight_grid import num_lanes, pad_lanes

_PROGRAMS = 8  # compiled programs that are kept for one transfer, with different options


OnChunk = Callable[[int, SweepResult], object]
"""Is called with the number of steps done and the result so far, whose `losses` are those of the chunk alone."""


def sweep(
    transfer: Transfer,
    start: Float[ArrayLike, "*lanes h w 3"] | State,
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
    *,
    num_steps: int,
    microbatch: int | Literal["auto"] | None = None,
    mesh: Mesh | None = None,
    hyperparams: Mapping[str, Any] | None = None,
    on_chunk: OnChunk | None = None,
    chunk_steps: int = 25,
) -> SweepResult:
    """Run one transfer a lane of `weights`, all lanes together, with shared parameters and targets.

    Lane i is what `run` gives for the i-th weights alone, to rounding. The sweep is jitted, and compiled once for each
    transfer, shape and option: new weights, hyperparameters, and images and targets of the same shapes are not compiled
    anew. `jax.export` for a TPU or an NVIDIA GPU wants
    `disabled_checks=[jax.export.DisabledSafetyCheck.custom_call("LayoutConstraint")]`, for the layout of lanes there.

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`.
      start: the image to start from, one (h, w, 3) for all lanes or (lanes, h, w, 3); or the `state` of another sweep
        of as many lanes, to go on from there.
      params: the network's parameters.
      targets: from `Objective.targets`, the same for all lanes; or from `stack_targets`.
      weights: LossWeights, at least one leaf of which has a lane axis, for example from `weight_grid`.
      num_steps: steps to take.
      microbatch: lanes computed at once within a step on a device (see `make_lanes`); "auto": as many as suit the
        device; None: all.
      mesh: devices to share the lanes out among. Where their number doesn't divide that of the lanes, the last lane is
        computed more than once, and the results are exchanged between devices after the last step, to cut it off.
        None: where jax computes by default.
      hyperparams: {name: (lanes,) values, or one value} of an optimiser made with `optax.inject_hyperparams`, such as
        {"learning_rate": rates}; None: those that the optimiser or the state has.
      on_chunk: a function that is called after every chunk of steps, with the number of steps done and the result so
        far; not in a function that is traced. What it raises ends the sweep.
      chunk_steps: steps of a chunk, if there is `on_chunk`.

    Returns:
      SweepResult, with the lanes in the order of the weights.

    Raises:
      ValueError: for weights without lanes, below 0 (where values are known) or of different lane counts; for a number
        of images that is not that of the lanes; for a hyperparameter that the optimiser doesn't keep or has a schedule
        for; for an index of `StackedTargets` that is of no image (where values are known; elsewhere that lane's losses
        are NaN).

    Examples:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, content_layers="relu1_1", style_layers="relu1_1")
      >>> targets = objective.targets(params, content, style)
      >>> transfer = js.make_transfer(objective.loss, js.lbfgs())
      >>> grid = js.weight_grid(beta=[0.1, 1.0, 10.0])
      >>> result = js.sweep(transfer, content, params, targets, grid, num_steps=2)
      >>> result.images.shape, result.losses.total.shape
      ((3, 12, 16, 3), (3, 2))
    """
    check_arguments(transfer, weights, num_steps)
    check_count("chunk_steps", chunk_steps, 1)
    weights = as_weights(weights)
    check_weights(weights)
    if mesh is not None:
        mesh = with_plain_axes(mesh)
    count = num_lanes(weights)
    start, targets, weights = fill_devices(start, targets, weights, mesh)
    if mesh is not None:
        start = jax.device_put(start, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    options = (choose_microbatch(microbatch, start, mesh), mesh, count)
    operands = (params, targets, weights)
    hyperparams = {name: as_float(value) for name, value in (hyperparams or {}).items()}
    with reverse_mode_only():
        if on_chunk is None:
            return _program(run_lanes, transfer, num_steps, *options)(start, *operands, hyperparams)
        state = _program(start_lanes, transfer, *options)(start, weights, hyperparams)
        return _run_chunks(transfer, state, operands, options, num_steps, chunk_steps, on_chunk)


def _run_chunks(
    transfer: Transfer,
    state: Any,
    operands: tuple[Any, ...],
    options: tuple[Any, ...],
    num_steps: int,
    chunk_steps: int,
    on_chunk: OnChunk,
) -> SweepResult:
    done, losses, mesh = 0, list[Losses](), options[1]
    program = cache(lambda steps: _program(run_lanes, transfer, steps, *options))
    while True:
        steps = min(chunk_steps, num_steps - done)
        if mesh is not None:  # a result is without the lanes that only fill devices up
            state = pad_lanes(state, mesh.size)
        result = program(steps)(state, *operands, {})
        state, done = result.state, done + steps
        losses.append(result.losses)  # and not the result, whose state and images would stay alive
        on_chunk(done, result)
        if done >= num_steps:
            return result._replace(losses=jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *losses))


def _program(function: Callable[..., Any], transfer: Transfer, *options: Any) -> Callable[..., Any]:
    """The jitted function of a transfer, the same one at each call, so that it is compiled once.

    The step function itself keeps it, so that both are freed together: a cache elsewhere would keep the arrays that the
    transfer's functions hold. A method has no attributes of its own, so its programs are not kept.
    """
    kept: dict[Any, Any] = {}
    if isinstance(transfer.step, FunctionType | partial | Wrapped):
        kept = vars(transfer.step).setdefault("_programs_of_sweep", kept)
    key = (function, transfer, *options)
    if key not in kept:
        while len(kept) >= _PROGRAMS:
            del kept[next(iter(kept))]
        kept[key] = jax.jit(partial(function, transfer, *options), inline=True)
    return kept[key]
