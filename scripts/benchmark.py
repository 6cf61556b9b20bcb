"""Time the jitted sweep step: seconds per lane-step of many lanes against one lane, alternating in one run.

    python scripts/benchmark.py --size 128 --lanes 8

Prints the medians and the median of the pairs' ratios (below 1: lanes are cheaper together than alone).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

import jaxstyle as js
from jaxstyle.lanes import make_lanes


def make_run(size: int, lanes: int, steps: int) -> tuple[Callable[[], object], float]:
    """A function that takes `steps` steps of `lanes` lanes of a size x size image, and its seconds of compilation."""
    params = js.load_params("random:0")
    content, style, start = jax.random.uniform(jax.random.key(0), (3, size, size, 3))
    features = js.make_features()
    targets = js.make_targets(features, params, content, style)
    weights = js.weight_grid(beta=jnp.logspace(-2, 1, lanes))
    transfer = make_lanes(js.make_transfer(js.make_loss(features), optax.adam(0.02)), weights)
    state = transfer.init(jnp.broadcast_to(start, (lanes, *start.shape)))
    began = time.perf_counter()
    compiled = jax.jit(partial(js.run, transfer, num_steps=steps)).lower(state, params, targets, weights).compile()
    seconds = time.perf_counter() - began
    return lambda: jax.block_until_ready(compiled(state, params, targets, weights)), seconds


def measure(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Run the comparison given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="height and width in pixels (default: 128)")
    parser.add_argument("--lanes", type=int, default=8, help="lanes to compare with one lane (default: 8)")
    parser.add_argument("--steps", type=int, default=2, help="steps of a call with many lanes (default: 2)")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of calls (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    # As many lane-steps in either call, so that noise weighs the same.
    many, many_compile = make_run(args.size, args.lanes, args.steps)
    one, one_compile = make_run(args.size, 1, args.steps * args.lanes)
    many()
    one()
    pairs = [(measure(many), measure(one)) for _ in range(args.pairs)]
    lane_steps = args.lanes * args.steps
    result = {
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
        "size": args.size,
        "lanes": args.lanes,
        "compile_s": round(many_compile, 1),
        "compile_one_s": round(one_compile, 1),
        "lane_step_s": round(statistics.median(a for a, _ in pairs) / lane_steps, 4),
        "lane_step_one_s": round(statistics.median(b for _, b in pairs) / lane_steps, 4),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
    }
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:16} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
