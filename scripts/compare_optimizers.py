"""Compare optimisers at equal numbers of gradient evaluations: the losses that they reach, over pairs and betas.

    python scripts/compare_optimizers.py                                        # the samples: 2 contents x 3 styles
    python scripts/compare_optimizers.py --contents photos/ --styles paintings/ --size 128 --json table.json
    python scripts/compare_optimizers.py --only lbfgs "lbfgs, pyramid" --pictures out/ --evaluations 100

An entry of the table is the loss of the clipped picture after so many evaluations, over the lowest that any setting or
the reference, a run of `--reference` evaluations of the first setting, has found for this pair and beta: the geometric
mean over all. All betas of a pair run as one vmapped sweep. A step of the pyramid at half the size counts as 1/4 of an
evaluation, by its pixels. With --results, finished parts are kept in a file and not run again.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, convolutions_for
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.pyramid import carry, resize
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.optimise.transfer_state import Transfer, TransferState
from jaxstyle.parallel.lanes import make_lanes

CAPACITY = 25
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class Setting(NamedTuple):
    """A way to optimise: makes an optimiser for a number of evaluations; its bounds; steps at half the size before.

    average: decay of `make_averaging`; None: none.
    """

    make: Callable[[int], optax.GradientTransformation]
    bounds: tuple[float, float] | None = (0.0, 1.0)
    coarse: int = 0
    average: float | None = None


def cosine(rate: float, steps: int, *, b1: float = 0.9) -> optax.GradientTransformation:
    """Adam with a warm-up of 10 steps and a cosine decay over all of them."""
    return optax.adam(optax.warmup_cosine_decay_schedule(rate / 10, rate, 10, steps, rate / 20), b1=b1, b2=0.99)


SETTINGS: dict[str, Setting] = {
    "lbfgs": Setting(lambda _: lbfgs()),
    "lbfgs, pyramid": Setting(lambda _: lbfgs(), coarse=60),
    "lbfgs, pyramid of more steps": Setting(lambda _: lbfgs(), coarse=100),
    "lbfgs, 10 pairs": Setting(lambda _: lbfgs(10)),
    "lbfgs, 20 pairs": Setting(lambda _: lbfgs(20)),
    "lbfgs, no bounds": Setting(lambda _: lbfgs(bounds=None), None),
    "adam 0.03": Setting(lambda _: optax.adam(0.03, b2=0.99)),
    "adam 0.03, b2 0.999": Setting(lambda _: optax.adam(0.03)),
    "adam 0.03, averaged": Setting(lambda _: optax.adam(0.03, b2=0.99), average=0.95),
    "adam 0.03, pyramid": Setting(lambda _: optax.adam(0.03, b2=0.99), coarse=60),
    "adam, cosine from 0.05": Setting(partial(cosine, 0.05)),
    "adam, cosine from 0.1": Setting(partial(cosine, 0.1)),
}


class Pair(NamedTuple):
    """A content and a style image with targets at full size, and half of it."""

    name: str
    content: jax.Array
    targets: Any
    coarse: Any


class Problem(NamedTuple):
    """What all runs share."""

    params: Any
    loss: Any
    weights: js.LossWeights
    targets_of: Callable[..., Any]


def make_problem(betas: list[float], convention: str) -> Problem:
    """The objective with its betas, and the bundled network, prepared."""
    features = js.make_features()
    found = js.load_params("bundled")
    params = {name: found[name] for name in (*convolutions_for(CONTENT_LAYERS + STYLE_LAYERS), "mean") if name in found}
    return Problem(
        js.prepare(params),
        js.make_objective(features, convention=convention).loss,
        js.weight_grid(beta=betas),
        jax.jit(js.make_objective(features).targets),
    )


def make_pair(problem: Problem, content: str, style: str, size: int) -> Pair:
    """Read a pair, and make its targets."""
    images = [jnp.asarray(read_image(name, size)) for name in (content, style)]
    small = [resize(image, half(image)) for image in images]
    name = " ".join(Path(path.removeprefix("sample:")).stem for path in (content, style))
    return Pair(
        name, images[0], problem.targets_of(problem.params, *images), problem.targets_of(problem.params, *small)
    )


def half(image: jax.Array) -> tuple[int, int]:
    """Half the size of an image (..., h, w, 3)."""
    height, width = image.shape[-3:-1]
    return round(height / 2), round(width / 2)


class Runner:
    """Runs a setting on any pair, compiling it once a size."""

    def __init__(self, problem: Problem, setting: Setting, evaluations: int) -> None:
        """Take the objective, the setting, and the evaluations that it is to have in all."""
        self._problem, self._setting = problem, setting
        single: Transfer = js.make_transfer(problem.loss, setting.make(evaluations), bounds=setting.bounds)
        if setting.average is not None:
            single = make_averaging(single, decay=setting.average)
        self._lanes: Transfer = make_lanes(single, problem.weights)
        self._chunk = jax.jit(partial(run_chunk, self._lanes, capacity=CAPACITY), donate_argnums=0)

    def run(self, pair: Pair, marks: Iterable[int]) -> tuple[list[np.ndarray], np.ndarray]:
        """The losses (lanes,) of the clipped pictures after each of `marks` evaluations; and the last pictures."""
        lanes = len(np.atleast_1d(self._problem.weights.beta))
        start, spent = jnp.broadcast_to(pair.content, (lanes, *pair.content.shape)), 0.0
        coarse = self._setting.coarse
        state = self._lanes.init(resize(start, half(start)) if coarse else start)
        if coarse:
            state = self._advance(state, pair.coarse, coarse)
            spent = coarse * math.prod(half(start)) / math.prod(start.shape[1:3])
            state = carry(self._lanes, state, start.shape[1:3], detail=start)
        losses, done = [], 0
        for mark in marks:
            due = max(done, round(mark - spent))
            state, done = self._advance(state, pair.targets, due - done), due
            losses.append(np.asarray(evaluate(self._problem, state.picture, pair.targets)))
        return losses, np.asarray(jnp.clip(state.picture, 0, 1))

    def _advance(self, state: TransferState, targets: Any, steps: int) -> TransferState:
        for begun in range(0, steps, CAPACITY):
            count = min(CAPACITY, steps - begun)
            state, _ = self._chunk(state, self._problem.params, targets, self._problem.weights, count)
        return state


@lru_cache
def _evaluation(loss: Any) -> Any:
    def one(lane: Any, params: Any, targets: Any) -> jax.Array:
        image, beta = lane
        return loss(jnp.clip(image, 0, 1), params, targets, js.LossWeights(beta=beta))[0]

    def every(images: jax.Array, betas: jax.Array, params: Any, targets: Any) -> jax.Array:
        return jax.lax.map(lambda lane: one(lane, params, targets), (images, betas))

    return jax.jit(every)


def evaluate(problem: Problem, images: jax.Array, targets: Any) -> jax.Array:
    """Losses (lanes,) of pictures (lanes, h, w, 3), clipped."""
    return _evaluation(problem.loss)(images, problem.weights.beta, problem.params, targets)


Results = dict[str, dict[str, float]]
"""{setting: {"pair size convention beta|evaluations": loss}}"""


def table(results: Results, marks: list[int]) -> str:
    """The table in Markdown: settings from the best to the worst, by the last column."""
    lowest: dict[str, float] = {}
    for losses in results.values():
        for key, loss in losses.items():
            place = key.rsplit("|", 1)[0]
            lowest[place] = min(loss, lowest.get(place, math.inf))
    rows = []
    for name, losses in results.items():
        means = []
        for mark in marks:
            logs = [
                math.log(loss / lowest[key.rsplit("|", 1)[0]])
                for key, loss in losses.items()
                if key.endswith(f"|{mark}")
            ]
            means.append(math.exp(sum(logs) / len(logs)) if logs else math.nan)
        rows.append((means, name))
    head = ["| optimiser | " + " | ".join(map(str, marks)) + " |", "|---|" + "---|" * len(marks)]
    order = sorted(row for row in rows if not math.isnan(row[0][-1]))
    return "\n".join(head + [f"| {name} | " + " | ".join(f"{x:.3f}" for x in means) + " |" for means, name in order])


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contents", nargs="+", default=["sample:cat", "sample:coffee"], help="images or folders")
    parser.add_argument("--styles", nargs="+", default=["sample:swirls", "sample:mosaic", "sample:woodcut"])
    parser.add_argument("--size", type=int, default=128, help="longest side in pixels")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.03, 0.1, 1, 10])
    parser.add_argument("--convention", default="mean")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--reference", type=int, default=400, help="evaluations of the reference run; 0: none")
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), metavar="SETTING", help="; ".join(SETTINGS))
    parser.add_argument("--results", type=Path, help="JSON file of losses, read at first and written as they come")
    parser.add_argument("--pictures", type=Path, help="folder for the last pictures")
    return parser.parse_args()


def expand(names: Iterable[str]) -> list[str]:
    """The images of folders, and whatever else was given."""
    found: list[str] = []
    for name in names:
        folder = Path(name)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [str(path) for path in files if path.suffix.lower() in SUFFIXES] or [name]
    return found


def main() -> None:
    """Run every setting on every pair, and print the table."""
    args = parse_arguments()
    marks = sorted(args.evaluations)
    problem = make_problem(args.betas, args.convention)
    results = json.loads(args.results.read_text()) if args.results and args.results.exists() else {}
    pairs = [(content, style) for content in expand(args.contents) for style in expand(args.styles)]
    names = args.only or list(SETTINGS)
    jobs = [(name, SETTINGS[name], marks) for name in names]
    if args.reference:
        jobs.append(("reference", SETTINGS[names[0]], [args.reference]))
    loaded = [make_pair(problem, *pair, args.size) for pair in pairs]
    for name, setting, at in jobs:
        runner, found = Runner(problem, setting, at[-1]), results.setdefault(name, {})
        for pair in loaded:
            places = [f"{pair.name} {args.size} {args.convention} {beta:g}" for beta in args.betas]
            if all(f"{place}|{mark}" in found for place in places for mark in at) and not args.pictures:
                continue
            losses, images = runner.run(pair, at)
            for mark, row in zip(at, losses, strict=True):
                found |= {f"{place}|{mark}": float(loss) for place, loss in zip(places, row, strict=True)}
            print(f"{name}: {pair.name}: {' '.join(f'{x:.5g}' for x in losses[-1])}", flush=True)
            if args.results:
                args.results.write_text(json.dumps(results))
            if args.pictures:
                save(args.pictures / f"{pair.name} {name}.png".replace(" ", "_").replace(",", ""), images)
        jax.clear_caches()
    print(table(results, marks))


def save(path: Path, images: np.ndarray) -> None:
    """The lanes' pictures side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(np.concatenate(images, axis=1) * 255).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
