"""Time the jitted sweep step: seconds per lane-step and lane-gradient, of compilation, and peak memory of the process.

    python scripts/benchmark.py --size 128 256 --lanes 1 4 8 --backend auto xla
    python scripts/benchmark.py --size 128 --lanes 8 --against one      # the lanes together or one after another
    python scripts/benchmark.py --size 128 --lanes 8 --against loop     # a scan, or a Python loop over the jitted step
    python scripts/benchmark.py --size 128 --lanes 8 --against torch    # PyTorch, see torch_transfer.py
    python scripts/benchmark.py --size 128 --lanes 8 --against torch --dtype bfloat16
    python scripts/benchmark.py --size 512 --lanes 8 --against compiled-torch --dtype tensorfloat32    # torch.compile

Both sides of a comparison take as many lane-steps a call, in turns, in one process. Prints medians, and the median,
smallest and largest of the pairs' ratios (below 1: jaxstyle, or lanes together, are faster). Weights are random, and
images are noise. Before PyTorch is timed, its losses have to be ours. Memory is that of fresh processes which do
nothing but the steps of one side, from import on; PyTorch's imports no jax.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.network.layers import BACKENDS, DTYPES

# jax is imported where it is needed, since the process that measures PyTorch's memory must not hold it.

LEARNING_RATE = 0.02
TOLERANCES = {  # of the losses, relative, at the start and after a step
    "float32": (1e-3, 1e-2),
    "tensorfloat32": (5e-3, 3e-2),
    "bfloat16_3x": (2e-2, 5e-2),
    "bfloat16": (2e-2, 5e-2),
}
COMPILED = "compiled-torch"  # with torch.compile
SMALLEST = 32  # for relu5_1
REST_S = 0.05  # before each call: threads of the other side may still be spinning


class Images(NamedTuple):
    """Images (size, size, 3) of noise: the targets', and the one that all lanes start from."""

    content: np.ndarray
    style: np.ndarray
    start: np.ndarray


class Side(NamedTuple):
    """One side of a comparison: takes its steps, returns losses (steps, lanes); seconds of compilation, if any."""

    run: Callable[[], np.ndarray]
    compile_s: float | None = None


def make_images(size: int) -> Images:
    """The images of a size."""
    return Images(*np.random.default_rng(0).random((3, size, size, 3), dtype=np.float32))


def make_betas(lanes: int) -> np.ndarray:
    """A style weight a lane; the first is the same for any number of lanes."""
    return np.logspace(-2, 1, lanes, dtype=np.float32)


class Options(NamedTuple):
    """What our side is built with, beside size and lanes; see `js.make_features` and `js.sweep`."""

    microbatch: int | None = None
    backend: str = "auto"
    dtype: str = "float32"


@lru_cache(maxsize=1)
def make_inputs(size: int, backend: str = "auto", dtype: str = "float32") -> tuple[Any, Any, Any]:
    """What all runs of a size share: the function of features, prepared parameters, targets."""
    import jax

    import jaxstyle as js
    from jaxstyle.app.system.memory import map_large_blocks, release_memory
    from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, convolutions_for

    map_large_blocks()  # as the command does, so that the peak is its own; and below
    found = js.load_params("random:0")
    params = {name: found[name] for name in (*convolutions_for(CONTENT_LAYERS + STYLE_LAYERS), "mean")}
    if backend != "xla":
        params = js.prepare(params)
    features = js.make_features(backend=backend, dtype=dtype)
    targets = jax.jit(js.make_objective(features).targets)(params, *make_images(size)[:2])
    release_memory()
    return features, params, targets


def make_ours(size: int, lanes: int, steps: int, options: Options = Options(), *, loop: bool = False) -> Side:  # noqa: B008
    """Our side: `js.run`, or a Python loop over its step, compiled, on parameters prepared beforehand."""
    import jax
    import jax.numpy as jnp
    import optax

    import jaxstyle as js
    from jaxstyle.app.system.memory import release_memory
    from jaxstyle.parallel.lanes import make_lanes

    features, params, targets = make_inputs(size, options.backend, options.dtype)
    weights = js.weight_grid(beta=make_betas(lanes))
    single = js.make_transfer(js.make_objective(features).loss, optax.adam(LEARNING_RATE))
    transfer = make_lanes(single, weights, microbatch=options.microbatch)
    state = transfer.init(jnp.broadcast_to(make_images(size).start, (lanes, size, size, 3)))
    rest = (params, targets, weights)
    function = transfer.step if loop else partial(js.run, transfer, num_steps=steps)
    jax.block_until_ready((state, rest))
    began = time.perf_counter()
    compiled = jax.jit(function).lower(state, *rest).compile()
    compile_s = time.perf_counter() - began
    release_memory()

    def run() -> np.ndarray:
        if not loop:
            return np.asarray(compiled(state, *rest)[1].total)
        now, rows = state, []
        for _ in range(steps):
            now, losses = compiled(now, *rest)
            rows.append(losses.total)
        return np.stack(jax.device_get(rows))

    return Side(run, compile_s)


