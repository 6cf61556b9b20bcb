"""Options that commands share, and how they are read. Imports no jax, so that the command's help is quick."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxstyle.app.settings.lane_settings import LANE_SETTINGS, parse_integer, parse_number, parse_rate, parse_values
from jaxstyle.app.settings.settings import COLOURS, DEFAULT_SIZE, Settings
from jaxstyle.app.system.errors import StartError
from jaxstyle.common.file_kinds import describe_address
from jaxstyle.network.layers import CONTENT_LAYERS, DTYPES, PADDINGS, POOLINGS, STYLE_LAYERS, STYLE_LOSSES
from jaxstyle.objective.weight_defaults import default_style_loss, weight_defaults
from jaxstyle.optimise.presets import PRESETS
from jaxstyle.optimise.schedule import STEPS

_TUPLES = ("content_layers", "style_layers", "blend", "content_mask", "style_mask")


def as_argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A reader that raises StartError, as argparse wants it."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except StartError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


positive = as_argument(lambda text: parse_integer(text, 1, 10**6))
"""Reads a whole number above 0."""


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add --debug, which every command has."""
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and --debug, of a command about a run folder."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    add_debug(parser)


_OUTPUTS = ("out", "output", "best_to", "log_json")
_NO_NAMES = ("words", "coordinator")  # of files


def check_addresses(args: argparse.Namespace) -> None:
    """Raise StartError for an argument that is a URL: all names are of files and folders here."""
    for option, value in vars(args).items():
        for word in value if isinstance(value, list | tuple) else [value]:
            named = isinstance(word, str) and option not in _NO_NAMES
            if named and (address := describe_address(word, output=option in _OUTPUTS)):
                raise StartError(address)


def add_inputs(parser: argparse.ArgumentParser, *, many: bool, content: bool = True) -> None:
    """Add CONTENT and STYLE, each one image, or with `many` also a folder or a split of a dataset."""
    several = ", a folder (its images), or tfds:NAME/SPLIT" if many else ""
    if content:
        files = f"image file to restyle, - for stdin, or sample:portrait, temple, cat or coffee{several}"
        parser.add_argument("content", metavar="CONTENT", help=files)
    parser.add_argument(
        "style",
        metavar="STYLE",
        help=f"image file to take the style of, or sample:swirls, mosaic or woodcut{several}",
    )


def add_lane_options(parser: argparse.ArgumentParser, *, many: bool, content: bool = True) -> None:
    """Add what lanes may differ in: with `many` lists of values or ranges, without it one value each."""
    by_convention = "; larger or smaller for another --convention or --style-loss"
    defaults = weight_defaults("mean", default_style_loss("mean"))
    beta = " ".join(f"{beta:g}" for beta in defaults.betas) if many else f"{defaults.beta:g}"
    for name, what, default in (
        ("alpha", "content weight", "1"),
        ("beta", "style weight", beta + by_convention),
        ("tv", "total-variation weight, which smooths", f"{defaults.tv:g}{by_convention}"),
        ("learning_rate", "step size of adam", "0.03"),
        ("seed", "random seed of an --init with noise", "0"),
        (
            "style_layer_weights",
            "weights of the style layers, as 1,1,0.5,0,0",
            "falling for wasserstein, else equal; of sum 1",
        ),
        ("style_mix", "weights of STYLE and of each image of --blend, as 0.7,0.3", "equal, with sum 1"),
    ):
        if name == "alpha" and not content:
            continue
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            nargs="+" if many else 1,
            type=as_argument(partial(parse_values, name=name) if many else partial(_parse_one, name=name)),
            default=argparse.SUPPRESS,
            metavar="N" if name == "seed" else "X",
            help=f"{what} (default: {default})",
        )


def _parse_one(text: str, name: str) -> tuple[Any, ...]:
    values = parse_values(text, name)
    if len(values) != 1:
        raise StartError(f"{text!r} is more than one value")
    return values


