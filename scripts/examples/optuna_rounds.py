"""Optuna chooses beta and tv: it is asked for 16 trials, one sweep runs them, it is told 16 results; three rounds.

python scripts/examples/optuna_rounds.py writes optuna_rounds.png: eight pictures of the Pareto front, from the content
to the style. It needs `pip install optuna`.

A trial has two objectives, neither of which made the picture: LPIPS to the content, and the distance of AlexNet's Gram
matrices from the style. All rounds run the same compiled programs, because a sweep takes new weights as arguments.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optuna  # pyright: ignore[reportMissingImports]
from optuna.distributions import BaseDistribution, FloatDistribution  # pyright: ignore[reportMissingImports]
from PIL import Image

import jaxstyle as js

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (128, 60)
ROUNDS, TRIALS = 3, 16
SPACE: dict[str, BaseDistribution] = {
    "beta": FloatDistribution(0.1, 1000, log=True),
    "tv": FloatDistribution(1, 300, log=True),
}

compiled = []  # an entry for each program that XLA compiles
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: compiled.append(event) if event == "/jax/core/compile/backend_compile_duration" else None
)

content, style = (jnp.asarray(js.read_image(f"sample:{name}", SIZE)) for name in ("temple", "swirls"))
params, judge = js.load_params("bundled"), js.load_lpips("alex")
objective = js.make_objective(js.make_features())
targets = objective.targets(params, content, style)
transfer = js.make_transfer(objective.loss, js.lbfgs())


@jax.jit
def measure(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both objectives of images (lanes, h, w, 3)."""
    return jax.lax.map(
        lambda image: (js.metrics.lpips(judge, image, content), js.metrics.gram_distance(judge, image, style)), images
    )


optuna.logging.set_verbosity(optuna.logging.WARNING)
sampler = optuna.samplers.TPESampler(n_startup_trials=TRIALS, seed=0)
study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
pictures, front = {}, []
for number in range(ROUNDS):
    before = len(compiled)
    trials = [study.ask(SPACE) for _ in range(TRIALS)]
    beta, tv = (jnp.array([trial.params[name] for trial in trials]) for name in SPACE)
    weights = js.LossWeights(alpha=1.0, beta=beta, tv=tv)
    result = js.sweep(transfer, content, params, targets, weights, num_steps=STEPS, microbatch="auto")
    values = np.stack(jax.device_get(measure(result.images)), axis=-1)
    for trial, image, value in zip(trials, jax.device_get(result.images), values.tolist(), strict=True):
        study.tell(trial, value)
        pictures[trial.number] = image
    front = sorted(study.best_trials, key=lambda trial: trial.values[0])
    print(f"round {number + 1}: {len(front)} trials on the front, {len(compiled) - before} programs compiled")

shown = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, 8).round().astype(int))]
for trial in shown:
    settings = ", ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    print(f"LPIPS {trial.values[0]:.3f}, style distance {trial.values[1]:.3f}: {settings}")
sheet = np.concatenate([pictures[trial.number] for trial in shown], axis=1)
Image.fromarray(np.uint8(np.round(255 * sheet))).save("optuna_rounds.png")
