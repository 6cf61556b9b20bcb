"""Time until our saved picture has the objective that PyTorch's L-BFGS ends with, as a part of PyTorch's time.

    python scripts/time_to_objective.py --size 256 --json times.json
    python scripts/time_to_objective.py --size 512 --pairs sample:cat,sample:swirls photo.jpg,painting.jpg

The objective is that of the picture as it is saved, clipped and rounded to 8 bits, by our float32 loss: convention
`mean`, beta and alpha 1, equal layer weights. PyTorch (see torch_transfer.py) makes one picture from the content image
by torch.optim.LBFGS with a history of 100 and lr 1, in 500 evaluations. Ours takes the schedule that the command has by
default; its time holds the preparation of kernels, both sizes' targets and every compilation, for each pair anew. Both
run in turns, slice by slice, in one process, so that what else the machine does weighs on both alike. The picture's
objective is looked at every few steps, outside of the time. With --json, finished pairs are kept and not run again.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch_transfer import TorchTransfer, use_all_cores

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.app.system.memory import release_memory
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, convolutions_for
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.pyramid import carry, resize
from jaxstyle.optimise.pyramid_sizes import scales
from jaxstyle.optimise.transfer import run_chunk

CONTENTS = ("sample:cat", "sample:coffee")
STYLES = ("sample:swirls", "sample:mosaic", "sample:woodcut")
PAIRS = [f"{content},{style}" for content in CONTENTS for style in STYLES]
SLICES = 10
EVERY = 10  # steps between looks at the objective
REST_S = 0.05  # before each slice: threads of the other side may still be spinning

Progress = Iterator[tuple[float, np.ndarray]]
"""After each part of the work: seconds of it so far, and the image."""


class Schedule(NamedTuple):
    """Ours: longest side of the smallest size, steps at each size before the last, and at most at the last."""

    smallest: int
    coarse: int
    fine: int


class TorchLbfgs(TorchTransfer):
    """One picture by torch.optim.LBFGS, which wants its variable in PyTorch's plain layout."""

    def __init__(self, params: Any, content: np.ndarray, style: np.ndarray, history: int) -> None:
        """Set the targets up; the picture starts as the content."""
        super().__init__(params, content, style, content, np.ones(1, np.float32), learning_rate=1.0)
        self._variable = self._images.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self._lbfgs = torch.optim.LBFGS(
            [self._variable], lr=1, history_size=history, tolerance_grad=0, tolerance_change=0
        )

    def evaluate(self, evaluations: int) -> np.ndarray:
        """Go on for so many evaluations; returns the image (h, w, 3), not clipped."""
        group = self._lbfgs.param_groups[0]
        group["max_iter"], group["max_eval"] = evaluations, 2 * evaluations  # an iteration is one evaluation
        self._lbfgs.step(self._closure)
        return self._variable.detach()[0].permute(1, 2, 0).numpy()

    def _closure(self) -> Any:
        self._variable.grad = None
        self._images = self._variable.contiguous(memory_format=torch.channels_last)
        loss = self._objective().sum()
        loss.backward()
        return loss


def run_torch(params: Any, content: np.ndarray, style: np.ndarray, evaluations: int) -> Progress:
    """PyTorch's side, in `SLICES` parts."""
    seconds, transfer = 0.0, None
    for done in range(SLICES):
        time.sleep(REST_S)
        began = time.perf_counter()
        transfer = transfer or TorchLbfgs(params, content, style, history=100)
        count = evaluations * (done + 1) // SLICES - evaluations * done // SLICES
        image = transfer.evaluate(count)
        seconds += time.perf_counter() - began
        yield seconds, image


def run_ours(params: Any, content: np.ndarray, style: np.ndarray, schedule: Schedule) -> Progress:
    """Our side: the coarse sizes as one part, then every `EVERY` steps."""
    jax.clear_caches()
    time.sleep(REST_S)
    began, seconds = time.perf_counter(), 0.0
    features = js.make_features()
    transfer = js.make_transfer(js.make_objective(features).loss, lbfgs())
    weights = js.LossWeights(jnp.float32(1), jnp.float32(1), jnp.float32(0))
    prepared = js.prepare(params)
    full, of_style = jnp.asarray(content), jnp.asarray(style)
    shapes = scales(content.shape, smallest=schedule.smallest)
    state = transfer.init(resize(full, shapes[0]))
    targets_of = jax.jit(js.make_objective(features).targets)
    for shape in shapes:
        ratio = shape[1] / content.shape[1]
        small = resize(of_style, [round(side * ratio) for side in style.shape[:2]])
        targets = targets_of(prepared, resize(full, shape), small)
        state = carry(transfer, state, shape, detail=full)
        last = shape == shapes[-1]
        chunk = jax.jit(partial(run_chunk, transfer, capacity=EVERY), donate_argnums=0)
        for _ in range(0, schedule.fine if last else schedule.coarse, EVERY):
            state, _ = chunk(state, prepared, targets, weights, EVERY)
            if last:
                image = np.asarray(state.picture)
                seconds += time.perf_counter() - began
                yield seconds, image
                time.sleep(REST_S)
                began = time.perf_counter()


