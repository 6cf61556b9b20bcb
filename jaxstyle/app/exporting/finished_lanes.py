"""Reads what exports hold of each lane of a finished run."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstyle.app.run_folder.stored_run import StoredRun, read_stored_run, to_number
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.system.errors import RunError
from jaxstyle.app.system.screen import command_for


class FinishedLane(NamedTuple):
    """A lane of a finished run.

    Attributes:
      number: number of the lane, from 0.
      settings: {name: value}, and as "content" and "style" the files of its images.
      steps: (steps,) whole numbers: the steps that the lane took, from 0.
      losses: {name of `LOSSES`: (steps,) the loss after that step, or NaN}.
      values: {name of a loss, layer or metric: number of the final picture}, without those that are no number.
      picture: the file of its picture; None if there is none.
      inputs: the files of its content and its style image, as the run used them; None for one that isn't there.
      ok: whether it ended well.
      reason: why it stopped early; "" if it took all its steps.
    """

    number: int
    settings: dict[str, float | str]
    steps: np.ndarray
    losses: dict[str, np.ndarray]
    values: dict[str, float]
    picture: Path | None
    inputs: tuple[Path | None, Path | None]
    ok: bool
    reason: str

    @property
    def name(self) -> str:
        """The lane's name, such as lane_0003."""
        return f"lane_{self.number:04d}"

    @property
    def whole(self) -> bool:
        """Whether it ended well, and has its picture, content and style image."""
        return self.ok and None not in (self.picture, *self.inputs)


def read_finished_lanes(folder: Path) -> list[FinishedLane]:
    """Read the lanes of a finished run.

    Raises:
      StartError: if it isn't a run folder, or one of its files is damaged.
      RunError: if the run has not finished.
    """
    run = read_stored_run(folder)
    if not run.finished:
        raise RunError(f"the run in {folder} has not finished; {command_for('resume', folder)} goes on")
    return [_read_lane(run, i) for i in range(len(run.lanes))]


def _read_lane(run: StoredRun, index: int) -> FinishedLane:
    lane = run.lanes[index]
    files = {kind: str(run.inputs(kind)[getattr(lane, kind)]["file"]) for kind in ("content", "style")}
    of_lane = run.history.lanes == lane.number
    losses = {name: run.history.losses[name][of_lane].reshape(-1) for name in LOSSES} if of_lane.any() else {}
    taken = ~np.isnan([*losses.values()]).all(axis=0) if losses else np.zeros(len(run.history.steps), bool)
    names = (f"lane_{lane.number:04d}", f"content_{lane.content:04d}", f"style_{lane.style:04d}")
    found = [run.picture(f"images/{name}.png") for name in names]
    picture, content, style = (run.folder / file if file else None for file in found)
    return FinishedLane(
        number=lane.number,
        settings={**files, **{name: _typed(name, text) for name, text in lane.settings.items()}},
        steps=run.history.steps[taken].astype(int),
        losses={name: values[taken] for name, values in losses.items()},
        values={name: value for name, value in lane.values.items() if math.isfinite(value)},
        picture=picture,
        inputs=(content, style),
        ok=lane.status == "ok",
        reason=lane.reason,
    )


def _typed(name: str, text: str) -> float | str:
    value = to_number(text)
    if name == "seed" and text.isdecimal():
        return int(text)
    return text if math.isnan(value) else value
