"""Compiles and runs the lanes of a job: all those of one image size together, in groups that fit into memory."""

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxstyle.app.cache import use_compilation_cache
from jaxstyle.app.errors import RunError
from jaxstyle.app.job import Job
from jaxstyle.app.memory import OutOfMemoryError, check_memory, memory_errors, release_memory
from jaxstyle.app.pictures import (
    content_image,
    content_regions,
    finish_images,
    start_image,
    style_images,
    style_regions,
)
from jaxstyle.app.progress import Progress
from jaxstyle.app.screen import tell
from jaxstyle.lanes import StackedTargets, make_lanes, targets_of_lane
from jaxstyle.objective import LayerLosses, Losses, LossWeights, content_targets, style_targets
from jaxstyle.transfer import TransferState, run_chunk
from jaxstyle.vgg import Params, prepare

_CHUNK_CAPACITY = 50
_CHUNK_SECONDS = 1.0


class Outcome(NamedTuple):
    """What came out of a job, as NumPy arrays.

    Attributes:
      images: of each lane, (h, w, 3) in [0, 1].
      history: Losses with leaves (lanes, steps + 1): column i after i steps, the last one of `images`.
      layers: LayerLosses of `images` with leaves (lanes,).
      seconds: wall time of the steps, with compilation.
    """

    images: list[np.ndarray]
    history: Losses
    layers: LayerLosses
    seconds: float

    @property
    def steps(self) -> np.ndarray:
        """(lanes,) steps that a lane took before a loss or gradient of it was not finite, if any was."""
        return np.isfinite(self.history.total).cumprod(axis=1).sum(axis=1) - 1

    @property
    def ok(self) -> np.ndarray:
        """(lanes,) False where a loss or gradient was not finite at some step."""
        return np.asarray(np.isfinite(self.history.total).all(axis=1))


class _Batch(NamedTuple):
    """Lanes of one image size: their numbers in the job, what they start from, targets and loss weights."""

    lanes: list[int]
    starts: jax.Array
    rates: jax.Array
    targets: StackedTargets
    weights: LossWeights


def run_job(job: Job) -> Outcome:
    """Compile and run all lanes, those of one image size together.

    Raises:
      RunError: if not even one lane at a time fits into memory.
    """
    started = time.monotonic()
    use_compilation_cache()
    params = prepare(job.params)
    shapes = [job.contents[row["content"]].image.shape for row in job.rows]
    found: list[Any] = [None] * len(shapes)
    with Progress(job.settings.steps * len(set(shapes))) as progress:
        for shape in dict.fromkeys(shapes):
            batch = _make_batch(job, params, [i for i, s in enumerate(shapes) if s == shape])
            for i, result in zip(batch.lanes, _run_batch(job, params, batch, progress), strict=True):
                found[i] = result
    images, history, layers = zip(*found, strict=True)
    history, layers = (jax.tree.map(lambda *x: np.stack(x), *trees) for trees in (history, layers))
    return Outcome(list(images), history, layers, time.monotonic() - started)


def join_outcomes(first: Outcome, second: Outcome) -> Outcome:
    """The outcome of the lanes of both."""
    history, layers = (
        jax.tree.map(lambda a, b: np.concatenate([a, b]), *trees)
        for trees in ((first.history, second.history), (first.layers, second.layers))
    )
    return Outcome(first.images + second.images, history, layers, first.seconds + second.seconds)


def _make_batch(job: Job, params: Params, lanes: list[int]) -> _Batch:
    rows, settings, pictures = [job.rows[i] for i in lanes], job.settings, job.pictures
    contents = list(dict.fromkeys(row["content"] for row in rows))
    images = {i: content_image(pictures, settings.colour, i) for i in contents}
    # A style image whose colours depend on the content is another one for each.
    pair_of = [(0 if settings.colour == "style" else row["content"], row["style"]) for row in rows]
    pairs = list(dict.fromkeys(pair_of))
    styles = {pair: style_images(pictures, settings.colour, *pair) for pair in pairs}
    # Apart, so that neither is compiled again for each shape of the other.
    content_of = jax.jit(partial(content_targets, job.features, layers=settings.content_layers))
    style_of = jax.jit(
        partial(style_targets, job.features, layers=settings.style_layers, style_loss=settings.style_loss)
    )
    by_content = [content_of(params, images[i]) for i in contents]
    by_style = [style_of(params, styles[pair], masks=style_regions(pictures, pair[1])) for pair in pairs]
    content, style = (jax.tree.map(lambda *x: jnp.stack(x), *parts) for parts in (by_content, by_style))
    starts = [
        start_image(pictures, settings.init, images[row["content"]], styles[pair][0], row["seed"])
        for row, pair in zip(rows, pair_of, strict=True)
    ]
    weights = {name: jnp.array([row[name] for row in rows], jnp.float32) for name in ("alpha", "beta", "tv")}
    for name, leaf in (("style_layer_weights", "style_layers"), ("style_mix", "style_mix")):
        if name in rows[0]:
            weights[leaf] = jnp.array([row[name] for row in rows], jnp.float32)
    return _Batch(
        lanes,
        jnp.stack(starts),
        jnp.array([row.get("learning_rate", 0) for row in rows], jnp.float32),
        StackedTargets(
            content,
            style,
            jnp.array([contents.index(row["content"]) for row in rows]),
            jnp.array([pairs.index(pair) for pair in pair_of]),
            content_regions(pictures, settings.style_layers),
        ),
        LossWeights(**weights),
    )


