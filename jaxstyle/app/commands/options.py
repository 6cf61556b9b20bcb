"""Options that commands share, and how they are read. It imports no jax, so that the command's help is quick."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from itertools import chain
from typing import Any

from jaxstyle.app.settings.grid_files import read_grid
from jaxstyle.app.settings.lane_settings import AUTO, LANE_SETTINGS, even_strengths, flag_of, parse_values
from jaxstyle.app.settings.settings import SHARED, Settings, from_options
from jaxstyle.app.settings.values import parse_integer
from jaxstyle.app.system.errors import StartError
from jaxstyle.common.file_kinds import describe_address
from jaxstyle.objective.weight_defaults import default_style_layers, default_style_loss
from jaxstyle.optimise.presets import PRESETS

GROUPS = {
    "what most people need": "beta strength size style-scale colour out output",
    "what to paint": "pair grid blend style-mix content-mask style-mask init seed background max-pixels",
    "weights and losses": "alpha tv preset convention content-loss style-loss content-layers style-layers "
    "content-layer-weights style-layer-weights network weights pooling padding",
    "picture": "steps min-size coarse-steps optimizer learning-rate average tolerance quality keep-profile "
    "keep-metadata",
    "run": "overwrite refine retry save-every checkpoint-every quiet log log-json open",
    "machine": "microbatch dtype shard distributed coordinator process",
}
"""The groups in which the help of sweep, transfer and texture shows options; what is in none of them comes last."""


def as_argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a parser that raises StartError into one that argparse can call."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except StartError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


positive = as_argument(parse_integer)
"""Read a whole number from 1 to a million, for argparse."""


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Add --debug, which every command has."""
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add RUN and --debug to a command about a run folder."""
    parser.add_argument("run", metavar="RUN", help="run folder")
    add_debug(parser)


_OUTPUTS = ("out", "output", "best_to", "log_json")
_NO_FILES = ("words", "coordinator")


def check_addresses(args: argparse.Namespace) -> None:
    """Raise StartError if an argument is a URL, for every name here is that of a file or folder."""
    for option, value in vars(args).items():
        for word in value if isinstance(value, list | tuple) else [value]:
            named = isinstance(word, str) and option not in _NO_FILES
            if named and (address := describe_address(word, output=option in _OUTPUTS)):
                raise StartError(address)


def add_network_again(parser: argparse.ArgumentParser) -> None:
    """Add --network, of a command that goes on with a run."""
    parser.add_argument(
        "--network",
        metavar="MODULE:FUNCTION",
        help="the network, again, of a run that was started with one of your own: a run folder alone imports no code",
    )


def add_inputs(parser: argparse.ArgumentParser, *, many: bool, content: bool = True) -> None:
    """Add CONTENT and STYLE. Each names one image; with `many`, it may also be a folder or a split of a dataset."""
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
    """Add an option for each lane setting, which takes one value; with `many`, it takes lists of values and ranges."""
    for name, setting in LANE_SETTINGS.items():
        if setting.needs_content and not content:
            continue
        default = setting.default_text if many else setting.single_default_text or setting.default_text
        parser.add_argument(
            flag_of(name),
            nargs="+" if many else 1,
            type=as_argument(partial(_parse_several if many else _parse_one, name=name)),
            default=argparse.SUPPRESS,
            metavar=setting.metavar,
            help=f"{setting.help} (default: {default})",
        )


def _parse_several(text: str, name: str) -> tuple[Any, ...]:
    """Read values, a range or, for beta, auto:K, which stays a text until all arguments are read."""
    return (text,) if name == "beta" and even_strengths(text) else parse_values(text, name)


def _parse_one(text: str, name: str) -> tuple[Any, ...]:
    values = parse_values(text, name)
    if len(values) != 1:
        raise StartError(f"{text!r} is more than one value")
    return values


def add_shared_options(parser: argparse.ArgumentParser, *, content: bool = True) -> None:
    """Add an option for each setting that all lanes share, without `content` only those that need no content image."""
    for name, option in SHARED.items():
        if option.needs_content and not content:
            continue
        how: dict[str, Any] = {"choices": option.choices, "metavar": option.metavar}
        if option.parse is not None:
            how["type"] = as_argument(option.parse)
        if option.many:
            how["nargs"] = "*" if option.may_be_none else "+"
        help_text = option.help if content else option.texture_help or option.help
        parser.add_argument(flag_of(name), default=argparse.SUPPRESS, help=help_text, **how)
    add_debug(parser)


def read_settings(args: argparse.Namespace) -> Settings:
    """Return the settings that the arguments ask for."""
    words = vars(args)
    given = {f.name: words[f.name] for f in fields(Settings) if f.name in words}
    given |= {name: tuple(given[name]) for name, option in SHARED.items() if option.many and name in given}
    given |= {name: tuple(chain.from_iterable(words[name])) for name in LANE_SETTINGS if name in words}
    _check_grid(given)
    given = _read_auto(given)
    given = {**_read_preset(given), **given}
    given = {"style_loss": default_style_loss(given.get("convention", Settings.convention)), **given}
    return Settings(**from_options({"style_layers": default_style_layers(given["style_loss"]), **given}))


def _check_grid(given: dict[str, Any]) -> None:
    """Raise StartError if the grid file sets what an option sets too, of which one would be left out."""
    if not given.get("grid"):
        return
    of_file = read_grid(given["grid"])[0].keys()
    both = [name for name in LANE_SETTINGS if name in given and name in of_file]
    if {"beta", "strength"} & of_file:  # either stands for the other
        both += [name for name in ("beta", "strength") if name in given and name not in of_file]
    if both:
        taken = f"leave {flag_of(both[0])} out, or that in the file"
        raise StartError(f"{given['grid']} sets {', '.join(of_file)}: {taken}")


def _read_auto(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options with the strengths that --beta auto:K stands for."""
    texts = [text for text in given.get("beta", ()) if isinstance(text, str)]
    if not texts:
        return given
    if len(given["beta"]) > 1 or "strength" in given:
        raise StartError(f"--beta {texts[0]} places all lanes by itself: give it alone, or --strength with a list")
    return given | {"beta": AUTO, "strength": even_strengths(texts[0])}


def _read_preset(given: dict[str, Any]) -> dict[str, Any]:
    """Return what --preset sets, if it is given, without the numbers that other options make meaningless."""
    if given.get("preset") is None:
        return {}
    preset = PRESETS[given["preset"]]
    names = ("convention", "content_layers", "style_layers", "content_loss", "style_loss", "pooling", "padding")
    names += ("optimizer", "min_size", "average")
    found: dict[str, Any] = {name: getattr(preset, name) for name in names} | {"init": preset.start}
    for name in LANE_SETTINGS:
        if getattr(preset, name, None) is not None:
            found[name] = (getattr(preset, name),)
    if preset.alphas:
        found["alpha"] = preset.alphas
    other = {name for name, value in found.items() if given.get(name, value) != value}
    if other & {"convention", "content_loss", "style_loss"}:
        found = {name: value for name, value in found.items() if name not in ("alpha", "beta", "tv")}
    if "strength" in given:
        found.pop("beta", None)
    if "style_layers" in other:
        del found["style_layer_weights"]
    return found
