"""Plan how large a picture can be whose rows all devices share, by compiling its step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle.app.planning.machine import Machine
from jaxstyle.app.planning.most_lanes import MAX_COMPILATIONS, Compiled
from jaxstyle.app.planning.plan_lanes import Request, compile_chunk, make_problem
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import tell
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.parallel.image_rows import AXIS, row_shardings, shard_rows

_SLACK = 0.97  # of the memory is aimed at, since the compiler's total doesn't grow evenly
_STRIDE = 16  # pixels of the image per row of the deepest layer


def make_rows_plan(request: Request, machine: Machine) -> dict[str, Any]:
    """Compile up to three times, for a square picture of the size asked for and for larger or smaller ones.

    Returns:
      What the command prints, JSON-ready.

    Raises:
      StartError: if an option is wrong.
    """
    jax.config.update("jax_enable_compilation_cache", False)  # so that compiling takes as long as in a first run
    tried: dict[int, Compiled] = {}
    size = request.size
    while size not in tried and len(tried) < MAX_COMPILATIONS:
        tell(
            f"compiling one picture of {size}x{size} for {len(machine.devices)} {machine.kind} "
            f"({len(tried) + 1} of at most {MAX_COMPILATIONS})"
        )
        tried[size] = _compile_rows(request._replace(size=size), machine)
        size = _next_size(tried, len(machine.devices) * _STRIDE, int(_SLACK * machine.memory))
    largest = max((size for size, c in tried.items() if c.fits), default=None)
    first = tried[request.size]
    return {
        "device_kind": machine.kind,
        "devices": len(machine.devices),
        "memory_per_device": machine.memory,
        "memory_source": machine.memory_source,
        **{name: value for name, value in request._asdict().items() if name not in ("lanes", "microbatch")},
        "fits": first.fits,
        "peak_bytes_per_device": first.peak,
        "collectives": first.collectives,
        "max_size": largest,
        "max_size_peak_bytes_per_device": tried[largest].peak if largest else None,
        "compilations": [
            {"size": size, "fits": c.fits, "peak_bytes_per_device": c.peak, "seconds": round(c.seconds, 1)}
            for size, c in tried.items()
        ],
    }


def _compile_rows(request: Request, machine: Machine) -> Compiled:
    problem = make_problem(request, machine, backend="xla")
    mesh = Mesh(np.array(machine.devices), (AXIS,))
    image = problem.image

    def put(tree: Any, shardings: Any) -> Any:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)

    def put_on_all(tree: Any) -> Any:
        return put(tree, jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), tree))

    state = jax.eval_shape(problem.transfer.init, image)
    try:
        state = put(state, row_shardings(state, image.shape, mesh))
    except ValueError as error:
        raise StartError(f"--size {request.size}: {error}") from error
    content = {
        name: put_on_all(x) if x.shape[0] % mesh.size else put(x, row_shardings(x, x.shape, mesh))
        for name, x in problem.targets.content.items()
    }
    targets = problem.targets._replace(content=content, style=put_on_all(problem.targets.style))
    weights = put_on_all(LossWeights(*(np.zeros((), np.float32) for _ in range(3))))
    steps = put_on_all(jax.ShapeDtypeStruct((), jnp.int32))
    arguments = (state, put_on_all(problem.params), targets, weights, steps)
    return compile_chunk(shard_rows(problem.transfer, mesh), arguments, machine, 1)


def _next_size(tried: dict[int, Compiled], unit: int, limit: int) -> int:
    """Return the size to try next, a multiple of `unit`, assuming that memory grows with the number of pixels."""
    fitting = max((size for size, c in tried.items() if c.fits), default=0)
    failing = min((size for size, c in tried.items() if not c.fits), default=None)
    size, last = list(tried.items())[-1]
    guess = size * math.sqrt(limit / last.peak) if last.peak else size * 0.7
    guess = max(unit, int(guess) // unit * unit)
    if failing is not None and guess >= failing:
        guess = max(fitting, (failing - 1) // unit * unit)
    return max(guess, fitting)
