"""Plans of sweeps: what a sweep will need, learned by compiling it and without running it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import ArrayLike, Float

from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights, as_weights
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.transfer_state import State, Transfer
from jaxstyle.parallel.lanes import with_plain_axes
from jaxstyle.parallel.stacked_targets import StackedTargets
from jaxstyle.parallel.sweep_program import check_arguments, choose_microbatch, fill_devices, run_lanes
from jaxstyle.parallel.weight_grid import num_lanes

_COLLECTIVE = re.compile(
    r" (?:all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter|ragged-all-to-all)[\w-]*\("
)


class Plan(NamedTuple):
    """What a compiled program needs. Sizes are in bytes on each device.

    Attributes:
      microbatch: the most lanes that a device computes at once; None: all of its lanes.
      peak: the memory of arguments, of results that don't replace arguments, of temporary values, and of the program.
      temporary: the part of `peak` that holds what is computed on the way, above all the features and gradients of one
        group of lanes.
      aliased: the part of the results that replaces arguments.
      accessed: bytes read and written, as the compiler counts them: one step of one group. None: it doesn't say.
      collectives: the number of operations between devices.
    """

    microbatch: int | None
    peak: int
    temporary: int
    aliased: int
    accessed: float | None
    collectives: int


def plan(
    transfer: Transfer,
    start: Float[ArrayLike, "*lanes h w 3"] | State,
    params: Params,
    targets: Targets | StackedTargets,
    weights: LossWeights,
    *,
    num_steps: int,
    microbatch: int | Literal["auto"] | None = None,
    mesh: Mesh | None = None,
) -> Plan:
    """Say what `sweep` would need with the same arguments, by compiling its program and without running it.

    Only shapes count, so each array may be a `jax.ShapeDtypeStruct`. The devices of `mesh` need not be there: those of
    `jax.experimental.topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")` will do where libtpu is
    installed. A program that doesn't fit a TPU's memory isn't compiled, and jax's error says how much it needs.

    Args:
      transfer: as of `sweep`, like all that follow.
      start: the image to start from, one (h, w, 3) or (lanes, h, w, 3); or a state.
      params: the network's parameters.
      targets: from `Objective.targets` (or `jax.eval_shape` of it), or from `stack_targets`.
      weights: LossWeights with lanes.
      num_steps: steps to take.
      microbatch: lanes computed at once on a device; "auto": as many as suit the device; None: all.
      mesh: devices to share the lanes out among; None: where jax computes by default.

    Returns:
      Plan.

    Raises:
      ValueError: as `sweep`, for what shapes tell.
      jax.errors.JaxRuntimeError: if the compiler finds that the memory does not suffice.

    Examples:
      >>> import jax, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> image = jax.ShapeDtypeStruct((32, 32, 3), "float32")
      >>> objective = js.make_objective(features, content_layers="relu1_1", style_layers="relu1_1")
      >>> targets = jax.eval_shape(objective.targets, params, image, image)
      >>> transfer, grid = js.make_transfer(objective.loss, js.lbfgs()), js.weight_grid(beta=[0.1, 1.0, 10.0, 100.0])
      >>> few = js.plan(transfer, image, params, targets, grid, num_steps=2, microbatch=1)
      >>> few.peak < js.plan(transfer, image, params, targets, grid, num_steps=2).peak
      True
    """
    check_arguments(transfer, weights, num_steps)
    if not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(weights)):
        weights = as_weights(weights)
    count = num_lanes(weights)
    if mesh is not None:
        mesh = with_plain_axes(mesh)
    start, params, targets, weights = jax.tree.map(_shape_of, (start, params, targets, weights))
    start, targets, weights = jax.eval_shape(partial(fill_devices, mesh=mesh), start, targets, weights)
    if mesh is not None:
        start = _put(start, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
        params, targets, weights = _put((params, targets, weights), NamedSharding(mesh, PartitionSpec()))
    microbatch = choose_microbatch(microbatch, start, mesh)
    program = jax.jit(partial(run_lanes, transfer, num_steps, microbatch, mesh, count))
    return read_plan(program.lower(start, params, targets, weights, {}).compile(), microbatch)


def read_plan(compiled: Any, microbatch: int | None) -> Plan:
    """Read a plan from a compiled program of lanes.

    Args:
      compiled: what `jax.jit(...).lower(...).compile()` gave.
      microbatch: the most lanes that the program computes at once on a device, or None.

    Returns:
      Plan.
    """
    memory: Any = compiled.memory_analysis()
    return Plan(
        microbatch,
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.alias_size_in_bytes,
        # The loops over steps and over groups count once.
        (compiled.cost_analysis() or {}).get("bytes accessed"),
        len(_COLLECTIVE.findall(compiled.as_text() or "")),
    )


def _shape_of(x: Any) -> jax.ShapeDtypeStruct:
    return x if isinstance(x, jax.ShapeDtypeStruct) else jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _put(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
