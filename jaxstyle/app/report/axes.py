"""The axes of a sweep, which are the settings that vary over its lanes; and commands and grids that repeat lanes."""

import json
import math
import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxstyle.app.run_folder.stored_run import Lane, to_number
from jaxstyle.app.settings.lane_settings import LANE_SETTINGS, flag_of
from jaxstyle.app.settings.settings import SHARED, Settings
from jaxstyle.app.settings.values import parse_seed
from jaxstyle.app.system.screen import as_operand

_FIRST = ("strength", "beta")  # The setting that this program is about comes first.
_ALWAYS = ("size", "style_loss", "style_layers")  # The command of a lane gives these even at their defaults.
_LEFT_OUT = ("preset", "microbatch")  # What a preset sets is in the other options. Groups do not change pictures.


class Axis(NamedTuple):
    """A setting that varies, and its values as written, in increasing order."""

    name: str
    values: list[str]

    def rank(self, lane: Lane) -> int:
        """Return the place of the lane's value among the values."""
        return self.values.index(lane.settings[self.name])


def find_axes(lanes: Sequence[Lane], names: Iterable[str]) -> list[Axis]:
    """Return the settings that every lane has and that differ between lanes.

    Where lanes have strengths, these stand for their betas, which differ from pair to pair.
    """
    axes = []
    for name in sorted(names, key=lambda name: name not in _FIRST):
        if all(name in lane.settings for lane in lanes):
            values = sorted({lane.settings[name] for lane in lanes}, key=_order)
            if len(values) > 1:
                axes.append(Axis(name, values))
    by_strength = any(axis.name == "strength" for axis in axes)
    return [axis for axis in axes if axis.name != "beta" or not by_strength]


def _order(text: str) -> tuple[bool, float, str]:
    number = to_number(text)
    return (True, 0.0, text) if math.isnan(number) else (False, number, text)


def transfer_command(record: Mapping[str, Any], lane: Lane) -> str | None:
    """Return the command that makes a lane's picture alone; None if `jaxstyle transfer` lacks a setting of it."""
    if not lane.settings or not set(lane.settings) <= set(LANE_SETTINGS):
        return None
    settings = [word for name, value in given_settings(lane).items() for word in (flag_of(name), value)]
    words = [*inputs_of_lane(record, lane), *settings, *shared_options(record, lane.settings)]
    return shlex.join(["jaxstyle", "transfer", *words, "-o", f"lane_{lane.number:04d}.png"])


def given_settings(lane: Lane) -> dict[str, str]:
    """Return the settings that make a lane again: its beta stands for its strength, and needs no other search."""
    return {name: value for name, value in lane.settings.items() if name != "strength"}


def inputs_of_lane(record: Mapping[str, Any], lane: Lane) -> list[str]:
    """Return the arguments CONTENT and STYLE of a command that makes lanes of this pair of images alone."""
    inputs = record["inputs"]
    pair = (inputs["content"][lane.content], inputs["style"][lane.style])
    return [as_operand(str(one.get("source") or one["file"])) for one in pair]


def shared_options(record: Mapping[str, Any], settings: Container[str]) -> list[str]:
    """Return the options that all lanes of a run share, without those that are among the lanes' own `settings`."""
    options = record.get("options", {})
    words = []
    for name, value in options.items():
        if name == "min_size" and value is None:  # There is one size.
            value = options.get("size")
        if name not in settings and _is_repeated(name, value):
            words += [flag_of(name), *(_plain(value) if isinstance(value, list | tuple) else [str(value)])]
    return words


def sweep_options(record: Mapping[str, Any], settings: Container[str]) -> dict[str, str]:
    """Return the parts of a command that makes some lanes of a run again: all its inputs, and its shared options."""
    options = record.get("options", {})
    inputs = [as_operand(str(options[kind])) for kind in ("content", "style") if options.get(kind)]
    pair = ["--pair", str(options["pair"])] if options.get("pair", "all") != "all" else []
    return {"inputs": shlex.join([*inputs, *pair]), "options": shlex.join(shared_options(record, settings))}


def grid_table(lane: Lane) -> str | None:
    """Return a lane as the table [[lane]] of a grid file; None if a grid lacks a setting of it."""
    if not lane.settings or not set(lane.settings) <= set(LANE_SETTINGS):
        return None
    numbers = {name for name in lane.settings if LANE_SETTINGS[name].scales or LANE_SETTINGS[name].parse is parse_seed}
    given = given_settings(lane)
    lines = (f"{name} = {value if name in numbers else json.dumps(value)}" for name, value in given.items())
    return "\n".join(["[[lane]]", *lines, ""])


def _is_repeated(name: str, value: Any) -> bool:
    """Return whether the command of a lane repeats an option of its run that the lane itself does not set."""
    if value is None or name in _LEFT_OUT:
        return False
    if name in LANE_SETTINGS:  # A list of values belongs to the lanes.
        return not isinstance(value, list | tuple) and value != LANE_SETTINGS[name].default
    return name in SHARED and (name in _ALWAYS or _plain(value) != _plain(getattr(Settings, name)))


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, list | tuple) else value
