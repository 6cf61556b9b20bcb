"""Reads a run folder, finished or not: its record, its lanes and the history of their losses. It needs no jax."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.screen import command_for
from jaxstyle.app.system.texts import check_commas, read_text

SHARDS = "shards"
"""The folder of a run's shards, until they are merged."""


class Lane(NamedTuple):
    """A row of lanes.csv.

    Attributes:
      number: number of the lane, from 0.
      content: index of its content image among the inputs.
      style: index of its style image among the inputs.
      settings: {name: value as it is written}.
      values: {name of a loss, layer or metric: number, or NaN if the run has none}.
      status: "ok", "failed" or "unfinished".
      reason: why the lane stopped early.
    """

    number: int
    content: int = 0
    style: int = 0
    settings: Mapping[str, str] = {}
    values: Mapping[str, float] = {}
    status: str = "unfinished"
    reason: str = ""


class History(NamedTuple):
    """Losses over the steps.

    Attributes:
      steps: (steps,) numbers of the steps.
      lanes: (lanes,) numbers of the lanes.
      losses: {name of `LOSSES`: (lanes, steps), or NaN where a lane has no loss}.
    """

    steps: np.ndarray
    lanes: np.ndarray
    losses: dict[str, np.ndarray]


class StoredRun(NamedTuple):
    """A run as its folder stores it, as far as it has come.

    Attributes:
      folder: the run folder.
      record: contents of run.json.
      lanes: the lanes, in order.
      history: losses over the steps.
      finished: whether every lane has come to its end.
    """

    folder: Path
    record: dict[str, Any]
    lanes: list[Lane]
    history: History
    finished: bool

    def columns(self, kind: str) -> list[str]:
        """Return the columns of lanes.csv of a kind: "settings", "losses", "layers" or "metrics"."""
        return [str(name) for name in (self.record.get("columns") or {}).get(kind, [])]

    def inputs(self, kind: str) -> list[dict[str, Any]]:
        """Return the entries of run.json for the images of a kind, such as "content"."""
        return list(self.record.get("inputs", {}).get(kind, []))

    def resume_command(self) -> str:
        """Return the command that goes on with the run."""
        return command_for("resume", self.folder)

    def picture(self, name: object) -> str | None:
        """Return `name` if it is a file within the folder, else None."""
        path = PurePosixPath(str(name or ""))
        if not path.name or path.is_absolute() or ".." in path.parts:
            return None
        try:
            file = (self.folder / path).resolve()
            return str(path) if file.is_file() and file.is_relative_to(self.folder.resolve()) else None
        except (OSError, ValueError):  # no file can have such a name
            return None


def no_run(folder: Path) -> StartError:
    """Make the error that a folder without run.json is no run folder; if it holds a run's shards, it says so."""
    return StartError(
        explain_shards(folder) if (folder / SHARDS).is_dir() else f"{folder} is not a run folder: it has no run.json"
    )


def explain_shards(folder: Path) -> str:
    """Return a clause that says what to do with a folder that holds a run's shards."""
    return f"{folder} holds shards of a run: {command_for('merge', folder)} joins them once all are done"


def read_stored_run(folder: Path) -> StoredRun:
    """Read a run folder; everything but run.json may be missing.

    Raises:
      StartError: if it isn't a run folder, or one of its files is damaged.
    """
    try:
        record = json.loads(read_text(folder / "run.json"))
        run = StoredRun(folder, record, [], History(np.zeros(0), np.zeros(0, int), {}), finished=False)
        names = [name for kind in ("losses", "layers", "metrics") for name in run.columns(kind)]
        known = [[str(one["file"]) for one in run.inputs(kind)] for kind in ("content", "style")]
        lanes = list(_lanes(folder / "lanes.csv", run.columns("settings"), names))
        if any(not 0 <= lane.content < len(known[0]) or not 0 <= lane.style < len(known[1]) for lane in lanes):
            raise ValueError("lanes.csv names an input that run.json does not have")
        history = _history(folder / "history.csv")
        expected = int(record.get("lanes", len(lanes)))
    except FileNotFoundError as error:
        raise no_run(folder) from error
    except OSError as error:
        raise explain(error, f"cannot read the run in {folder}") from error
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise StartError(f"the run in {folder} is damaged: {error}") from error
    finished = len(lanes) >= max(expected, 1) and all(lane.status in ("ok", "failed") for lane in lanes)
    if not lanes:
        drawn = {int(file.stem[5:]) for file in folder.glob("images/lane_*.png") if file.stem[5:].isdecimal()}
        lanes = [Lane(number) for number in sorted(drawn | set(history.lanes.tolist())) if all(known)]
    return run._replace(lanes=lanes, history=history, finished=finished)


def _lanes(file: Path, settings: list[str], values: list[str]) -> Iterator[Lane]:
    if not file.is_file():
        return
    for cells in read_table(file):
        lane = {name: text for name, text in cells.items() if name is not None and text is not None}
        if "lane" not in lane:
            raise ValueError("lanes.csv has no column lane, or a row without it")
        yield Lane(
            int(lane["lane"]),
            int(lane.get("content", 0)),
            int(lane.get("style", 0)),
            {name: lane[name] for name in settings if name in lane},
            {name: to_number(lane[name]) for name in values if name in lane},
            lane.get("status", "unfinished"),
            lane.get("reason", ""),
        )


def _history(file: Path) -> History:
    """Read the table of losses, without a last line that is cut off."""
    text = _read_csv(file) if file.is_file() else ""
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    columns = [_index(header, name) for name in ("lane", "step", *LOSSES)] if lines else []
    table = np.loadtxt(lines, delimiter=",", usecols=columns, ndmin=2) if lines else np.zeros((0, len(LOSSES) + 2))
    if not np.isfinite(table[:, :2]).all():
        raise ValueError("history.csv has a lane or step that is no number")
    lanes, lane = np.unique(table[:, 0].astype(int), return_inverse=True)
    steps, step = np.unique(table[:, 1], return_inverse=True)
    losses = {name: np.full((len(lanes), len(steps)), np.nan) for name in LOSSES}
    for i, name in enumerate(LOSSES):
        losses[name][lane, step] = np.where(np.isfinite(table[:, i + 2]), table[:, i + 2], np.nan)
    return History(steps, lanes, losses)


def _index(header: str, name: str) -> int:
    names = header.split(",")
    if name not in names:
        raise ValueError(f"history.csv has no column {name}")
    return names.index(name)


def read_table(file: Path) -> list[dict[str, str]]:
    """Read a CSV file with a header, as a dict for each line.

    Raises:
      OSError: if it can't be read.
      ValueError: if it is not text, or its cells are not separated by commas.
    """
    return list(csv.DictReader(io.StringIO(_read_csv(file))))


def _read_csv(file: Path) -> str:
    text = read_text(file)
    try:
        check_commas(text.partition("\n")[0])
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    return text


def to_number(text: str) -> float:
    """Return the number in a cell, or NaN if there is no finite one."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
