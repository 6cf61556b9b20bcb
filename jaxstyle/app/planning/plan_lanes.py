"""Plan how many lanes fit on a machine and what a step costs, by compiling the step and not by running it."""

import re
import time
from collections.abc import Container
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle.app.execution.job import check_convention
from jaxstyle.app.execution.optimizer_choice import OPTIMIZERS
from jaxstyle.app.planning.machine import Machine, Speed
from jaxstyle.app.planning.most_lanes import Compiled, search_most
from jaxstyle.app.planning.traffic import bytes_of_inner_loops
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.kept_programs import compile_options
from jaxstyle.app.system.screen import tell
from jaxstyle.network.features import Features
from jaxstyle.network.layers import BLOCKS, LAYERS, block_of, min_size, plain_layers
from jaxstyle.network.vgg import prepare
from jaxstyle.network.vgg_features import make_features
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Objective, make_objective
from jaxstyle.optimise.stopping import make_stopping
from jaxstyle.optimise.transfer import make_transfer, run_chunk
from jaxstyle.optimise.transfer_state import Transfer
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.microbatch_size import default_microbatch
from jaxstyle.parallel.plan import read_plan
from jaxstyle.parallel.stacked_targets import StackedTargets, match_lanes
from jaxstyle.pretrained.load import load_weights

_CHUNK = 50  # steps whose losses one chunk of the command keeps
_NEEDED = re.compile(r"HLO temporaries \(([\d.]+)([KMGT]?)\)")


class Request(NamedTuple):
    """What a plan is asked for. The fields are named after the command's options."""

    size: int
    lanes: int | None
    microbatch: int | None
    dtype: str
    optimizer: str
    convention: str
    style_loss: str
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    pooling: str
    padding: str
    weights: str


class Problem(NamedTuple):
    """The step of one lane, and the shapes of its inputs."""

    transfer: Transfer
    objective: Objective
    features: Features
    params: Any
    targets: Any
    image: jax.ShapeDtypeStruct


def make_plan(request: Request, machine: Machine) -> dict[str, Any]:
    """Compile up to three times.

    Returns:
      What the command prints, JSON-ready.

    Raises:
      StartError: if an option is wrong.
    """
    jax.config.update("jax_enable_compilation_cache", False)  # so that compiling takes as long as in a first run
    stands_in = machine.speed is None  # a CPU for a GPU, which uses XLA's convolutions
    problem = make_problem(request, machine, backend="xla" if stands_in else "auto")
    devices, on_cpu = len(machine.devices), machine.devices[0].platform == "cpu" and not stands_in
    microbatch = request.microbatch or default_microbatch(request.size**2, None if on_cpu else machine.memory)
    first = -(-request.lanes // devices) if request.lanes else microbatch
    state = jax.eval_shape(problem.transfer.init, problem.image)
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    found: list[Compiled] = []

    def compile_lanes(each: int) -> Compiled:
        tell(f"compiling {devices * each} lanes for {devices} {machine.kind} ({len(found) + 1} of at most 3)")
        found.append(_compile(problem, machine, each, min(each, microbatch)))
        return found[-1]

    most = search_most(compile_lanes, first, microbatch, state_bytes, machine)
    return _describe(request, problem, machine, microbatch, state_bytes, found, devices * most)


def make_problem(request: Request, machine: Machine, *, backend: str = "auto") -> Problem:
    """Build the step that is asked for, with a backend of `make_features`.

    Raises:
      StartError: if an option is wrong.
    """
    if request.optimizer not in OPTIMIZERS:
        raise StartError(f"unknown optimizer {request.optimizer!r}; valid: {', '.join(OPTIMIZERS)}")
    choice = OPTIMIZERS[request.optimizer]
    named: dict[str, Any] = {name: getattr(request, name) for name in ("content_layers", "style_layers", "style_loss")}
    layers = tuple(dict.fromkeys(request.content_layers + request.style_layers))
    try:
        options = {"pooling": request.pooling, "padding": request.padding, "dtype": request.dtype}
        features = make_features(layers, **options, backend=backend)
        check_convention(request.convention, request.style_loss, request.style_layers, "features")
        objective = make_objective(features, convention=request.convention, **named)
        params = load_weights(request.weights).params
    except ValueError as error:  # the message says in one line what is wrong with an option
        raise StartError(str(error)) from error
    smallest = min_size(layers)
    if request.size < smallest:
        raise StartError(f"--size {request.size} is too small for the layers asked for: the smallest is {smallest}")
    image = jax.ShapeDtypeStruct((request.size, request.size, 3), jnp.float32)
    if machine.devices[0].platform == "cpu" and backend == "auto":
        params = jax.eval_shape(prepare, params)
    targets = jax.eval_shape(objective.targets, params, image, image)
    rate = () if choice.learning_rate is None else (choice.learning_rate,)
    transfer = make_stopping(make_transfer(objective.loss, choice.make(*rate)))  # as the command runs it
    return Problem(transfer, objective, features, params, targets, image)


def _compile(problem: Problem, machine: Machine, each: int, microbatch: int) -> Compiled:
    """Compile the command's program, which is a chunk of steps, for `each` lanes on every device."""
    count = len(machine.devices) * each
    mesh = Mesh(np.array(machine.devices), ("lanes",))
    weights = LossWeights(*(np.zeros(count, np.float32) for _ in range(3)))
    lanes = make_lanes(problem.transfer, weights, microbatch=microbatch, mesh=mesh if mesh.size > 1 else None)
    state = jax.eval_shape(
        jax.vmap(problem.transfer.init), jax.ShapeDtypeStruct((count, *problem.image.shape), problem.image.dtype)
    )

    def put(tree: Any, *axes: str) -> Any:
        sharding = NamedSharding(mesh, PartitionSpec(*axes))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), problem.targets)
    index = put(jax.ShapeDtypeStruct((count,), jnp.int32), "lanes")
    targets = StackedTargets(put(one.content), put(one.style), index, index)
    images = jax.ShapeDtypeStruct((count, *problem.image.shape), problem.image.dtype)
    found = jax.eval_shape(partial(match_lanes, problem.objective.match), images, problem.params, targets)
    targets = targets._replace(matches=put(found.matches, "lanes"))  # found once a size, as the command does
    arguments = (put(state, "lanes"), put(problem.params), targets, put(weights, "lanes"))
    steps = put(jax.ShapeDtypeStruct((), jnp.int32))
    return compile_chunk(lanes, (*arguments, steps), machine, count, groups=-(-each // microbatch))


def compile_chunk(
    transfer: Transfer, arguments: tuple[Any, ...], machine: Machine, count: int, *, groups: int = 1
) -> Compiled:
    """Compile a chunk of steps of a transfer of `count` images, with arguments of these shapes and shardings.

    A device computes its images in so many groups.
    """
    began = time.monotonic()
    program = jax.jit(partial(run_chunk, transfer, capacity=_CHUNK), donate_argnums=0)
    try:
        compiled = program.lower(*arguments).compile(compile_options(machine.devices[0].platform))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Compiled(count, time.monotonic() - began, fits=False, peak=_needed(str(error)))
    seconds = time.monotonic() - began
    needs = read_plan(compiled, None)
    accessed = needs.accessed
    if accessed is not None:
        accessed += bytes_of_inner_loops(compiled.as_text() or "", groups)
    return Compiled(
        count,
        seconds,
        fits=needs.peak <= machine.memory,
        peak=needs.peak,
        temporary=needs.temporary,
        aliased=needs.aliased,
        accessed=accessed,
        collectives=needs.collectives,
    )


def _needed(message: str) -> int | None:
    """Read how many bytes a program needs from the TPU compiler's message that they are too many.

    What the compiler calls temporaries includes the state, which the program replaces in place.
    """
    match = _NEEDED.search(message)
    return match and int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " "))