def make_gradient(size: int, lanes: int, options: Options) -> Side:
    """The gradient of all lanes' images alone, without an optimiser."""
    import jax
    import jax.numpy as jnp

    import jaxstyle as js

    features, params, targets = make_inputs(size, options.backend, options.dtype)
    loss, weights = js.make_objective(features).loss, js.weight_grid(beta=make_betas(lanes))
    images = jnp.broadcast_to(make_images(size).start, (lanes, size, size, 3))

    def gradient(lane: Any, params: Any, targets: Any) -> Any:
        image, weights = lane
        return jax.grad(lambda x: loss(x, params, targets, weights)[0])(image)

    def gradients(images: Any, params: Any, targets: Any, weights: Any) -> Any:
        group = min(options.microbatch or lanes, lanes)
        return jax.lax.map(lambda lane: gradient(lane, params, targets), (images, weights), batch_size=group)

    compiled = jax.jit(gradients).lower(images, params, targets, weights).compile()
    return Side(lambda: np.asarray(compiled(images, params, targets, weights)[:, 0, 0, 0]))


def make_torch(
    params: Any, size: int, lanes: int, steps: int, dtype: str, device: str = "cpu", *, compiled: bool = False
) -> Side:
    """PyTorch's side, with any of our parameters; each call goes on where the last one ended."""
    import torch_transfer

    torch_transfer.use_all_cores()
    transfer = torch_transfer.TorchTransfer(
        params,
        *make_images(size),
        make_betas(lanes),
        learning_rate=LEARNING_RATE,
        dtype=dtype,
        device=device,
        compiled=compiled,
    )
    return Side(lambda: transfer.run(steps))


def make_other(against: str, size: int, lanes: int, steps: int, options: Options = Options()) -> Side:  # noqa: B008
    """The side that `lanes` lanes of ours are compared with, of as many lane-steps, so that noise weighs the same."""
    if against == "one":
        return make_ours(size, 1, steps * lanes, options)
    if against == "loop":
        return make_ours(size, lanes, steps, options, loop=True)
    import jax

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    params = make_inputs(size, options.backend, options.dtype)[1]
    return make_torch(params, size, lanes, steps, options.dtype, device, compiled=against == COMPILED)


def check_losses(ours: np.ndarray, theirs: np.ndarray, dtype: str = "float32") -> None:
    """End the program unless the losses (steps, lanes) agree, at the start and after a step, if there is one.

    After a step they hold the gradient and Adam, too. Adam's first step is nearly the gradient's sign, so that pixels
    whose gradient is near 0 move apart: measured 3e-4, against 3e-7 at the start. Later steps would only add to that.
    """
    errors = np.max(np.abs(ours - theirs) / np.abs(theirs), axis=1)
    for step, (error, allowed) in enumerate(zip(errors, TOLERANCES[dtype], strict=False)):
        if not error <= allowed:  # so that NaN fails
            sys.exit(f"after {step} steps the losses of both sides differ by {error:.1e} > {allowed:.0e}: not timed")


def measure(side: Side) -> float:
    """Seconds of one call."""
    time.sleep(REST_S)
    began = time.perf_counter()
    side.run()
    return time.perf_counter() - began


