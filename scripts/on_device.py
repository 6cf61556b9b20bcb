"""What on_device.sh runs: checks and measurements of the device that jax finds, each a part that may fail by itself.

Every part is a process of its own, which gets what is left of the time (8 minutes in all; --seconds). A part that fails
or takes too long is named in the table, and the others go on; the status is then 1.
"""

import argparse
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "jaxstyle.app.cli"]


class Sizes(NamedTuple):
    """How large the measurements are."""

    size: int
    lanes: int
    steps: int
    benchmark: tuple[tuple[int, int, str], ...]  # (pixels of a side, lanes, precision)


FULL = Sizes(
    512,
    64,
    20,
    (
        (512, 32, "bfloat16"),
        (128, 8, "bfloat16"),
        (512, 8, "tensorfloat32"),
        (512, 8, "float32"),
    ),
)
SHORT = Sizes(32, 2, 2, ((32, 2, "bfloat16"),))
LARGE = 2**20  # numbers in an array
FEW_LAYERS = ["--content-layers", "relu2_2", "--style-layers", "relu1_1", "relu2_1"]

Run = Callable[..., str]


def environment(run: Run, sizes: Sizes) -> dict[str, Any]:
    """Versions, and the device with its memory."""
    del sizes
    code = (
        "import jax, json, platform; d = jax.devices()[0]\n"
        "print(json.dumps({'python': platform.python_version(), 'jax': jax.__version__, 'platform': d.platform,"
        " 'device': d.device_kind, 'devices': len(jax.devices()),"
        " 'memory': (d.memory_stats() or {}).get('bytes_limit')}))"
    )
    return json.loads(run([sys.executable, "-c", code]))


def compiled_text(run: Run, sizes: Sizes) -> dict[str, Any]:
    """Convolutions of the bfloat16 step whose operands were widened, and transposes of large arrays."""
    code = f"""
import jax, jax.numpy as jnp, optax, jaxstyle as js
from jaxstyle.parallel.lanes import make_lanes
features = js.make_features({_layers(sizes)}dtype="bfloat16")
objective = js.make_objective(features{_objective_layers(sizes)}, style_loss="gram")
params = js.load_params("random:0")
image = jax.ShapeDtypeStruct(({sizes.size}, {sizes.size}, 3), jnp.float32)
targets = jax.eval_shape(objective.targets, params, image, image)
grid = js.weight_grid(beta=[float(i + 1) for i in range({min(sizes.lanes, 8)})])
lanes = make_lanes(js.make_transfer(objective.loss, optax.adam(0.02)), grid)
state = jax.eval_shape(lanes.init, jax.ShapeDtypeStruct(({min(sizes.lanes, 8)}, *image.shape), jnp.float32))
print(jax.jit(lanes.step).lower(state, params, targets, grid).compile().as_text())
"""
    return count_faults(run([sys.executable, "-c", code]))


def count_faults(text: str) -> dict[str, Any]:
    """Count convolutions, those of float32 among them, and large transposes in the text of a compiled program."""
    calls = [
        line for line in text.splitlines() if re.search(r" convolution\(|custom_call_target=.\__cudnn\$conv", line)
    ]
    widened = [line for line in calls if re.search(r"= \(?f32\[", line) or re.search(r"\(f32\[", line)]
    shapes = re.findall(r"= \w+\[([\d,]+)\]\S* transpose\(", text)
    large = [shape for shape in shapes if math.prod(map(int, shape.split(","))) >= LARGE]
    return {"convolutions": len(calls), "widened": len(widened), "transposes": len(large)}


def _layers(sizes: Sizes) -> str:
    return '("relu1_1", "relu2_1", "relu2_2"), ' if sizes is SHORT else ""


def _objective_layers(sizes: Sizes) -> str:
    return ', content_layers="relu2_2", style_layers=("relu1_1", "relu2_1")' if sizes is SHORT else ""


def benchmark(run: Run, sizes: Sizes) -> dict[str, Any]:
    """Seconds of a lane's step in each precision, and PyTorch's, where it is installed."""
    found: dict[str, Any] = {}
    with_torch = sizes is FULL and importlib.util.find_spec("torch") is not None
    few = ["--pairs", "1", "--steps", "1"] if sizes is SHORT else ["--pairs", "3", "--steps", "10"]
    for size, lanes, dtype in sizes.benchmark:
        name = f"{lanes} x {size} px, {dtype}"
        command = ["scripts/benchmark.py", "--size", str(size), "--lanes", str(lanes), "--dtype", dtype, *few]
        for against in ("torch", "compiled-torch") if with_torch else (None,):
            versus = ["--against", against] if against else []
            row = json.loads(run([sys.executable, *command, *versus, "--no-memory", "--json"]))["results"][0]
            found[name] = row["lane_step_s"]
            if against:
                found[f"{name}, over {against}"] = row["ratio"]
    return found


