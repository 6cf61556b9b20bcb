"""The job that a command carries out: its inputs are read and checked here, and nothing is compiled yet."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import jax
import optax

from jaxstyle.app.execution.network import Network, default_layers, load_network
from jaxstyle.app.execution.optimizer_choice import OPTIMIZERS
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.job_pictures import Pictures, load_pictures
from jaxstyle.app.pictures.pairs import make_pairs
from jaxstyle.app.settings.grid_files import read_grid
from jaxstyle.app.settings.grids import check_count, combine_values
from jaxstyle.app.settings.lane_settings import LANE_SETTINGS, LaneValues
from jaxstyle.app.settings.settings import AUTO_DTYPE, LUMINANCE, VGG19, Settings
from jaxstyle.app.system.devices import fast_dtype, find_devices
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.memory import device_memory, map_large_blocks
from jaxstyle.app.system.screen import tell
from jaxstyle.colour import of_luminance
from jaxstyle.objective.objective import Loss, Objective, make_objective
from jaxstyle.objective.statistics.content_statistics import content_statistic
from jaxstyle.objective.statistics.style_statistics import statistics_by_layer
from jaxstyle.objective.weight_defaults import weight_defaults
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.transfer import make_transfer
from jaxstyle.optimise.transfer_state import Transfer
from jaxstyle.parallel.microbatch_size import default_microbatch
from jaxstyle.pretrained.weight_files import default_set

_LEAST_WEIGHT = 1.18e-38  # Smaller weights are 0 to float32.


class Job(NamedTuple):
    """A job whose inputs are read and checked.

    Attributes:
      settings: what was asked, with every default filled in.
      pictures: the content and style images, and more.
      lanes: the settings of every lane, and as "content" and "style" the numbers of its images. A lane with a strength
        has a beta that means nothing until it is placed.
      network: the network whose features are compared, with its parameters.
      objective: what the lanes minimise.
      transfer: the optimisation.
    """

    settings: Settings
    pictures: Pictures
    lanes: list[LaneValues]
    network: Network
    objective: Objective
    transfer: Transfer

    @property
    def contents(self) -> list[Picture]:
        """The content images."""
        return self.pictures.contents

    @property
    def styles(self) -> list[Picture]:
        """The style images at their largest scale, without those of --blend."""
        return self.pictures.largest.styles


def load_job(settings: Settings) -> Job:
    """Read and check everything that a job needs.

    Raises:
      StartError: for the first thing that is wrong.
    """
    devices = find_devices()
    map_large_blocks()
    choose_weights = settings.weights is None and settings.network == VGG19
    settings = _fill_in(default_layers(settings), devices[0])
    network = load_network(settings)
    objective = _make_objective(settings, network)
    lanes = _read_lanes(settings)
    pictures = load_pictures(settings, lanes, network.smallest_side, network.sizes_of(settings.style_layers))
    lanes = _check_mix(lanes, pictures)
    pairs = make_pairs(range(len(pictures.contents)), range(len(pictures.largest.styles)), settings.pair)
    check_count(len(pairs) * len(lanes))
    if settings.microbatch is None:
        settings = replace(settings, microbatch=_choose_microbatch(pictures))
    if choose_weights:
        tell(f"weights {network.name}: {default_set()[1]}")
    choice = OPTIMIZERS[settings.optimizer]
    rate = choice.learning_rate
    optimizer = choice.make() if rate is None else choice.make(rate)
    return Job(
        settings=settings,
        pictures=pictures,
        lanes=[{"content": c, "style": s, **lane} for (c, s), lane in product(pairs, lanes)],
        network=network,
        objective=objective,
        transfer=_make_transfer(settings, objective.loss, optimizer),
    )


def _make_objective(settings: Settings, network: Network) -> Objective:
    """Make the objective, of luminance alone if the picture keeps the content's colours."""
    try:
        objective = make_objective(
            network.features,
            content_layers=settings.content_layers,
            style_layers=settings.style_layers,
            content_loss=settings.content_loss,
            style_loss=settings.style_loss,
            convention=settings.convention,
        )
        check_convention(settings.convention, settings.style_loss, settings.style_layers, settings.content_loss)
    except ValueError as error:  # its message says in one line what is wrong with an option
        raise StartError(str(error)) from error
    if settings.colour not in LUMINANCE:
        return objective
    of_gray = {name: of_luminance(getattr(objective, name)) for name in ("loss", "terms", "match")}
    return objective._replace(**of_gray)


def _choose_microbatch(pictures: Pictures) -> int:
    """Return how many lanes of the largest content image suit the device."""
    height, width = max((p.image.shape[:2] for p in pictures.contents), key=lambda shape: shape[0] * shape[1])
    device = jax.local_devices()[0]
    return default_microbatch(height * width, None if device.platform == "cpu" else device_memory(device).total)


def _make_transfer(settings: Settings, loss: Loss, optimizer: optax.GradientTransformation) -> Transfer:
    transfer = make_transfer(loss, optimizer)
    return transfer if settings.average is None else make_averaging(transfer, decay=settings.average)