class Judge:
    """The objective of a picture as it is saved."""

    def __init__(self, params: Any, content: np.ndarray, style: np.ndarray) -> None:
        """Make the targets; compiled by the side, with functions that no timed run uses."""
        features = js.make_features(backend="xla")
        self._loss, self._params = js.make_objective(features).loss, params
        self._targets = js.make_objective(features).targets(params, jnp.asarray(content), jnp.asarray(style))

    def __call__(self, image: np.ndarray) -> float:
        """The objective of the image (h, w, 3) as it is saved: clipped, and rounded to 8 bits."""
        return self.of_image(np.round(np.clip(image, 0, 1) * 255) / np.float32(255))

    def of_image(self, image: np.ndarray) -> float:
        """The objective of the image as it is."""
        return float(self._loss(jnp.asarray(image), self._params, self._targets, js.LossWeights())[0])


def measure(params: Any, pair: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both sides of a pair, in turns: seconds, objectives, and the ratio."""
    content, style = (read_image(name, args.size) for name in pair.split(","))
    judge = Judge(params, content, style)
    theirs = run_torch(params, content, style, args.evaluations)
    schedule = Schedule(args.smallest or args.size, args.coarse, args.steps)
    ours = run_ours(params, content, style, schedule)
    share = -(-schedule.fine // EVERY // SLICES)
    curve, torch_seconds, torch_image = [], 0.0, content
    for torch_seconds, torch_image in theirs:  # noqa: B007
        for _, (seconds, image) in zip(range(share), ours, strict=False):
            curve.append((round(seconds, 2), judge(image)))
    goal = judge(torch_image)
    reached = next((seconds for seconds, objective in curve if objective <= goal), None)
    return {
        "size": [*content.shape[:2]],
        "torch_seconds": round(torch_seconds, 2),
        "torch_objective": goal,
        "torch_objective_unclipped": judge.of_image(torch_image),
        "our_seconds": reached,
        "steps": next((EVERY * (i + 1) for i, (_, objective) in enumerate(curve) if objective <= goal), None),
        "ratio": reached and round(reached / torch_seconds, 4),
        "curve": curve,
    }


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="longest side in pixels")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="CONTENT,STYLE")
    parser.add_argument("--evaluations", type=int, default=500, help="PyTorch's")
    parser.add_argument("--steps", type=int, default=100, help="ours at full size, at most")
    parser.add_argument("--coarse", type=int, default=60, help="ours at each smaller size")
    parser.add_argument("--smallest", type=int, help="longest side of the smallest size (default: one size)")
    parser.add_argument("--json", type=Path, help="file of results, read at first and written after each pair")
    return parser.parse_args()


def main() -> None:
    """Measure every pair, print each as it ends, and the median of the ratios."""
    args = parse_arguments()
    use_all_cores()
    jax.config.update("jax_enable_compilation_cache", False)
    found = js.load_params("bundled")
    params = {name: found[name] for name in (*convolutions_for(CONTENT_LAYERS + STYLE_LAYERS), "mean") if name in found}
    results = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    ratios = []
    for pair in args.pairs:
        key = f"{pair} {args.size}"
        if key not in results:
            release_memory()
            results[key] = measure(params, pair, args)
            if args.json:
                args.json.write_text(json.dumps(results, indent=1))
        row = results[key]
        ratios.append(row["ratio"])
        ours = f"{row['our_seconds']} s, {row['steps']} steps" if row["ratio"] else "not reached"
        unclipped = f"{row['torch_objective_unclipped']:.4g} before it is clipped"
        theirs = f"{row['torch_seconds']} s to {row['torch_objective']:.4g} ({unclipped})"
        print(f"{key}: PyTorch {theirs}; ours {ours}; {row['ratio']}", flush=True)
    if all(ratios):
        print(f"median ratio {statistics.median(ratios):.3f}, largest {max(ratios):.3f}, {len(ratios)} pairs")


if __name__ == "__main__":
    main()