def _describe(
    request: Request,
    problem: Problem,
    machine: Machine,
    microbatch: int,
    state_bytes: int,
    found: list[Compiled],
    most: int,
) -> dict[str, Any]:
    first = found[0]
    devices = len(machine.devices)
    each = first.lanes // devices
    group = -(-each // -(-each // microbatch))  # make_lanes takes groups of equal size
    forward, backward = count_flops(request, problem.params)
    largest = next((c for c in found if c.lanes == most), None)
    accessed = None if first.accessed is None else first.accessed / group
    return {
        "device_kind": machine.kind,
        "devices": devices,
        "memory_per_device": machine.memory,
        "memory_source": machine.memory_source,
        **request._asdict(),
        "lanes": first.lanes,
        "microbatch": group,
        "fits": first.fits,
        "peak_bytes_per_device": first.peak,
        "bytes_per_lane": None if first.temporary is None else first.temporary // group,
        "state_bytes_per_lane": state_bytes,
        "aliased_bytes_per_device": first.aliased,
        "collectives": first.collectives,
        "max_lanes": most,
        "max_lanes_peak_bytes_per_device": largest and largest.peak,
        "flops_per_lane_step": forward + backward,
        "bytes_accessed_per_lane_step": accessed,
        "roofline": machine.speed and _roofline(machine.speed(request.dtype), forward, backward, accessed),
        "compile_seconds": round(first.seconds, 1),
        "compilations": [
            {"lanes": c.lanes, "fits": c.fits, "peak_bytes_per_device": c.peak, "seconds": round(c.seconds, 1)}
            for c in found
        ],
    }


def _roofline(speed: Speed, forward: float, backward: float, accessed: float | None) -> dict[str, Any]:
    """Estimate the time of a step of one lane on one device at its peak speed."""
    arithmetic = (speed.forward * forward + speed.backward * backward) / speed.flops
    memory = (accessed or 0) / speed.bandwidth
    return {
        "note": "an estimate, not a measurement: the longer of arithmetic and memory traffic at assumed peak speeds",
        "seconds_per_lane_step": max(arithmetic, memory),
        "seconds_of_arithmetic": arithmetic,
        "seconds_of_memory": memory,
        "limit": "arithmetic" if arithmetic >= memory else "memory bandwidth",
        "flops_per_second": speed.flops,
        "bytes_per_second": speed.bandwidth,
        "products_per_multiplication": {"forward": speed.forward, "backward": speed.backward},
        "source": speed.source,
    }


def count_flops(request: Request, layers: Container[str]) -> tuple[int, int]:
    """Count the FLOPs of one lane's loss, and of its gradient, in direct convolutions and Gram matrices.

    What Winograd's algorithm saves is not taken off. With Gram matrices, all other FLOPs are less than 2 %. The
    iterations of Wasserstein's matrix roots and the search for the nearest positions are left out too: with the default
    style loss, they are another 31 % of the loss at 160 pixels, and 17 % at 512.
    """
    total, size, channels = 0, request.size, 3
    wanted = plain_layers(list(dict.fromkeys(request.content_layers + request.style_layers)))
    for name in LAYERS[: max(map(LAYERS.index, wanted)) + 1]:
        if name in layers:  # a convolution that the weight set has
            inputs, channels = channels, BLOCKS[block_of(name) - 1][1]
            total += 2 * 9 * inputs * channels * size**2
        elif name.startswith("pool"):
            size //= 2
        if name in request.style_layers:
            total += 2 * size**2 * channels**2
    return total, total
