"""Compare precisions by the pictures that they end with: the float32 objective, and judges that nothing optimises.

    python scripts/compare_precisions.py                       # 6 pairs, 4 betas, 128 px, 40 and 100 steps
    python scripts/compare_precisions.py --size 256 --style-loss gram wasserstein --json table.json
    python scripts/compare_precisions.py --pairs 2 --betas 0.1 1 10 --size 112 --steps 40 --optimizer lbfgs

A row gives, over pairs and betas, the geometric mean and the largest of: the float32 objective of the clipped picture
over that of the picture that float32 ends with; and the same ratio of each judge. The row `float32, start + 1e-6` is
float32 against itself, from a start changed by noise of 1e-6: what any change does to an optimisation. On a CPU,
bfloat16 is emulated (operands and stored values are rounded, sums are float32), bfloat16_3x differs from float32 in
what is stored and in the backward pass alone, and tensorfloat32 is float32. On a GPU or TPU all are the device's own.
"""

import argparse
import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network.layers import CONTENT_LAYERS, DTYPES, STYLE_LAYERS
from jaxstyle.objective.weight_defaults import STYLE_LOSSES

PAIRS = [(c, s) for c in ("cat", "temple", "coffee") for s in ("swirls", "woodcut")]
OPTIMIZERS = {"lbfgs": js.lbfgs, "adam": partial(optax.adam, 0.03, b2=0.99)}
CHAOS = "float32, start + 1e-6"
JUDGES = ("lpips", "style_distance")


class Problem(NamedTuple):
    """An objective with its compiled functions, and the optimisation of it, for all pairs."""

    targets: Any
    loss: Any
    transfer: Any
    params: Any


@cache
def make_problem(
    dtype: str, style_loss: str, optimizer: str, layers: tuple[tuple[str, ...], tuple[str, ...]]
) -> Problem:
    """Make the problem of a precision; layers: of content and of style."""
    features = js.make_features(tuple(dict.fromkeys(layers[0] + layers[1])), dtype=dtype)
    objective = js.make_objective(features, style_loss=style_loss, content_layers=layers[0], style_layers=layers[1])
    transfer = js.make_transfer(objective.loss, OPTIMIZERS[optimizer]())

    def loss(image: Any, params: Any, targets: Any, beta: Any) -> Any:
        return objective.loss(image, params, targets, js.LossWeights(beta=beta))[0]

    return Problem(jax.jit(objective.targets), jax.jit(loss), transfer, js.load_params("bundled"))


def finish(problem: Problem, steps: int, content: Any, style: Any, start: Any, betas: Any) -> np.ndarray:
    """The clipped pictures (betas, h, w, 3) that a problem ends with, all betas as lanes of one sweep."""
    targets = problem.targets(problem.params, content, style)
    grid = js.weight_grid(beta=betas)
    found = js.sweep(problem.transfer, start, problem.params, targets, grid, num_steps=steps)
    return np.clip(np.asarray(found.images), 0, 1)


def judge(exact: Problem, pictures: np.ndarray, content: Any, style: Any, betas: Any) -> dict[str, np.ndarray]:
    """The float32 objective of pictures, and what judges say of them, by name: (betas,) each."""
    targets, alex = exact.targets(exact.params, content, style), js.load_lpips("alex")
    losses = [exact.loss(x, exact.params, targets, beta) for x, beta in zip(pictures, betas, strict=True)]
    measured = [measure(alex, x, content, style)._asdict() for x in pictures]
    return {"objective": np.array(losses)} | {name: np.array([float(m[name]) for m in measured]) for name in JUDGES}


measure = jax.jit(js.metrics.measure)


def compare(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table."""
    layers = tuple(args.content_layers), tuple(args.style_layers)
    pairs = [tuple(jnp.asarray(read_image(f"sample:{n}", args.size)) for n in pair) for pair in PAIRS[: args.pairs]]
    betas = jnp.asarray(args.betas, jnp.float32)
    for style_loss in args.style_loss:
        for optimizer in args.optimizer:
            for steps in args.steps:
                ratios: dict[str, list[dict[str, np.ndarray]]] = {}
                problems = {d: make_problem(d, style_loss, optimizer, layers) for d in ("float32", *args.dtype)}
                for content, style in pairs:
                    ends = {d: finish(p, steps, content, style, content, betas) for d, p in problems.items()}
                    near = content + 1e-6 * jax.random.normal(jax.random.key(0), content.shape)
                    ends[CHAOS] = finish(problems["float32"], steps, content, style, near, betas)
                    found = {d: judge(problems["float32"], x, content, style, betas) for d, x in ends.items()}
                    for name in (CHAOS, *args.dtype):
                        of_pair = {key: found[name][key] / found["float32"][key] for key in found[name]}
                        ratios.setdefault(name, []).append(of_pair)
                for name, of_pairs in ratios.items():
                    together = {key: np.concatenate([r[key] for r in of_pairs]) for key in of_pairs[0]}
                    yield {
                        "dtype": name,
                        "style_loss": style_loss,
                        "optimizer": optimizer,
                        "steps": steps,
                        **{f"{key}_mean": float(np.exp(np.log(r).mean())) for key, r in together.items()},
                        **{f"{key}_worst": float(r.max()) for key, r in together.items()},
                    }


def main(argv: list[str] | None = None) -> None:
    """Compare what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="of samples (6)")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.1, 1.0, 10.0, 100.0])
    parser.add_argument("--size", type=int, default=128, help="longest side in pixels (128)")
    parser.add_argument("--steps", type=int, nargs="+", default=[40, 100])
    parser.add_argument("--optimizer", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--style-loss", nargs="+", choices=STYLE_LOSSES, default=["gram"])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES[1:], default=list(DTYPES[1:]))
    parser.add_argument("--content-layers", nargs="+", default=CONTENT_LAYERS)
    parser.add_argument("--style-layers", nargs="+", default=STYLE_LAYERS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    args = parser.parse_args(argv)
    rows = []
    for row in compare(args):
        rows.append(row)
        if len(rows) == 1:
            print("  ".join(f"{key:>{max(len(key), 10)}}" for key in row))
        cells = (f"{v:.3f}" if isinstance(v, float) else v for v in row.values())
        print("  ".join(f"{c:>{max(len(k), 10)}}" for k, c in zip(row, cells, strict=True)), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"device": jax.devices()[0].device_kind, "size": args.size, "rows": rows}))


if __name__ == "__main__":
    main()
