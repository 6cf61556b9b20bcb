"""What a job of the command works on: reads and checks all its inputs; nothing is compiled yet."""

from dataclasses import replace
from itertools import product
from typing import NamedTuple

import jax
import optax

from jaxstyle.app.execution.optimizer_choice import OPTIMIZERS
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.job_pictures import Pictures, load_pictures
from jaxstyle.app.pictures.pairs import make_pairs
from jaxstyle.app.settings.grid_files import read_grid
from jaxstyle.app.settings.grids import check_count, make_grid
from jaxstyle.app.settings.lane_settings import LaneValues
from jaxstyle.app.settings.settings import Settings, default_layer_weights, weight_defaults
from jaxstyle.app.system.devices import find_devices
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.memory import device_memory, map_large_blocks
from jaxstyle.app.system.screen import tell
from jaxstyle.colour import of_luminance
from jaxstyle.network.features import Features, Params
from jaxstyle.network.layers import convolutions_for, min_size
from jaxstyle.network.vgg_features import make_features
from jaxstyle.objective.objective import Loss, Terms, make_loss, make_terms
from jaxstyle.objective.style_statistics import style_statistic
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.state import Transfer
from jaxstyle.optimise.transfer import make_transfer
from jaxstyle.parallel.microbatch import default_microbatch
from jaxstyle.pretrained.load import Weights, load_weights
from jaxstyle.pretrained.weight_files import default_set
from jaxstyle.pretrained.weight_sets import DEFAULT

_LEAST_WEIGHT = 1.18e-38  # smaller ones are 0 to float32


class Job(NamedTuple):
    """A job whose inputs are read and checked.

    Attributes:
      settings: as asked, with every default filled in.
      pictures: the content and style images, and more.
      lanes: the settings of every lane, with "content" and "style", the numbers of its images.
      weights: the network's parameters with name and sha256.
      features: the network as a function.
      loss: the objective.
      terms: its losses by layer.
      transfer: the optimisation.
    """

    settings: Settings
    pictures: Pictures
    lanes: list[LaneValues]
    weights: Weights
    features: Features
    loss: Loss
    terms: Terms
    transfer: Transfer

    @property
    def contents(self) -> list[Picture]:
        """The content images."""
        return self.pictures.contents

    @property
    def styles(self) -> list[Picture]:
        """The style images, without those of --blend."""
        return self.pictures.styles

    @property
    def params(self) -> Params:
        """The parameters that the layers asked for need, without those of deeper convolutions."""
        layers = tuple(dict.fromkeys(self.settings.content_layers + self.settings.style_layers))
        return {
            name: self.weights.params[name]
            for name in (*convolutions_for(layers), "mean")
            if name in self.weights.params
        }


def load_job(settings: Settings) -> Job:
    """Read and check everything a job needs.

    Raises:
      StartError: for the first thing that is wrong.
    """
    find_devices()
    map_large_blocks()
    choose_weights = settings.weights is None
    settings = _fill_in(settings)
    layers = tuple(dict.fromkeys(settings.content_layers + settings.style_layers))
    of_loss = {
        "convention": settings.convention,
        "content_layers": settings.content_layers,
        "style_layers": settings.style_layers,
        "style_loss": settings.style_loss,
    }
    try:
        features = make_features(layers, pooling=settings.pooling, padding=settings.padding, dtype=settings.dtype)
        loss = make_loss(features, **of_loss)
        terms = make_terms(features, **of_loss)
        _check_convention(settings)
        if settings.colour == "content":
            loss, terms = of_luminance(loss), of_luminance(terms)
        weights = load_weights(settings.weights or DEFAULT)
    except ValueError as error:  # all of them say in one line what is wrong with an option
        raise StartError(str(error)) from error
    settings_rows = _make_grid(settings)
    pictures = load_pictures(settings, min_size(layers))
    _check_mix(settings_rows, len(pictures.blend))
    if pictures.content_masks and pictures.blend and not pictures.style_masks and "style_mix" not in settings_rows[0]:
        # Each region has one style image of its own: as they are, not their mean.
        settings_rows = [{**row, "style_mix": (1.0,) * len(pictures.content_masks)} for row in settings_rows]
    pairs = make_pairs(range(len(pictures.contents)), range(len(pictures.styles)), settings.pair)
    check_count(len(pairs) * len(settings_rows))
    if settings.microbatch is None:
        height, width = max((p.image.shape[:2] for p in pictures.contents), key=lambda shape: shape[0] * shape[1])
        device = jax.local_devices()[0]
        memory = None if device.platform == "cpu" else device_memory(device).total
        settings = replace(settings, microbatch=default_microbatch(height * width, memory))
    if choose_weights:
        tell(f"weights {weights.name}: {default_set()[1]}")
    choice = OPTIMIZERS[settings.optimizer]
    rate = choice.learning_rate
    return Job(
        settings=settings,
        pictures=pictures,
        lanes=[{"content": c, "style": s, **row} for (c, s), row in product(pairs, settings_rows)],
        weights=weights,
        features=features,
        loss=loss,
        terms=terms,
        transfer=_make_transfer(settings, loss, choice.make() if rate is None else choice.make(rate)),
    )