def plan(run: Run, sizes: Sizes) -> dict[str, Any]:
    """What a plan says of the sweep below: its peak, its time by the roofline, and what limits that."""
    few = [*FEW_LAYERS, "--weights", "random:0"] if sizes is SHORT else []
    command = ["plan", "--size", str(sizes.size), "--lanes", str(sizes.lanes), "--optimizer", "adam", "--json"]
    found = json.loads(run([*COMMAND, *command, "--style-loss", "gram", *few]))
    return {
        "peak": found["peak_bytes_per_device"],
        "seconds of a lane's step": found["roofline"]["seconds_per_lane_step"],
        "limit": found["roofline"]["limit"],
    }


def sweep(run: Run, sizes: Sizes) -> dict[str, Any]:
    """Seconds of a sweep of many lanes by the command, and what it took of the device's memory."""
    few = [*FEW_LAYERS, "--weights", "random:0"] if sizes is SHORT else []
    options = ["--size", str(sizes.size), "--beta", f"1:100:{sizes.lanes}", "--steps", str(sizes.steps), "--quiet"]
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["sweep", "sample:cat", "sample:swirls", *options, "--optimizer", "adam", "--style-loss", "gram"]
        arguments += [*few, "--out", str(Path(folder) / "run")]
        code = (
            "import sys, json, jax\nfrom jaxstyle.app.cli import main\n"
            "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            "print(json.dumps((jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')))"
        )
        began = time.monotonic()
        peak = run([sys.executable, "-c", code, *arguments]).splitlines()[-1]
        return {"lanes": sizes.lanes, "seconds": time.monotonic() - began, "peak": json.loads(peak)}


def readme(run: Run, sizes: Sizes) -> dict[str, Any]:
    """Seconds of README's first sweep, with every default."""
    small = [
        "--size",
        "32",
        "--steps",
        "2",
        "--beta",
        "1",
        *FEW_LAYERS,
        "--weights",
        "random:0",
        "--style-loss",
        "gram",
    ]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        out = ["--out", str(Path(folder) / "run"), "--quiet"]
        run([*COMMAND, "sweep", "sample:temple", "sample:swirls", *(small if sizes is SHORT else []), *out])
        return {"seconds": time.monotonic() - began}


def tests(run: Run, sizes: Sizes) -> dict[str, Any]:
    """The tests marked `accelerator`."""
    del sizes
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-v", "-m", "accelerator", "tests/test_accelerator.py"]
    return {"pytest": run([sys.executable, *command]).strip().splitlines()[-1]}


PARTS: dict[str, Callable[[Run, Sizes], dict[str, Any]]] = {
    part.__name__: part for part in (environment, compiled_text, plan, sweep, readme, tests, benchmark)
}


def main(argv: list[str] | None = None) -> int:
    """Run all parts; returns the exit status."""
    parser = argparse.ArgumentParser(prog="on_device.sh", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, which a CPU does in a minute or two")
    parser.add_argument("--seconds", type=float, default=480, help="for everything (480)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these")
    parser.add_argument("--json", type=Path, default=Path("on_device.json"), metavar="FILE")
    args = parser.parse_args(argv)
    end, found, failed = time.monotonic() + args.seconds, {}, False

    def run(command: list[str]) -> str:
        left = end - time.monotonic()
        if left <= 0:
            raise RuntimeError("timed out: nothing is left of --seconds")
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=left)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)[:80]}: {done.stderr.strip()[-300:]}")
        return done.stdout

    for name in args.parts:
        try:
            found[name] = PARTS[name](run, SHORT if args.short else FULL)
        except (RuntimeError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            found[name], failed = {"failed": " ".join(str(error).split())[:400]}, True
        for key, value in found[name].items():
            print(f"{name:14} {key:44} {value:.4g}" if isinstance(value, float) else f"{name:14} {key:44} {value}")
        sys.stdout.flush()
        args.json.write_text(json.dumps(found, indent=2))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
