"""What a job of the command works on: reads and checks all its inputs; nothing is compiled yet."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import optax

from jaxstyle.app.data import Picture, Source, load_source, make_pairs, share_shapes
from jaxstyle.app.decode import MAX_PIXELS
from jaxstyle.app.errors import StartError
from jaxstyle.app.grid_files import read_grid
from jaxstyle.app.grids import check_count, make_rows
from jaxstyle.app.images import STDIN, parse_background
from jaxstyle.app.lane_settings import Row
from jaxstyle.app.machine import find_devices
from jaxstyle.app.memory import default_microbatch
from jaxstyle.app.screen import tell
from jaxstyle.app.settings import Settings, weight_defaults
from jaxstyle.app.stages import check_stages
from jaxstyle.layers import convolutions_for, min_size
from jaxstyle.objective import Loss, Terms, make_loss, make_terms
from jaxstyle.pretrained import DEFAULT, Weights, default_set, load_weights
from jaxstyle.transfer import Transfer, make_transfer
from jaxstyle.vgg import Features, Params, make_features


class OptimizerChoice(NamedTuple):
    """An optimiser of the command: the optimiser, its default learning rate, the pixels' bounds."""

    make: Callable[..., optax.GradientTransformation]
    learning_rate: float | None
    bounds: tuple[float, float] | None


def _adam(learning_rate: Any) -> optax.GradientTransformation:
    # Faster forgetting than optax's 0.999 (crowsonkb/style-transfer-pytorch): less noise after few steps.
    return optax.adam(learning_rate, b2=0.99)


OPTIMIZERS: dict[str, OptimizerChoice] = {
    # The rate is part of the state, so that each lane has its own.
    "adam": OptimizerChoice(optax.inject_hyperparams(_adam), 0.03, (0.0, 1.0)),
    # The line search sets the steps; clipping would spoil the model of the curvature.
    "lbfgs": OptimizerChoice(optax.lbfgs, None, None),
}


class Job(NamedTuple):
    """A job whose inputs are read and checked.

    Attributes:
      settings: as asked, with every default filled in.
      contents: the content images.
      styles: the style images.
      skipped: {name: reason} of images that could not be used.
      rows: the settings of every lane, with "content" and "style", the numbers of its images.
      weights: the network's parameters with name and sha256.
      features: the network as a function.
      loss: the objective.
      terms: its losses by layer.
      transfer: the optimisation.
    """

    settings: Settings
    contents: list[Picture]
    styles: list[Picture]
    skipped: dict[str, str]
    rows: list[Row]
    weights: Weights
    features: Features
    loss: Loss
    terms: Terms
    transfer: Transfer

    @property
    def params(self) -> Params:
        """The parameters that the layers asked for need, without those of deeper convolutions."""
        layers = dict.fromkeys(self.settings.content_layers + self.settings.style_layers)
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
    choose_weights = settings.weights is None
    settings = _fill_in(settings)
    layers = tuple(dict.fromkeys(settings.content_layers + settings.style_layers))
    of_loss = {
        "convention": settings.convention,
        "content_layers": settings.content_layers,
        "style_layers": settings.style_layers,
    }
    try:
        features = make_features(layers, pooling=settings.pooling, dtype=settings.dtype)
        loss = make_loss(features, **of_loss)
        terms = make_terms(features, **of_loss)
        weights = load_weights(settings.weights or DEFAULT)
    except ValueError as error:  # all of them say in one line what is wrong with an option
        raise StartError(str(error)) from error
    settings_rows = _make_rows(settings)
    contents, styles = _load_sources(settings, min_size(layers))
    pictures = share_shapes(contents.pictures)
    check_stages(settings, pictures)
    pairs = make_pairs(range(len(pictures)), range(len(styles.pictures)), settings.pair)
    check_count(len(pairs) * len(settings_rows))
    if settings.microbatch is None:
        height, width = max((p.image.shape[:2] for p in pictures), key=lambda shape: shape[0] * shape[1])
        limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
        settings = replace(settings, microbatch=default_microbatch(height * width, limit))
    if choose_weights:
        tell(f"weights {weights.name}: {default_set()[1]}")
    choice = OPTIMIZERS[settings.optimizer]
    rate = choice.learning_rate
    return Job(
        settings=settings,
        contents=pictures,
        styles=share_shapes(styles.pictures),
        skipped=contents.skipped | styles.skipped,
        rows=[{"content": c, "style": s, **row} for (c, s), row in product(pairs, settings_rows)],
        weights=weights,
        features=features,
        loss=loss,
        terms=terms,
        transfer=make_transfer(loss, choice.make() if rate is None else choice.make(rate), bounds=choice.bounds),
    )


def _load_sources(settings: Settings, smallest: int) -> tuple[Source, Source]:
    if settings.content == settings.style == STDIN:
        raise StartError("CONTENT and STYLE cannot both be standard input; give a file for one of them")
    load = partial(
        load_source,
        smallest=smallest,
        background=parse_background(settings.background),
        max_pixels=settings.max_pixels or MAX_PIXELS,
    )
    option = "--size" if settings.style_size == settings.size else "--style-size"
    return load(settings.content, settings.size), load(settings.style, settings.style_size or 0, option=option)


def _fill_in(settings: Settings) -> Settings:
    if settings.optimizer not in OPTIMIZERS:
        raise StartError(f"unknown optimizer {settings.optimizer!r}; valid: {', '.join(OPTIMIZERS)}")
    rate = OPTIMIZERS[settings.optimizer].learning_rate
    if rate is None and settings.learning_rate is not None:
        raise StartError(f"{settings.optimizer} finds its step by a line search; --learning-rate is for adam")
    defaults = weight_defaults(settings.convention)
    return replace(
        settings,
        weights=settings.weights or default_set()[0],
        style_size=settings.style_size or settings.size,
        beta=defaults.betas if settings.beta is None else settings.beta,
        tv=(defaults.tv,) if settings.tv is None else settings.tv,
        learning_rate=(rate,) if settings.learning_rate is None and rate is not None else settings.learning_rate,
    )


def _make_rows(settings: Settings) -> list[Row]:
    """The settings of the lanes of one pair of images: those of the grid file, times the lists of the others."""
    lists = {name: getattr(settings, name) for name in ("alpha", "beta", "tv", "learning_rate", "seed")}
    lists["style_layer_weights"] = settings.style_layer_weights
    of_file = read_grid(settings.grid) if settings.grid else [{}]
    axes = {name: values for name, values in lists.items() if values is not None and name not in of_file[0]}
    rows = [
        {name: {**row, **lane}[name] for name in lists if name in row or name in lane}
        for lane, row in product(of_file, make_rows(axes))
    ]
    check_count(len(rows))
    for row in rows:
        weights = row.get("style_layer_weights", settings.style_layers)
        if len(weights) != len(settings.style_layers):
            raise StartError(
                f"{len(weights)} weights of style layers for {len(settings.style_layers)} layers: "
                f"give one each for {', '.join(settings.style_layers)}"
            )
        if "learning_rate" in row and settings.learning_rate is None:
            raise StartError(f"the grid sets learning_rate, but {settings.optimizer} has none")
    return rows