def _run_batch(job: Job, params: Params, batch: _Batch, progress: Progress) -> Sequence[Any]:
    """Of each lane (image, history, layer losses); in smaller groups if memory runs out."""
    group = min(job.settings.microbatch or 1, len(batch.lanes))
    begun = progress.done
    while True:
        try:
            return _run_groups(job, params, batch, group, progress)
        except OutOfMemoryError as error:
            release_memory()
            if group == 1:
                raise RunError(_too_large(job, batch, error)) from error
            smaller = math.ceil(group / 2)
            tell(f"out of memory with {group} lanes at once; trying {smaller}")
            group = smaller
            progress.restart(begun)


def _too_large(job: Job, batch: _Batch, error: OutOfMemoryError) -> str:
    _, h, w, _ = batch.starts.shape
    scale = math.sqrt(0.9 * error.available / error.needed) if error.available and error.needed else 0.7
    size = int(max(h, w) * min(scale, 0.95)) // 16 * 16
    fits = f"--size {size} should fit" if size >= 32 else "nothing of a useful size would fit"
    return f"out of memory: one lane of {w}x{h} pixels takes more than there is; {fits}"


def _run_groups(job: Job, params: Params, batch: _Batch, group: int, progress: Progress) -> Sequence[Any]:
    with memory_errors():
        state, history = _advance(job, params, batch, group, progress)
        images = jnp.clip(state.image, 0, 1)  # L-BFGS runs without bounds
        final, layers = _evaluate(job, params, batch, images, group)
    history = jax.tree.map(lambda rows, last: np.concatenate([rows, last[:, None]], axis=1), history, final)
    images, lanes = np.asarray(images), range(len(batch.lanes))
    images = finish_images(job.pictures, job.settings.colour, images, [job.rows[i]["content"] for i in batch.lanes])
    return [(images[i], *(jax.tree.map(lambda x, i=i: x[i], tree) for tree in (history, layers))) for i in lanes]


def _advance(job: Job, params: Params, batch: _Batch, group: int, progress: Progress) -> tuple[TransferState, Losses]:
    """Take all steps, in chunks of about a second; return the state and Losses with leaves (lanes, steps)."""
    steps = job.settings.steps
    lanes = make_lanes(job.transfer, batch.weights, microbatch=group)
    state = lanes.init(batch.starts)
    hyperparams = getattr(state.optimizer, "hyperparams", {})
    if "learning_rate" in hyperparams:  # each lane's own
        state = state._replace(
            optimizer=state.optimizer._replace(hyperparams={**hyperparams, "learning_rate": batch.rates})
        )
    chunk = jax.jit(partial(run_chunk, lanes, capacity=min(steps, _CHUNK_CAPACITY)), donate_argnums=0)
    arguments = (params, batch.targets, batch.weights)
    compiled = chunk.lower(state, *arguments, 1).compile()
    release_memory()
    check_memory(compiled)
    rows: list[Losses] = []
    done, count = 0, 1
    while done < steps:
        began = time.monotonic()
        state, losses = compiled(state, *arguments, count)
        losses = jax.tree.map(lambda x, n=count: x[:n], jax.device_get(losses))
        rows.append(losses)
        progress.advance(count, jax.tree.map(lambda x: x[-1], losses))
        done += count
        pace = count * _CHUNK_SECONDS / (time.monotonic() - began)
        count = max(1, min(round(pace), 2 * count, _CHUNK_CAPACITY, steps - done))
    return state, jax.tree.map(lambda *parts: np.concatenate(parts).T, *rows)


def _evaluate(job: Job, params: Params, batch: _Batch, images: jax.Array, group: int) -> tuple[Losses, LayerLosses]:
    """Losses and losses by layer, with leaves (lanes,), of the lanes' images, in the groups of the steps."""
    targets = batch.targets

    def evaluate(images: jax.Array, params: Params, targets: StackedTargets, weights: LossWeights) -> Any:
        def one(lane: Any) -> Any:
            image, weights, content, style = lane
            own = targets_of_lane(targets, (content, style))
            return job.loss(image, params, own, weights)[1], job.terms(image, params, own, weights)

        return lax.map(one, (images, weights, targets.content_index, targets.style_index), batch_size=group)

    return jax.device_get(jax.jit(evaluate)(images, params, targets, batch.weights))
