"""Reads a finished run folder back, as tables and arrays."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.checkpoints.checkpoints import has_checkpoints
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.app.run_folder.folder import image_name
from jaxstyle.app.run_folder.stored_run import no_run, read_table
from jaxstyle.app.settings.columns import HISTORY_COLUMNS
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.texts import read_text
from jaxstyle.common.file_kinds import describe_address


class Run(NamedTuple):
    """A finished run folder, read back.

    Attributes:
      settings: contents of run.json.
      lanes: {column of lanes.csv: value} of each lane, with numbers as float.
      history: {column of history.csv: array with an entry for each line}.
      images: (lanes, h, w, 3) float32 in [0, 1], in steps of 1/255; a list of (h, w, 3) where sizes differ.
    """

    settings: dict[str, Any]
    lanes: list[dict[str, float | str]]
    history: dict[str, np.ndarray]
    images: np.ndarray | list[np.ndarray]

    def to_pandas(self) -> tuple[Any, Any]:
        """Return the tables as data frames of pandas, with NaN where a cell has no number.

        Returns:
          The lanes, indexed by "lane", and the history, indexed by "lane" and "step".

        Raises:
          StartError: if pandas is not installed.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise StartError('to_pandas needs the package pandas: pip install "jaxstyle[pandas]"') from error
        numbers = {name for lane in self.lanes for name, value in lane.items() if isinstance(value, float)}
        lanes = [{n: math.nan if v == "" and n in numbers else v for n, v in lane.items()} for lane in self.lanes]
        history = pandas.DataFrame(self.history).astype({"lane": int, "step": int})
        return pandas.DataFrame(lanes).astype({"lane": int}).set_index("lane"), history.set_index(["lane", "step"])


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a finished run folder.

    Args:
      path: the folder that `jaxstyle sweep` wrote.

    Raises:
      StartError: if it isn't a run folder, or one of its files is damaged.
      RunError: if the run has not finished.
    """
    if address := describe_address(os.fspath(path)):
        raise StartError(f"the run {address}")
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise no_run(folder)
    if has_checkpoints(folder) or not (folder / "lanes.csv").is_file():
        raise RunError(f"the run in {folder} has not finished")
    try:
        settings = json.loads(read_text(folder / "run.json"))
        lanes = [_typed(lane) for lane in read_table(folder / "lanes.csv")]
        lines = read_table(folder / "history.csv")
        history = {name: np.array([float(line[name]) for line in lines]) for name in HISTORY_COLUMNS}
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"the run in {folder} is damaged: {error}") from error
    images = [read_image(folder / image_name(i)) for i in range(len(lanes))]
    if len({image.shape for image in images}) == 1:
        images = np.stack(images)
    return Run(settings, lanes, history, images)


def _typed(lane: Mapping[str, str]) -> dict[str, float | str]:
    return {name: _typed_value(value) for name, value in lane.items()}


def _typed_value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
