"""How soon a beta is found whose picture has a wanted LPIPS to the content: by gradient, without one, and on a grid.

python scripts/beta_by_gradient.py prints a table in Markdown. The wanted values are 1/5, 2/5, 3/5 and 4/5 of the way
from the LPIPS of the smallest beta to that of the largest; the error is |LPIPS - wanted| of the best beta tried, its
mean and its largest over these. The cost is counted in runs, of which a gradient is several: it computes every step
twice more forward and once backward (see `jaxstyle.hypergradient.run_checkpointed`), which XLA's count of operations
makes comparable.

Newton's method has the gradient at every beta, the secant method the two last values instead; both take log LPIPS for a
line in log beta, which it nearly is. They keep to the betas between the last one that gave too little and the last that
gave too much, and halve that interval where they would leave it.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from statistics import mean
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed

LAYERS = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu2_1")}
ENDS = math.log(0.01), math.log(10.0)  # of log beta
GRIDS, GRADIENTS, MIXED, SECANTS = (4, 8, 16), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 6)

Value = Callable[[float], float]
Gradient = Callable[[float], tuple[float, float]]


def grid(value: Value, wanted: float, count: int) -> Iterator[float]:
    """Errors of betas evenly spaced on a logarithmic axis."""
    low, high = ENDS
    return (abs(value(low + (high - low) * i / (count - 1)) - wanted) for i in range(count))


def newton(gradient: Gradient, wanted: float) -> Iterator[float]:
    """Errors of Newton's method, from the middle on, without end; LPIPS must increase with beta."""
    low, high = ENDS
    x = (low + high) / 2
    while True:
        value, slope = gradient(x)
        yield abs(value - wanted)
        low, high = (x, high) if value < wanted else (low, x)
        x = _between(low, high, x - math.log(value / wanted) * value / slope if slope > 0 else math.inf)


def secant(value: Value, wanted: float) -> Iterator[float]:
    """Errors of the secant method, from both ends on, without end; LPIPS must increase with beta."""
    low, high = ENDS
    below, above = value(low), value(high)
    yield abs(below - wanted)
    yield from _secants(value, wanted, high, above, math.log(above / below) / (high - low))


def gradient_then_secant(value: Value, gradient: Gradient, wanted: float) -> Iterator[float]:
    """Errors of the secant method from the middle on, whose first slope is the gradient's there."""
    middle = sum(ENDS) / 2
    found, slope = gradient(middle)
    yield from _secants(value, wanted, middle, found, slope / found)


def _secants(value: Value, wanted: float, x: float, found: float, slope: float) -> Iterator[float]:
    low, high = ENDS
    while True:
        yield abs(found - wanted)
        low, high = (x, high) if found < wanted else (low, x)
        before, last = x, found
        x = _between(low, high, x - math.log(found / wanted) / slope if slope > 0 else math.inf)
        found = value(x)
        slope = math.log(found / last) / (x - before) if x != before else 0.0


def _between(low: float, high: float, x: float) -> float:
    return x if low < x < high else (low + high) / 2


def make_functions(size: int, num_steps: int) -> tuple[Value, Gradient, float]:
    """LPIPS of log beta for the sample cat and swirls, LPIPS with its derivative, and the latter's cost in runs."""
    content, style = (jnp.asarray(read_image(f"sample:{name}", size)) for name in ("cat", "swirls"))
    params, judge = js.load_params("bundled"), js.load_lpips("alex")
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"), pooling="average", backend="xla")
    targets = js.make_objective(features, **LAYERS).targets(params, content, style)
    transfer = js.make_transfer(js.make_objective(features, **LAYERS).loss, optax.adam(0.03, b2=0.99, eps_root=1e-12))

    def distance(log_beta: jax.Array, params: Any, judge: Any) -> jax.Array:
        state, _ = run_checkpointed(
            transfer,
            transfer.init(content),
            params,
            targets,
            js.LossWeights(1.0, jnp.exp(log_beta)),
            num_steps=num_steps,
        )
        return js.metrics.lpips(judge, state.image, content)

    def step(state: js.TransferState, beta: jax.Array, params: Any) -> js.TransferState:
        return transfer.step(state, params, targets, js.LossWeights(1.0, beta))[0]

    def step_and_back(state: js.TransferState, beta: jax.Array, params: Any) -> Any:
        after, pull = jax.vjp(lambda state, beta: step(state, beta, params), state, beta)
        return pull(after)  # any cotangent has the same cost

    once, back = (_count_operations(f, transfer.init(content), jnp.float32(1), params) for f in (step, step_and_back))
    plain, differentiated = jax.jit(distance), jax.jit(jax.value_and_grad(distance))

    @cache
    def value(x: float) -> float:
        return float(plain(jnp.float32(x), params, judge))

    @cache
    def gradient(x: float) -> tuple[float, float]:
        found, slope = differentiated(jnp.float32(x), params, judge)
        return float(found), float(slope)

    return value, gradient, 2 + back / once


def _count_operations(f: Callable[..., Any], *args: Any) -> float:
    analysis: Any = jax.jit(f).lower(*args).compile().cost_analysis()
    return analysis["flops"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="longest side in pixels")
    parser.add_argument("--steps", type=int, default=30, help="of each run")
    args = parser.parse_args()
    value, gradient, cost = make_functions(args.size, args.steps)
    seconds = []
    for f in (value, gradient):
        f(0.0)  # compiles
        start = time.process_time()
        f(0.1)
        seconds.append(time.process_time() - start)
    least, most = map(value, ENDS)
    targets = [least + (most - least) * i / 5 for i in (1, 2, 3, 4)]
    print(f"LPIPS {least:.4f} at beta {math.exp(ENDS[0]):g}, {most:.4f} at {math.exp(ENDS[1]):g}")
    print(f"a gradient costs {cost:.2f} runs by operations, {seconds[1] / seconds[0]:.2f} by CPU time\n")
    print("| method | evaluations | cost in runs | mean error | largest error |\n|---|---|---|---|---|")
    rows: list[tuple[str, int, float, Callable[[float], Iterator[float]]]] = [
        *(("grid", n, n, lambda wanted, n=n: grid(value, wanted, n)) for n in GRIDS),
        *(("Newton, by gradient", n, n * cost, lambda wanted: newton(gradient, wanted)) for n in GRADIENTS),
        *(
            (
                "one gradient, then secants",
                n,
                cost + n - 1,
                lambda wanted: gradient_then_secant(value, gradient, wanted),
            )
            for n in MIXED
        ),
        *(("secants, no gradient", n, n, lambda wanted: secant(value, wanted)) for n in SECANTS),
    ]
    for name, count, runs, method in rows:
        errors = [min(islice(method(wanted), count)) for wanted in targets]
        print(f"| {name} | {count} | {runs:.0f} | {mean(errors):.5f} | {max(errors):.5f} |", flush=True)


if __name__ == "__main__":
    main()
