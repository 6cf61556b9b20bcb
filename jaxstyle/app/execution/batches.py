"""Batches: the lanes of one image size with what each starts from, its targets and its loss weights."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.execution.job import Job
from jaxstyle.app.pictures.job_pictures import (
    choose_style,
    content_image,
    content_regions,
    start_image,
    style_images,
    style_regions,
)
from jaxstyle.app.settings.lane_settings import LANE_SETTINGS
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.targets import content_targets, style_targets
from jaxstyle.parallel.stacked_targets import StackedTargets
from jaxstyle.parallel.weight_grid import lane_axes


class Batch(NamedTuple):
    """Lanes of one image size: their numbers in the job, what they start from, targets and loss weights."""

    lanes: list[int]
    starts: jax.Array
    rates: jax.Array
    targets: StackedTargets
    weights: LossWeights


def select(batch: Batch, index: np.ndarray) -> Batch:
    """The lanes of a batch with these places in it, each as often as it is given."""
    axes = lane_axes(batch.weights)
    leaves: Any = zip(batch.weights, axes, strict=True)
    weights = (leaf if axis is None else leaf[index] for leaf, axis in leaves)
    targets = batch.targets
    return Batch(
        [batch.lanes[i] for i in index],
        batch.starts[index],
        batch.rates[index],
        targets._replace(content_index=targets.content_index[index], style_index=targets.style_index[index]),
        LossWeights(*weights),
    )


def pad(members: np.ndarray, size: int) -> np.ndarray:
    """The members, the last one repeated until there are `size`."""
    return np.concatenate([members, np.repeat(members[-1:], size - len(members))])


def make_batch(job: Job, params: Params, lanes: list[int]) -> Batch:
    """The batch of the lanes with these numbers, whose content images have one shape."""
    rows, settings, pictures = [job.lanes[i] for i in lanes], job.settings, job.pictures
    contents = list(dict.fromkeys(row["content"] for row in rows))
    images = {i: content_image(pictures, settings.colour, i) for i in contents}
    choices = [choose_style(settings, row) for row in rows]
    styles = {choice: style_images(pictures, settings.colour, choice) for choice in dict.fromkeys(choices)}
    # Apart, so that neither is compiled again for each shape of the other.
    content_of = jax.jit(partial(content_targets, job.features, layers=settings.content_layers))
    style_of = jax.jit(
        partial(style_targets, job.features, layers=settings.style_layers, style_loss=settings.style_loss)
    )
    by_content = [content_of(params, images[i]) for i in contents]
    by_style = [style_of(params, own, masks=style_regions(pictures, choice)) for choice, own in styles.items()]
    content, style = (jax.tree.map(lambda *x: jnp.stack(x), *parts) for parts in (by_content, by_style))
    starts = [
        start_image(pictures, settings.init, images[row["content"]], styles[choice][0], row["seed"])
        for row, choice in zip(rows, choices, strict=True)
    ]
    weights = {
        setting.leaf: jnp.array([row[name] for row in rows], jnp.float32)
        for name, setting in LANE_SETTINGS.items()
        if setting.leaf and name in rows[0]
    }
    return Batch(
        lanes,
        jnp.stack(starts),
        jnp.array([row.get("learning_rate", 0) for row in rows], jnp.float32),
        StackedTargets(
            content,
            style,
            jnp.array([contents.index(row["content"]) for row in rows]),
            jnp.array([list(styles).index(choice) for choice in choices]),
            content_regions(pictures, settings.style_layers),
        ),
        LossWeights(**weights),
    )