def _make_transfer(settings: Settings, loss: Loss, optimizer: optax.GradientTransformation) -> Transfer:
    transfer = make_transfer(loss, optimizer)
    return transfer if settings.average is None else make_averaging(transfer, decay=settings.average)


def slow_down(job: Job, retry: int) -> Job:
    """The job as lanes are retried: each time with a tenth of the learning rate, or of the longest step of lbfgs."""
    factor = 0.1**retry
    choice = OPTIMIZERS[job.settings.optimizer]
    if choice.learning_rate is None:
        return job._replace(transfer=_make_transfer(job.settings, job.loss, choice.make(factor)))
    return job._replace(lanes=[slow_lane(row, retry) for row in job.lanes])


def slow_lane(row: LaneValues, retry: int) -> LaneValues:
    """The settings of a lane as it is retried, its learning rate rounded to what float32 holds, if it has one."""
    if not retry or "learning_rate" not in row:
        return row
    return {**row, "learning_rate": float(f"{row['learning_rate'] * 0.1**retry:.7g}")}


def _fill_in(settings: Settings) -> Settings:
    if settings.optimizer not in OPTIMIZERS:
        raise StartError(f"unknown optimizer {settings.optimizer!r}; valid: {', '.join(OPTIMIZERS)}")
    rate = OPTIMIZERS[settings.optimizer].learning_rate
    if rate is None and settings.learning_rate is not None:
        raise StartError(f"{settings.optimizer} finds its own step; --learning-rate is for --optimizer adam")
    defaults = weight_defaults(settings.convention, settings.style_loss)
    of_layers = default_layer_weights(settings.style_loss, settings.style_layers)
    return replace(
        settings,
        weights=settings.weights or default_set()[0],
        beta=defaults.betas if settings.beta is None else settings.beta,
        tv=(defaults.tv,) if settings.tv is None else settings.tv,
        style_layer_weights=settings.style_layer_weights or (of_layers and (of_layers,)),
        learning_rate=(rate,) if settings.learning_rate is None and rate is not None else settings.learning_rate,
    )


def _make_grid(settings: Settings) -> list[LaneValues]:
    """The settings of the lanes of one pair of images: those of the grid file, times the lists of the others."""
    lists = {name: getattr(settings, name) for name in ("alpha", "beta", "tv", "learning_rate", "seed")}
    lists |= {name: getattr(settings, name) for name in ("style_layer_weights", "style_mix")}
    of_file = read_grid(settings.grid) if settings.grid else [{}]
    axes = {name: values for name, values in lists.items() if values is not None and name not in of_file[0]}
    rows = [
        {name: {**row, **lane}[name] for name in lists if name in row or name in lane}
        for lane, row in product(of_file, make_grid(axes))
    ]
    check_count(len(rows))
    for number, row in enumerate(rows):
        if max(row["alpha"], row["beta"], row["tv"]) < _LEAST_WEIGHT:
            of_lane = f" of lane {number}" if len(rows) > 1 else ""
            raise StartError(f"alpha, beta and tv{of_lane} are all 0: one must be larger, or there is nothing to do")
        weights = row.get("style_layer_weights", settings.style_layers)
        if len(weights) != len(settings.style_layers):
            raise StartError(
                f"{len(weights)} weights of style layers for {len(settings.style_layers)} layers: "
                f"give one each for {', '.join(settings.style_layers)}"
            )
        if "learning_rate" in row and settings.learning_rate is None:
            raise StartError(f"the grid sets learning_rate, but {settings.optimizer} has none")
    return rows


def _check_convention(settings: Settings) -> None:
    """Raise ValueError if the way to compare styles doesn't take the convention, which else shows when it is traced."""
    statistic = style_statistic(settings.style_loss)

    def distance(f: jax.Array) -> jax.Array:
        found = statistic.measure(f, None)
        return statistic.distance(found, statistic.prepare(found), convention=settings.convention)

    jax.eval_shape(distance, jax.ShapeDtypeStruct((4, 4, 8), "float32"))


def _check_mix(rows: list[LaneValues], others: int) -> None:
    given = len(rows[0].get("style_mix", ()))
    if given and given != 1 + others:
        raise StartError(
            f"{given} weights of style images for {1 + others}: give one for STYLE and one for each image of --blend"
        )
