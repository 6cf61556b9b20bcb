"""Single values of settings, read from text or from TOML and checked: numbers, whole numbers, lists of weights.

Each function returns the value or raises a StartError of one line that says what is wrong with it. The module imports
neither jax nor NumPy, so that the command's help is quick.
"""

import math
import re
from numbers import Integral, Real
from typing import Any

from jaxstyle.app.system.errors import StartError

_FLOAT32_MAX = 3.4e38


def parse_number(value: Any) -> float:
    """Read a finite number."""
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
    """Read a number that is 0 or more and that float32 holds."""
    number = parse_number(value)
    if number < 0:
        raise StartError(f"{value} is negative")
    if number > _FLOAT32_MAX:
        raise StartError(f"{value} is larger than float32 holds")
    return number


def parse_rate(value: Any) -> float:
    """Read a number that is above 0 and that float32 holds."""
    number = parse_weight(value)
    if number == 0:
        raise StartError(f"{value} is not above 0")
    return number


def parse_fraction(value: Any) -> float:
    """Read a number that is 0 or more and below 1."""
    number = parse_number(value)
    if not 0 <= number < 1:
        raise StartError(f"{value} is not from 0 to below 1")
    return number


def parse_share(value: Any) -> float:
    """Read a number from 0 to 1."""
    number = parse_number(value)
    if not 0 <= number <= 1:
        raise StartError(f"{value} is not from 0 to 1")
    return number


def parse_least(value: Any, least: float = 0) -> float:
    """Read a finite number that is `least` or more."""
    number = parse_number(value)
    if number < least:
        raise StartError(f"{value} is below {least:g}")
    return number


def parse_integer(value: Any, low: int = 1, high: int = 10**6) -> int:
    """Read a whole number from `low` to `high`."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    is_text = isinstance(value, str) and value.strip().isdecimal() and len(value) < 20
    if not (is_integer or is_text) or not low <= int(value) <= high:
        raise StartError(f"{show(value)} is not a whole number from {low} to {high}")
    return int(value)


def parse_seed(value: Any) -> int:
    """Read a seed of random numbers."""
    return parse_integer(value, 0, 2**32 - 1)


def parse_weights(value: Any, each: str) -> tuple[float, ...]:
    """Read weights, one for `each` of something, from a list or from text with commas or spaces between them."""
    parts = [part for part in re.split(r"[\s,]+", value) if part] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts:
        raise StartError(f"{show(value)} is not a list of weights, one a {each}: [1, 1, 0] in TOML, else 1,1,0")
    return tuple(parse_weight(part) for part in parts)


def parse_network(text: str) -> str:
    """Read the name of a network: vgg19, alexnet, or MODULE:FUNCTION."""
    module, colon, function = text.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    if text not in ("vgg19", "alexnet") and not (colon and dotted and function.isidentifier()):
        raise StartError(f"{show(text)} is no network: give vgg19, alexnet, or MODULE:FUNCTION of Python code of yours")
    return text


def show(value: object) -> str:
    """Write a value as messages show it, shortened."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a huge number"
    return text if len(text) <= 60 else f"{text[:60]}..."
