"""Batches: lanes of one image size with everything that the compiled program takes for them."""

from collections.abc import Sequence
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
from jaxstyle.app.system.kept_programs import jit_kept
from jaxstyle.network.features import Features, Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.targets import content_targets, style_targets
from jaxstyle.parallel.stacked_targets import StackedTargets, match_lanes, parts_by_lane
from jaxstyle.parallel.weight_grid import lane_axes


class Batch(NamedTuple):
    """What lanes of one image size are computed from.

    Attributes:
      starts: (lanes, h, w, 3) the images that they start from.
      contents: (contents, h, w, 3) what stands for the content images in the objective.
      rates: (lanes,) their learning rates; 0 where the optimiser has none.
      targets: the targets of their images.
      weights: their loss weights, each leaf with an axis for lanes.
    """

    starts: jax.Array
    contents: jax.Array
    rates: jax.Array
    targets: StackedTargets
    weights: LossWeights


def select(batch: Batch, index: np.ndarray) -> Batch:
    """Return the lanes of a batch that stand at these places, which may repeat."""
    if np.array_equal(index, np.arange(len(batch.rates))):
        return batch
    axes = lane_axes(batch.weights)
    leaves: Any = zip(batch.weights, axes, strict=True)
    weights = (leaf if axis is None else leaf[index] for leaf, axis in leaves)
    content_index, style_index, matches = jax.tree.map(lambda x: x[index], parts_by_lane(batch.targets))
    return Batch(
        batch.starts[index],
        batch.contents,
        batch.rates[index],
        batch.targets._replace(content_index=content_index, style_index=style_index, matches=matches),
        LossWeights(*weights),
    )


def pad(members: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last member until there are `size` of them."""
    return np.concatenate([members, np.repeat(members[-1:], size - len(members))])


def make_batch(job: Job, params: Params, numbers: list[int]) -> Batch:
    """Make the batch of the lanes with these numbers, whose content images have one shape."""
    lanes, settings, pictures = [job.lanes[i] for i in numbers], job.settings, job.pictures
    shown = dict.fromkeys(lane["content"] for lane in lanes)
    contents = {number: content_image(pictures, settings.colour, number) for number in shown}
    choices = [choose_style(settings, lane) for lane in lanes]
    styles = {choice: style_images(pictures, settings.colour, choice) for choice in dict.fromkeys(choices)}
    # They are compiled apart, so that a new shape of the one does not compile the other again.
    features = job.network.features
    content_of = jit_kept(partial(_content_row, features, settings.content_layers, settings.content_loss))
    style_of = jit_kept(partial(_style_row, features, settings.style_layers, settings.style_loss))
    content = _join([content_of(params, image) for image in contents.values()])
    style = _join([style_of(params, own, style_regions(pictures, choice)) for choice, own in styles.items()])
    # What is stacked is stacked by NumPy, as jax would compile a program for each shape.
    starts = [
        np.asarray(start_image(pictures, settings.init, contents[lane["content"]], styles[choice][0], lane["seed"]))
        for lane, choice in zip(lanes, choices, strict=True)
    ]
    weights = {
        setting.leaf: jax.device_put(np.array([lane[name] for lane in lanes], np.float32))
        for name, setting in LANE_SETTINGS.items()
        if setting.leaf and name in lanes[0]
    }
    targets = StackedTargets(
        content,
        style,
        jax.device_put(np.array([list(contents).index(lane["content"]) for lane in lanes])),
        jax.device_put(np.array([list(styles).index(choice) for choice in choices])),
        content_regions(pictures, job.network.sizes_of(settings.style_layers)),
    )
    images = jax.device_put(np.stack(starts))
    return Batch(
        images,
        jax.device_put(np.stack([np.asarray(image) for image in contents.values()])),
        jax.device_put(np.array([lane.get("learning_rate", 0) for lane in lanes], np.float32)),
        _with_no_matches(job, params, images, targets),
        LossWeights(**weights),
    )


def _with_no_matches(job: Job, params: Params, images: jax.Array, targets: StackedTargets) -> StackedTargets:
    """Give targets room for the matches of lanes, so that programs need not be compiled again once these are known."""
    found = jax.eval_shape(partial(match_lanes, job.objective.match), images, params, targets)
    return targets._replace(matches=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), found.matches))


def _content_row(
    features: Features, layers: Sequence[str], content_loss: str, params: Params, content: jax.Array
) -> Any:
    """Compute the targets of a content image, each leaf with a leading axis of length 1."""
    found = content_targets(features, params, content, layers, content_loss=content_loss)
    return jax.tree.map(lambda x: x[None], found)


def _style_row(
    features: Features, layers: Sequence[str], style_loss: str, params: Params, styles: list[jax.Array], masks: Any
) -> Any:
    """Compute the targets of the style images of a lane, each leaf with a leading axis of length 1."""
    found = style_targets(features, params, styles, layers, style_loss=style_loss, masks=masks)
    return jax.tree.map(lambda x: x[None], found)


def _join(rows: list[Any]) -> Any:
    return rows[0] if len(rows) == 1 else jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
