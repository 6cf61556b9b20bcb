"""One job of the command: load what was asked for, compile, advance all lanes while telling progress."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxstyle.app.cache import use_compilation_cache
from jaxstyle.app.errors import StartError
from jaxstyle.app.images import read_image, resolve_path
from jaxstyle.app.progress import Progress
from jaxstyle.app.settings import Settings, weight_defaults
from jaxstyle.lanes import make_lanes, num_lanes, weight_grid
from jaxstyle.layers import min_size
from jaxstyle.objective import Loss, Losses, LossWeights, Targets, make_loss, make_targets
from jaxstyle.pretrained import Weights, load_weights
from jaxstyle.transfer import Transfer, TransferState, make_transfer, run_chunk, starting_image
from jaxstyle.vgg import Features, Params, make_features, prepare

_CHUNK_CAPACITY = 50
_CHUNK_SECONDS = 1.0
_CPU_PIXELS = 8 * 128 * 128  # of a micro-batch: more lanes at once are no faster, and take more memory
_BYTES_PER_PIXEL = 3000  # of features and gradients to relu5_1 in float32


class OptimizerChoice(NamedTuple):
    """An optimiser of the command: how to make it of a learning rate, its default one, the pixels' bounds."""

    make: Callable[..., optax.GradientTransformation]
    learning_rate: float | None
    bounds: tuple[float, float] | None


OPTIMIZERS: dict[str, OptimizerChoice] = {
    # Faster forgetting than optax's 0.999 (crowsonkb/style-transfer-pytorch): less noise after few steps.
    "adam": OptimizerChoice(partial(optax.adam, b2=0.99), 0.03, (0.0, 1.0)),
    # The line search sets the steps; clipping would spoil the model of the curvature.
    "lbfgs": OptimizerChoice(optax.lbfgs, None, None),
}


class Job(NamedTuple):
    """A job whose inputs are read and checked; nothing is compiled yet.

    Attributes:
      settings: as asked, with every default filled in.
      content: (h, w, 3) float32.
      style: (h', w', 3) float32.
      weights: the network's parameters with name and sha256.
      grid: loss weights with a lane axis.
      features: the network as a function.
      loss: the objective.
      transfer: the optimisation.
      inputs: file name, sha256 and shape of content and style, for the record.
    """

    settings: Settings
    content: np.ndarray
    style: np.ndarray
    weights: Weights
    grid: LossWeights
    features: Features
    loss: Loss
    transfer: Transfer
    inputs: dict[str, dict[str, object]]


class Outcome(NamedTuple):
    """What came out of a job, as NumPy arrays.

    Attributes:
      images: (lanes, h, w, 3) in [0, 1].
      history: Losses with leaves (lanes, steps + 1): column i after i steps, the last one of `images`.
      ok: (lanes,) False where a loss or gradient was not finite at some step.
      seconds: wall time of the steps, with compilation.
    """

    images: np.ndarray
    history: Losses
    ok: np.ndarray
    seconds: float


def load_job(settings: Settings) -> Job:
    """Read and check everything a job needs.

    Raises:
      StartError: for the first thing that is wrong.
    """
    if settings.optimizer not in OPTIMIZERS:
        raise StartError(f"unknown optimizer {settings.optimizer!r}; valid: {', '.join(OPTIMIZERS)}")
    choice = OPTIMIZERS[settings.optimizer]
    rate = choice.learning_rate if settings.learning_rate is None else settings.learning_rate
    style_size = settings.style_size or settings.size
    defaults = weight_defaults(settings.convention)
    beta = defaults.betas if settings.beta is None else settings.beta
    tv = (defaults.tv,) if settings.tv is None else settings.tv
    settings = replace(settings, learning_rate=rate, style_size=style_size, beta=beta, tv=tv)
    layers = tuple(dict.fromkeys(settings.content_layers + settings.style_layers))
    try:
        features = make_features(layers, pooling=settings.pooling)
        loss = make_loss(
            features,
            convention=settings.convention,
            content_layers=settings.content_layers,
            style_layers=settings.style_layers,
        )
        weights = load_weights(settings.weights)
    except ValueError as error:  # all of them say in one line what is wrong with an option
        raise StartError(str(error)) from error
    transfer = make_transfer(loss, choice.make(rate), bounds=choice.bounds)
    smallest = min_size(layers)
    images = {
        "content": _load_image(settings.content, settings.size, "--size", smallest),
        "style": _load_image(settings.style, style_size, "--style-size", smallest),
    }
    if settings.microbatch is None:
        settings = replace(settings, microbatch=_choose_microbatch(*images["content"].shape[:2]))
    return Job(
        settings=settings,
        weights=weights,
        grid=weight_grid(alpha=settings.alpha, beta=beta, tv=tv),
        features=features,
        loss=loss,
        transfer=transfer,
        inputs={name: _describe(getattr(settings, name), image) for name, image in images.items()},
        **images,
    )