def peak_memory(side: str, size: int, lanes: int, steps: int, options: Options = Options()) -> float:  # noqa: B008
    """Peak memory in MB of a fresh process that takes the steps of one side, "ours" or "torch"."""
    command = [sys.executable, __file__, "--peak-of", side, "--backend", options.backend, "--dtype", options.dtype]
    for name, value in (("size", size), ("lanes", lanes), ("steps", steps)):
        command += [f"--{name}", str(value)]
    if options.microbatch is not None:
        command += ["--microbatch", str(options.microbatch)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if child.returncode:
        sys.exit(f"the process that measures memory ended with status {child.returncode}: {' '.join(command)}")
    return float(child.stdout)


def print_peak(side: str, size: int, lanes: int, steps: int, options: Options) -> None:
    """Take the steps of one side, then print the peak memory of this process in MB."""
    if side == "torch":
        import torch_transfer

        make_torch(torch_transfer.random_params(), size, lanes, steps, options.dtype).run()
    else:
        make_ours(size, lanes, steps, options).run()
    print(own_peak() / 1e6)


def own_peak() -> int:
    """Peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux a process inherits: it would be no less than that of whoever started it.
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def compare(size: int, lanes: int, options: Options, args: argparse.Namespace) -> dict[str, Any]:
    """One row of the table: the measurements of one configuration."""
    steps, against = args.steps, args.against
    ours = make_ours(size, lanes, steps, options)
    losses = ours.run()
    row: dict[str, Any] = {"size": size, "lanes": lanes, "backend": options.backend, "compile_s": ours.compile_s}
    other = make_other(against, size, lanes, steps, options) if against else None
    if other:
        theirs = other.run()
        if against in ("torch", COMPILED):
            check_losses(losses, theirs, options.dtype)
        else:
            row[f"{against}_compile_s"] = other.compile_s
    pairs = [(measure(ours), measure(other) if other else 1.0) for _ in range(args.pairs)]
    row["lane_step_s"] = statistics.median(a for a, _ in pairs) / (lanes * steps)
    if other:
        ratios = [a / b for a, b in pairs]
        row[f"{against}_lane_step_s"] = statistics.median(b for _, b in pairs) / (lanes * steps)
        row |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    else:
        gradient = make_gradient(size, lanes, options)
        gradient.run()
        row["lane_gradient_s"] = statistics.median(measure(gradient) for _ in range(args.pairs)) / lanes
    if args.memory:
        row["peak_mb"] = peak_memory("ours", size, lanes, steps, options)
    if args.memory and against in ("one", "torch"):
        side, count = ("torch", lanes) if against == "torch" else ("ours", 1)
        row[f"{against}_peak_mb"] = peak_memory(side, size, count, steps, options)
        row["peak_ratio"] = row["peak_mb"] / row[f"{against}_peak_mb"]
    return {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}


def describe(args: argparse.Namespace) -> dict[str, Any]:
    """What the measurements of this run have in common."""
    import jax

    about = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    if args.against in ("torch", COMPILED):
        import torch  # pyright: ignore[reportMissingImports]

        about["torch"] = torch.__version__
    names = ("against", "dtype", "microbatch", "steps", "pairs")
    return {**about, **{name: getattr(args, name) for name in names}}


def table_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The rows as lines of a table, each as soon as it is there."""
    for i, row in enumerate(rows):
        if i == 0:
            yield "  ".join(f"{key:>5}" for key in row)
        yield "  ".join(f"{value:>{max(5, len(key))}}" for key, value in row.items())


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line; torch is looked for before anything takes time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    positive = {"type": positive_int, "metavar": "N"}
    parser.add_argument("--size", **positive, nargs="+", default=[128], help="height and width in pixels (128)")
    parser.add_argument("--lanes", **positive, nargs="+", default=[8], help="lanes, each with every size (8)")
    parser.add_argument("--microbatch", **positive, help="lanes of ours computed at once (all)")
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=["auto"], help="of our convolutions (auto)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the network, on both sides (float32)")
    parser.add_argument(
        "--against",
        choices=["one", "loop", "torch", COMPILED],
        help="compare with one lane, with a Python loop over the jitted step, or with PyTorch",
    )
    parser.add_argument("--steps", **positive, default=2, help="steps of a call (2)")
    parser.add_argument("--pairs", **positive, default=5, help="calls of each side, in turns (5)")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="don't measure peak memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak-of", choices=["ours", "torch"], help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if min(args.size) < SMALLEST:
        parser.error(f"argument --size: must be at least {SMALLEST}")
    if {"torch", COMPILED} & {args.against, args.peak_of} and importlib.util.find_spec("torch") is None:
        parser.exit(2, f"--against {args.against or 'torch'} needs PyTorch: pip install torch\n")
    return args


def positive_int(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    """Measure what the command line asks for."""
    args = parse(argv)
    if args.peak_of:
        options = Options(args.microbatch, args.backend[0], args.dtype)
        print_peak(args.peak_of, args.size[0], args.lanes[0], args.steps, options)
        return
    rows = (
        compare(size, lanes, Options(args.microbatch, backend, args.dtype), args)
        for size, backend, lanes in product(args.size, args.backend, args.lanes)
    )
    about = describe(args)
    if args.json:
        print(json.dumps({**about, "results": list(rows)}))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items() if value is not None))
    for line in table_lines(rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