def with_smaller_steps(job: Job, retry: int) -> Job:
    """Return the job for a retry: each retry has a tenth of the learning rate, or of the longest step of lbfgs."""
    factor = 0.1**retry
    choice = OPTIMIZERS[job.settings.optimizer]
    if choice.learning_rate is None:
        return job._replace(transfer=_make_transfer(job.settings, job.objective.loss, choice.make(factor)))
    return job._replace(lanes=[with_smaller_rate(lane, retry) for lane in job.lanes])


def with_smaller_rate(lane: LaneValues, retry: int) -> LaneValues:
    """Return a lane for a retry. Its learning rate, if it has one, is rounded to the digits that float32 holds."""
    if not retry or "learning_rate" not in lane:
        return lane
    return {**lane, "learning_rate": float(f"{lane['learning_rate'] * 0.1**retry:.7g}")}


def _fill_in(settings: Settings, device: Any) -> Settings:
    """Return the settings with all defaults, except those that depend on the pictures."""
    if settings.optimizer not in OPTIMIZERS:
        raise StartError(f"unknown optimizer {settings.optimizer!r}; valid: {', '.join(OPTIMIZERS)}")
    rate, given = OPTIMIZERS[settings.optimizer].learning_rate, settings.lanes["learning_rate"]
    if rate is None and given is not None:
        raise StartError(f"{settings.optimizer} finds its own step; --learning-rate is for --optimizer adam")
    if rate is not None and given is None:
        settings = settings.with_lanes(learning_rate=(rate,))
    dtype = settings.dtype
    if dtype == AUTO_DTYPE:
        dtype = fast_dtype(device) if settings.network == VGG19 else "float32"
    return replace(
        settings.with_lane_defaults(),
        dtype=dtype,
        weights=settings.weights or (default_set()[0] if settings.network == VGG19 else None),
    )


def _read_lanes(settings: Settings) -> list[LaneValues]:
    """Return the lanes of one pair of images: those of the grid file, combined with the lists of other settings."""
    of_file = read_grid(settings.grid) if settings.grid else [{}]
    lists = {name: values for name, values in settings.lanes.items() if isinstance(values, tuple)}
    if of_file[0].keys() & {"beta", "strength"}:  # They stand for the same, so that the file comes before either list.
        lists = {name: values for name, values in lists.items() if name not in ("beta", "strength")}
    of_lists = combine_values({name: values for name, values in lists.items() if name not in of_file[0]})
    combined = [one | other for one, other in product(of_file, of_lists)]
    if "strength" in combined[0]:
        if "beta" in combined[0]:
            raise StartError("a strength stands for a beta of its own for each pair of images: give one of the two")
        middle = weight_defaults(settings.convention, settings.style_loss).beta
        combined = [values | {"beta": middle} for values in combined]
    lanes = [{name: values[name] for name in LANE_SETTINGS if name in values} for values in combined]
    check_count(len(lanes))
    for number, lane in enumerate(lanes):
        if max(lane["alpha"], lane["beta"], lane["tv"]) < _LEAST_WEIGHT:
            of_lane = f" of lane {number}" if len(lanes) > 1 else ""
            raise StartError(f"alpha, beta and tv{of_lane} are all 0: one must be larger, or there is nothing to do")
        if "learning_rate" in lane and settings.lanes["learning_rate"] is None:
            raise StartError(f"the grid sets learning_rate, but {settings.optimizer} has none")
        _check_lengths(settings, lane)
    return lanes


def _check_lengths(settings: Settings, lane: LaneValues) -> None:
    """Raise StartError if a list has not exactly one weight for each of its names."""
    for name, setting in LANE_SETTINGS.items():
        names = getattr(settings, setting.one_for_each) if setting.one_for_each else ()
        if setting.one_for_each and name in lane and len(lane[name]) != len(names):
            what = setting.one_for_each.replace("_", " ")
            raise StartError(
                f"{len(lane[name])} weights of {what} for {len(names)} layers: give one each for {', '.join(names)}"
            )


def check_convention(convention: str, style_loss: str, style_layers: Sequence[str], content_loss: str) -> None:
    """Raise ValueError if the losses don't take the convention, which would show only when they are traced."""
    if convention == "mean":  # which all losses take
        return
    by_layer = statistics_by_layer(style_loss, style_layers)
    of_content = content_statistic(content_loss)

    def distances(f: jax.Array) -> list[jax.Array]:
        content = of_content.measure(f)
        found = [of_content.distance(content, content, convention=convention)]
        for statistic in dict.fromkeys(by_layer.values()):  # each once, however many layers it compares
            style = statistic.measure(f, None)
            found.append(statistic.distance(style, statistic.to_target(style), convention=convention))
        return found

    jax.eval_shape(distances, jax.ShapeDtypeStruct((4, 4, 8), "float32"))


def _check_mix(lanes: list[LaneValues], pictures: Pictures) -> list[LaneValues]:
    """Return the lanes with their style mix, or raise StartError if it does not fit the style images."""
    if "style_mix" not in lanes[0]:
        if pictures.content_masks and pictures.largest.blend and not pictures.largest.masks:
            # Each region has one style image, which it takes in full.
            return [{**lane, "style_mix": (1.0,) * len(pictures.content_masks)} for lane in lanes]
        return lanes
    given, images = len(lanes[0]["style_mix"]), 1 + len(pictures.largest.blend)
    if given != images:
        raise StartError(
            f"{given} weights of style images for {images}: give one for STYLE and one for each image of --blend"
        )
    return lanes
