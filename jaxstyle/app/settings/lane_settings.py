"""What the lanes of a sweep may differ in: for each setting its name and how its values are checked and written.

What is wrong with a value is a StartError of one line. Imports neither jax nor NumPy, so that the command's help is
quick.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

from jaxstyle.app.system.errors import StartError

MAX_LANES = 1_000_000
_FLOAT32_MAX = 3.4e38
_RANGE = re.compile(r"([^:]+):([^:]+):([^:]+)")

LaneValues = dict[str, Any]
"""Settings of a lane: floats, whole numbers, or tuples of floats, by name."""


class LaneSetting(NamedTuple):
    """What a lane may set.

    Attributes:
      parse: checks a value, given as text or as TOML has it, and returns it as rows hold it; or raises StartError.
      scales: it is a number above 0 whose ratios matter, so that LOW:HIGH:COUNT and `refine` make sense of it.
    """

    parse: Callable[[Any], Any]
    scales: bool = False


def parse_number(value: Any) -> float:
    """A finite number from text or a number, or StartError."""
    if isinstance(value, bool) or not isinstance(value, str | Real):
        raise StartError(f"{show(value)} is not a number")
    try:
        number = float(value)
    except ValueError:
        raise StartError(f"{show(value)} is not a number") from None
    except OverflowError:  # a whole number
        raise StartError(f"{show(value)} is larger than float32 holds") from None
    if not math.isfinite(number):
        raise StartError(f"{show(value)} is not a finite number")
    return number


def parse_weight(value: Any) -> float:
    """A number that is 0 or more and within float32, or StartError."""
    number = parse_number(value)
    if number < 0:
        raise StartError(f"{value} is negative")
    if number > _FLOAT32_MAX:
        raise StartError(f"{value} is larger than float32 holds")
    return number


def parse_rate(value: Any) -> float:
    """A number above 0 and within float32, or StartError."""
    number = parse_weight(value)
    if number == 0:
        raise StartError(f"{value} is not above 0")
    return number


def parse_integer(value: Any, low: int, high: int) -> int:
    """A whole number from `low` to `high` from text or a number, or StartError."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    is_text = isinstance(value, str) and value.strip().isdecimal() and len(value) < 20
    if not (is_integer or is_text) or not low <= int(value) <= high:
        raise StartError(f"{show(value)} is not a whole number from {low} to {high}")
    return int(value)


def parse_seed(value: Any) -> int:
    """A seed of random numbers, or StartError."""
    return parse_integer(value, 0, 2**32 - 1)


def parse_weights(value: Any, each: str) -> tuple[float, ...]:
    """Weights, one for `each` of something, from a list or from text between commas or spaces; or StartError."""
    parts = [part for part in re.split(r"[\s,]+", value) if part] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise StartError(f"{show(value)} is not a list of weights, one a {each}: [1, 1, 0] in TOML, else 1,1,0")
    return tuple(parse_weight(part) for part in parts)


LANE_SETTINGS: dict[str, LaneSetting] = {
    "alpha": LaneSetting(parse_weight, scales=True),
    "beta": LaneSetting(parse_weight, scales=True),
    "tv": LaneSetting(parse_weight, scales=True),
    "learning_rate": LaneSetting(parse_rate, scales=True),
    "seed": LaneSetting(parse_seed),
    "style_layer_weights": LaneSetting(partial(parse_weights, each="layer")),
    "style_mix": LaneSetting(partial(parse_weights, each="style image")),
}
"""What a lane may set, by name: a new setting is one line here."""


def parse_values(text: str, name: str = "beta") -> tuple[Any, ...]:
    """The values of setting `name` that a text stands for: one, or a logarithmic range.

    `0.1:100:4` is four values from 0.1 to 100, each the same multiple of the one before.

    Raises:
      StartError: for an unknown setting, a value that isn't one of it, or a range that is none.
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
    """The setting of that name, or StartError that lists the valid ones."""
    if name not in LANE_SETTINGS:
        raise StartError(f"unknown setting {show(name)}; valid: {', '.join(LANE_SETTINGS)}")
    return LANE_SETTINGS[name]


def show(value: object) -> str:
    """A value as a message shows it, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."


def between(low: float, high: float, fraction: float) -> float:
    """A value on the way from low to high by ratios, rounded to what float32 holds: 0.1:100:4 is 0.1, 1, 10, 100."""
    return float(f"{low ** (1 - fraction) * high**fraction:.7g}")
