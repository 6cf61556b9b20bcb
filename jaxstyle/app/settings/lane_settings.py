"""The registry of lane settings: everything that the lanes of a sweep may differ in.

A new lane setting is one entry of `LANE_SETTINGS`. Options, grids, run.json, lanes.csv, PNG text and the report read
the registry. If the setting weighs a term of the objective, its entry also says where it acts; any other setting acts
where code reads it from a lane. The module imports neither jax nor NumPy, so that the command's help is quick.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from jaxstyle.app.settings.values import (
    parse_integer,
    parse_rate,
    parse_seed,
    parse_share,
    parse_weight,
    parse_weights,
    show,
)
from jaxstyle.app.system.errors import StartError
from jaxstyle.objective.weight_defaults import default_layer_weights, default_style_loss, weight_defaults

MAX_LANES = 1_000_000
AUTO = "auto"
"""The value of beta, in settings, where lanes have a strength instead."""

_AUTO_LANES = 5
_MOST_STRENGTHS = 1000
_RANGE = re.compile(r"([^:]+):([^:]+):([^:]+)")
_BY_CONVENTION = "; larger or smaller for another --convention or --style-loss"
_SHOWN = weight_defaults("mean", default_style_loss("mean"))
_SHOWN_BETAS = " ".join(f"{beta:g}" for beta in _SHOWN.betas)

LaneValues = dict[str, Any]
"""The settings of a lane by name: floats, whole numbers, or tuples of floats."""


class LaneSetting(NamedTuple):
    """A setting in which lanes may differ. Its name is its key in `LANE_SETTINGS`.

    Attributes:
      parse: checks a value, given as text or as TOML has it, and returns it as lanes hold it; or raises StartError.
      help: what the option's help says, without the default.
      metavar: what the option's help calls a value.
      default: values of the lanes if none are given; None if something else decides; a number that holds for all lanes,
        which then do not name it; or a function of the `Settings` that returns one of these.
      default_text: the default, as the help of a sweep shows it.
      single_default_text: the same for commands that make one picture, where it differs.
      scales: the value is a number above 0 whose ratios matter, so that a range LOW:HIGH:COUNT makes sense.
      refined: `refine` may give a setting that `scales` values that the sweep did not have.
      needs_content: the setting makes no sense without a content image.
      leaf: the leaf of `LossWeights` that takes the value; "" if none does.
      term: the term of the objective that the value weighs; all weights of one term are multiplied. "" if it weighs
        none.
      one_for_each: the field of `Settings` that holds names, for each of which the value has one weight; "" if there is
        no such field.
    """

    parse: Callable[[Any], Any]
    help: str = ""
    metavar: str = "X"
    default: Any = None
    default_text: str = ""
    single_default_text: str = ""
    scales: bool = False
    refined: bool = True
    needs_content: bool = False
    leaf: str = ""
    term: str = ""
    one_for_each: str = ""


def even_strengths(text: str) -> tuple[float, ...] | None:
    """Read auto or auto:K, which stands for K evenly spaced strengths; None for any other text.

    Raises:
      StartError: if K is not a whole number from 1 to 1000.
    """
    name, colon, count = text.strip().partition(":")
    if name != AUTO:
        return None
    lanes = parse_integer(count, 1, _MOST_STRENGTHS) if colon else _AUTO_LANES
    return (0.5,) if lanes == 1 else tuple(float(f"{i / (lanes - 1):.7g}") for i in range(lanes))


def _default_beta(settings: Any) -> tuple[float, ...] | str:
    by_strength = settings.lanes["strength"] is not None
    return AUTO if by_strength else weight_defaults(settings.convention, settings.style_loss).betas


def _default_tv(settings: Any) -> tuple[float, ...]:
    return (weight_defaults(settings.convention, settings.style_loss).tv,)


def _default_style_layer_weights(settings: Any) -> tuple[tuple[float, ...]] | None:
    weights = default_layer_weights(settings.convention, settings.style_loss, settings.style_layers)
    return None if weights is None else (weights,)


LANE_SETTINGS: dict[str, LaneSetting] = {
    "alpha": LaneSetting(
        parse_weight,
        "content weight",
        default=(1.0,),
        default_text="1",
        scales=True,
        needs_content=True,
        leaf="alpha",
        term="content",
    ),
    "beta": LaneSetting(
        parse_weight,
        "style weight; a sweep also takes auto:K, for K strengths that are even to the eye",
        default=_default_beta,
        default_text=f"auto:{_AUTO_LANES}; beside --alpha or --grid {_SHOWN_BETAS}{_BY_CONVENTION}",
        single_default_text=f"{_SHOWN.beta:g}{_BY_CONVENTION}",
        scales=True,
        leaf="beta",
        term="style",
    ),
    "strength": LaneSetting(
        parse_share,
        "strength of the style from 0, nearly the photograph, to 1, where it saturates; a short run of small pictures "
        "finds the style weight for each pair of images by itself",
        default_text="that of --beta",
        needs_content=True,
    ),
    "tv": LaneSetting(
        parse_weight,
        "total-variation weight, which smooths",
        default=_default_tv,
        default_text=f"{_SHOWN.tv:g}{_BY_CONVENTION}",
        scales=True,
        leaf="tv",
        term="tv",
    ),
    "learning_rate": LaneSetting(parse_rate, "step size of adam", default_text="0.03", scales=True),
    "seed": LaneSetting(parse_seed, "random seed of an --init with noise", metavar="N", default=(0,), default_text="0"),
    "style_layer_weights": LaneSetting(
        partial(parse_weights, each="layer"),
        "weights of the style layers, as 1,1,0.5,0,0",
        default=_default_style_layer_weights,
        default_text="falling for wasserstein, else equal; of sum 1",
        leaf="style_layers",
        term="style",
        one_for_each="style_layers",
    ),
    "content_layer_weights": LaneSetting(
        partial(parse_weights, each="layer"),
        "weights of the content layers, as 1,0.5",
        default_text="equal, with sum 1",
        needs_content=True,
        leaf="content_layers",
        term="content",
        one_for_each="content_layers",
    ),
    "style_mix": LaneSetting(
        partial(parse_weights, each="style image"),
        "weights of STYLE and of each image of --blend, as 0.7,0.3",
        default_text="equal, with sum 1",
        leaf="style_mix",
        term="style",
    ),
    "style_scale": LaneSetting(
        parse_rate,
        "longest side of style images, times --size: larger strokes above 1, finer ones below",
        default=1.0,
        default_text="1",
        scales=True,
        refined=False,  # the style images are read before the sweep
    ),
}
"""Every lane setting by its name, in the order of options and columns."""


def parse_values(text: str, name: str = "beta") -> tuple[Any, ...]:
    """Read the values of setting `name` that a text stands for: one value, or a logarithmic range.

    `0.1:100:4` is four values from 0.1 to 100, each the same multiple of the one before.

    Raises:
      StartError: if the setting is unknown, a value is wrong, or the text is no valid range.
    """
    setting = lane_setting(name)
    match = _RANGE.fullmatch(text)
    if match is None:
        return (setting.parse(text),)
    if not setting.scales:
        raise StartError(f"{show(text)}: {name} takes no range LOW:HIGH:COUNT; list its values")
    low, high = setting.parse(match[1]), setting.parse(match[2])
    count = parse_integer(match[3], 2, MAX_LANES)
    if not 0 < low < high:
        raise StartError(f"{text}: a range LOW:HIGH:COUNT needs 0 < LOW < HIGH")
    return tuple(between(low, high, i / (count - 1)) for i in range(count))


def lane_setting(name: str) -> LaneSetting:
    """Return the setting of that name, or raise a StartError that lists the valid names."""
    if name not in LANE_SETTINGS:
        raise StartError(f"unknown setting {show(name)}; valid: {', '.join(LANE_SETTINGS)}")
    return LANE_SETTINGS[name]


def setting_text(value: float | int | tuple[float, ...]) -> str:
    """Write a lane's value of a setting as lanes.csv holds it: the shortest text that is read as the same value."""
    if isinstance(value, tuple):
        return ",".join(map(setting_text, value))
    return str(value).removesuffix(".0")


def flag_of(name: str) -> str:
    """Return the command's option for a setting."""
    return f"--{name.replace('_', '-')}"


def between(low: float, high: float, fraction: float) -> float:
    """Return the number that lies this far from low to high by ratios, rounded to the digits that float32 holds.

    So 0.1:100:4 is exactly 0.1, 1, 10, 100.
    """
    return float(f"{low ** (1 - fraction) * high**fraction:.7g}")