def _load_image(path: str, size: int, option: str, smallest: int) -> np.ndarray:
    image = read_image(path, size)
    h, w, _ = image.shape
    if min(h, w) >= smallest:
        return image
    full_h, full_w, _ = read_image(path).shape
    if min(full_h, full_w) < smallest:
        raise StartError(
            f"{path} has {full_w}x{full_h} pixels, too few for the layers asked for: they need at least "
            f"{smallest} on each side; give a larger image"
        )
    aspect = min(full_h, full_w) / max(full_h, full_w)
    enough = next(s for s in range(smallest, max(full_h, full_w) + 1) if round(s * aspect) >= smallest)
    raise StartError(
        f"{option} {size} makes {path} {w}x{h} pixels, too few for the layers asked for: they need at least "
        f"{smallest} on each side; the smallest that works is {option} {enough}"
    )


def _choose_microbatch(height: int, width: int) -> int:
    """Lanes to compute at once: as many as are fast on CPU; elsewhere, as fit into half of the device's memory."""
    memory = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    pixels = memory // _BYTES_PER_PIXEL // 2 if memory else _CPU_PIXELS
    return max(1, pixels // (height * width))


def _describe(path: str, image: np.ndarray) -> dict[str, object]:
    file = resolve_path(path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"file": file.name, "sha256": digest, "height": image.shape[0], "width": image.shape[1]}


def run_job(job: Job) -> Outcome:
    """Compile and run all lanes together."""
    started = time.monotonic()
    use_compilation_cache()
    settings, params = job.settings, prepare(job.weights.params)
    targets = jax.jit(
        lambda params, content, style: make_targets(
            job.features,
            params,
            content,
            style,
            content_layers=settings.content_layers,
            style_layers=settings.style_layers,
        )
    )(params, job.content, job.style)
    lanes = make_lanes(job.transfer, job.grid, microbatch=settings.microbatch)
    start = starting_image(
        settings.init, jnp.asarray(job.content), jnp.asarray(job.style), jax.random.key(settings.seed)
    )
    state = lanes.init(jnp.broadcast_to(start, (num_lanes(job.grid), *start.shape)))
    with Progress(settings.steps) as progress:
        state, history = _advance(lanes, state, params, job, targets, progress)
    images = jnp.clip(state.image, 0, 1)  # L-BFGS runs without bounds
    final = jax.device_get(jax.jit(partial(_evaluate, job))(images, params, targets, job.grid))
    history = jax.tree.map(lambda rows, last: np.concatenate([rows, last[:, None]], axis=1), history, final)
    ok = np.isfinite(history.total).all(axis=1)
    return Outcome(np.asarray(images), history, ok, time.monotonic() - started)


def _evaluate(job: Job, images: jax.Array, params: Params, targets: Targets, grid: LossWeights) -> Losses:
    """Losses, with leaves (lanes,), of the lanes' images, in the micro-batches of the steps."""

    def evaluate(lane: tuple[jax.Array, LossWeights]) -> Losses:
        return job.loss(lane[0], params, targets, lane[1])[1]

    return lax.map(evaluate, (images, grid), batch_size=min(job.settings.microbatch or 1, len(images)))


def _advance(
    lanes: Transfer, state: TransferState, params: Params, job: Job, targets: Targets, progress: Progress
) -> tuple[TransferState, Losses]:
    """Take all steps, in chunks of about a second; return the state and Losses with leaves (lanes, steps)."""
    steps = job.settings.steps
    compiled = jax.jit(partial(run_chunk, lanes, capacity=min(steps, _CHUNK_CAPACITY)), donate_argnums=0)
    rows: list[Losses] = []
    done, count = 0, 1
    while done < steps:
        began = time.monotonic()
        state, losses = compiled(state, params, targets, job.grid, count)
        losses = jax.tree.map(lambda x, n=count: x[:n], jax.device_get(losses))
        rows.append(losses)
        progress.advance(count, jax.tree.map(lambda x: x[-1], losses))
        done += count
        pace = count * _CHUNK_SECONDS / (time.monotonic() - began)
        count = max(1, min(round(pace), 2 * count, _CHUNK_CAPACITY, steps - done))
    return state, jax.tree.map(lambda *parts: np.concatenate(parts).T, *rows)