def add_job_options(parser: argparse.ArgumentParser, *, content: bool = True) -> None:
    """Add the options that all lanes share, without `content` those that make sense without a content image."""

    def add(flag: str, help_text: str, *, needs_content: bool = False, **options: Any) -> None:
        if needs_content and not content:
            return
        parser.add_argument(flag, default=argparse.SUPPRESS, help=help_text, **options)

    add("--size", f"longest side in pixels; never scales up (default: {DEFAULT_SIZE})", type=positive, metavar="PX")
    add(
        "--style-scale",
        "longest side of style images, times --size: larger strokes above 1, finer ones below (default: 1)",
        type=as_argument(parse_rate),
        metavar="X",
    )
    add("--blend", "more style images, which each picture mixes with STYLE; see --style-mix", nargs="+", metavar="FILE")
    add(
        "--colour",
        "whose colours: style; content, by a transfer of luminance alone; or match, by matching the style image's "
        "colours to the content's beforehand (default: style)",
        choices=COLOURS,
        needs_content=True,
    )
    add(
        "--content-mask",
        "masks of regions of CONTENT, white where a region is: the first takes STYLE, each further one an image of "
        "--blend; what no mask covers takes none",
        nargs="+",
        metavar="FILE",
        needs_content=True,
    )
    add(
        "--style-mask",
        "with --content-mask: masks of STYLE, one a region, and then of each image of --blend, for what a region takes",
        nargs="+",
        metavar="FILE",
        needs_content=True,
    )
    add("--steps", f"optimisation steps at full size (default: {STEPS})", type=positive, metavar="N")
    add("--optimizer", "lbfgs, or adam, which keeps 3 images a lane instead of 15 (default: lbfgs)", metavar="NAME")
    add(
        "--average",
        "the picture is a moving average of the images after each step, with this decay, as 0.95 (default: none)",
        type=as_argument(_parse_decay),
        metavar="D",
    )
    add("--convention", "scaling of the losses: mean, gatys, johnson or relative (default: mean)", metavar="NAME")
    add("--content-layers", f"(default: {' '.join(CONTENT_LAYERS)})", nargs="+", metavar="LAYER", needs_content=True)
    add(
        "--preset",
        f"layers, losses, weights, start and optimizer of a well-known program: {', '.join(PRESETS)}; other options "
        "come before it",
        choices=PRESETS,
        metavar="NAME",
    )
    add("--style-layers", f"(default: {' '.join(STYLE_LAYERS)})", nargs="+", metavar="LAYER")
    add(
        "--style-loss",
        f"how styles are compared: {', '.join(STYLE_LOSSES)} (default: wasserstein; gram, if "
        "--convention is one of Gram matrices, gatys or johnson)",
        choices=STYLE_LOSSES,
        metavar="NAME",
    )
    add("--pooling", f"{', '.join(POOLINGS)} (default: max)", choices=POOLINGS, metavar="NAME")
    add(
        "--padding",
        "of convolutions: replicate, the nearest pixel, which leaves no frame, or zero (default: replicate)",
        choices=PADDINGS,
    )
    add("--dtype", "precision of the network (default: float32); bfloat16 is for TPUs and GPUs", choices=DTYPES)
    add(
        "--init",
        f"image to start from: {'content; ' * content}noise; style; gray; statistics, noise with the colours of STYLE; "
        f"or a file (default: {'content' if content else 'noise'})",
        metavar="NAME",
    )
    add(
        "--microbatch", "lanes computed at once, which sets the memory (default: by device)", type=positive, metavar="N"
    )
    add("--background", "colour behind what is transparent, as white or #808080 (default: white)", metavar="COLOUR")
    add("--max-pixels", "refuse images of more (default: what is safe)", type=as_argument(_parse_pixels), metavar="N")
    add(
        "--weights",
        "a set that jaxstyle weights list shows, random:SEED, or a .safetensors file (default: vgg19-oxford if it has "
        "been fetched, else bundled)",
        metavar="SET",
    )
    add_debug(parser)


def _parse_pixels(text: str) -> int:
    return parse_integer(text, 1, 2**40)


def _parse_decay(text: str) -> float:
    value = parse_number(text)
    if not 0 <= value < 1:
        raise StartError(f"{text} is not from 0 to below 1")
    return value


def read_settings(args: argparse.Namespace) -> Settings:
    """The settings that the arguments ask for."""
    given = {name: value for name, value in vars(args).items() if name in Settings.__dataclass_fields__}
    for name in _TUPLES:
        if name in given:
            given[name] = tuple(given[name])
    for name in LANE_SETTINGS:
        if name in given:
            given[name] = tuple(value for values in given[name] for value in values)
    given = {**_of_preset(given), **given}
    return Settings(**{"style_loss": default_style_loss(given.get("convention", Settings.convention)), **given})


def _of_preset(given: dict[str, Any]) -> dict[str, Any]:
    """What --preset sets, if it is given; without numbers that mean nothing beside what else is given."""
    if given.get("preset") is None:
        return {}
    preset = PRESETS[given["preset"]]
    names = ("convention", "content_layers", "style_layers", "style_loss", "pooling", "padding", "optimizer")
    names += ("min_size", "average")
    found: dict[str, Any] = {name: getattr(preset, name) for name in names} | {"init": preset.start}
    for name in ("alpha", "beta", "tv", "style_layer_weights"):
        if getattr(preset, name) is not None:
            found[name] = (getattr(preset, name),)
    other = {name for name, value in found.items() if given.get(name, value) != value}
    if other & {"convention", "style_loss"}:
        found = {name: value for name, value in found.items() if name not in ("alpha", "beta", "tv")}
    if "style_layers" in other:
        del found["style_layer_weights"]
    return found
