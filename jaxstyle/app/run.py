"""What a run writes when it is done, images/, history.csv, lanes.csv, sheet.png, report.html; and reading it back."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxstyle
from jaxstyle.app.checkpoint import has_checkpoints
from jaxstyle.app.data import Picture
from jaxstyle.app.encode import encode_png, to_image
from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.files import explain, write_atomic
from jaxstyle.app.images import read_image
from jaxstyle.app.job import Job
from jaxstyle.app.lane_settings import Row
from jaxstyle.app.outcome import Outcome
from jaxstyle.app.record import describe_inputs, layer_columns, setting_columns
from jaxstyle.app.recorded import LOSSES, read_table
from jaxstyle.app.report import write_report
from jaxstyle.app.sheet import Tile, make_sheet
from jaxstyle.app.texts import read_text
from jaxstyle.file_kinds import describe_address

_HISTORY_COLUMNS = ("lane", "step", *LOSSES)


class Run(NamedTuple):
    """A finished run folder, read back.

    Attributes:
      settings: contents of run.json.
      lanes: rows of lanes.csv, numbers as float.
      history: columns of history.csv, {name: (rows,)}.
      images: (lanes, h, w, 3) float32 in [0, 1], to 8 bits; a list of (h, w, 3) where sizes differ.
    """

    settings: dict[str, Any]
    lanes: list[dict[str, float | str]]
    history: dict[str, np.ndarray]
    images: np.ndarray | list[np.ndarray]


def write_run(folder: Path, job: Job, outcome: Outcome, judged: Mapping[str, np.ndarray]) -> None:
    """Write the images, the tables, the sheet and the report of a run."""
    try:
        (folder / "images").mkdir(exist_ok=True)
    except OSError as error:
        raise explain(error, f"cannot make {folder / 'images'}") from error
    for kind, pictures in job.pictures.by_kind().items():
        for entry, input_ in zip(describe_inputs(kind, pictures), pictures, strict=True):
            write_atomic(folder / str(entry["image"]), encode_png(to_image(input_.image), {}))
    for i, (row, image) in enumerate(zip(job.rows, outcome.images, strict=True)):
        write_atomic(folder / image_name(i), encode_png(to_image(image), picture_text(job, row)))
    write_atomic(folder / "history.csv", _history_table(outcome))
    write_atomic(folder / "lanes.csv", _lanes_table(job, outcome, judged))
    write_atomic(folder / "sheet.png", encode_png(_sheet(job, outcome), {}))
    write_report(folder)


def image_name(lane: int) -> str:
    """Path of a lane's picture in the run folder."""
    return f"images/lane_{lane:04d}.png"


def picture_text(job: Job, row: Row) -> dict[str, str]:
    """What a PNG file of a lane holds as text: its settings."""
    settings = dataclasses.asdict(job.settings) | row
    # Names of files, and not where they lie.
    settings |= {kind: [picture.name for picture in pictures] for kind, pictures in job.pictures.by_kind().items()}
    settings |= {kind: settings[kind][row[kind]] for kind in ("content", "style")}
    if "start" in settings:
        (settings["init"],) = settings.pop("start")
    settings |= {"weights": job.weights.name, "weights_sha256": job.weights.sha256}
    return {"Software": f"jaxstyle {jaxstyle.__version__}", "jaxstyle": json.dumps(settings)}


def _lanes_table(job: Job, outcome: Outcome, judged: Mapping[str, np.ndarray]) -> bytes:
    columns = [*setting_columns(job.rows), *LOSSES, *layer_columns(job), *judged]
    by_layer = (outcome.layers.style[layer] for layer in job.settings.style_layers)
    values = [*outcome.final, *by_layer, *judged.values()]
    table = []
    ends = zip(job.rows, outcome.ok, outcome.steps, outcome.retries, strict=True)
    for i, (row, ok, *counts) in enumerate(ends):
        settings = [_setting(row[name]) for name in setting_columns(job.rows)]
        numbers = (_number(column[i]) for column in values)
        status = ("ok" if ok else "failed", outcome.reason(i))
        table.append([i, row["content"], row["style"], *settings, *numbers, *counts, *status])
    return _csv(("lane", "content", "style", *columns, "steps", "retries", "status", "reason"), table)


def _setting(value: float | int | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{x:g}" for x in value)
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _history_table(outcome: Outcome) -> bytes:
    """The losses of each lane up to the step at which it stopped."""
    table = (
        [lane, step, *(_number(leaf[lane, step]) for leaf in outcome.history)]
        for lane, last in enumerate(outcome.steps)
        for step in range(last + 1)
    )
    return _csv(_HISTORY_COLUMNS, table)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _number(value: jax.typing.ArrayLike) -> str:
    return f"{np.asarray(value).item():.7g}"


def _sheet(job: Job, outcome: Outcome) -> Any:
    def names_of(kind: str, pictures: Sequence[Picture]) -> list[str]:
        return [kind] if len(pictures) == 1 else [f"{kind} {picture.name}" for picture in pictures]

    inputs = job.pictures.by_kind()
    tiles = [
        Tile(to_image(picture.image), name)
        for kind, pictures in inputs.items()
        for picture, name in zip(pictures, names_of(kind, pictures), strict=True)
    ]
    columns = setting_columns(job.rows)
    varying = [key for key in columns if len({row[key] for row in job.rows}) > 1]
    many = [kind for kind in ("content", "style") if len(inputs[kind]) > 1]
    lanes = []
    for i, (row, image, ok) in enumerate(zip(job.rows, outcome.images, outcome.ok, strict=True)):
        title = [Path(inputs[kind][row[kind]].name).stem for kind in many]
        title += [f"{key.replace('_', ' ')} {_setting(row[key])}" for key in varying or ["beta"]]
        losses = f"content {outcome.final.content[i]:.3g}, style {outcome.final.style[i]:.3g}"
        lanes.append(Tile(to_image(image), ", ".join(title), losses if ok else "failed", failed=not ok))
    fixed = [f"{key} {_setting(job.rows[0][key])}" for key in ("alpha", "beta", "tv") if key not in varying]
    settings = job.settings
    steps = f"{max(outcome.steps)} steps of {settings.optimizer}"
    caption = ", ".join([*fixed, f"convention {settings.convention}", steps, job.weights.name])
    return make_sheet(tiles, lanes, caption)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a finished run folder.

    Args:
      path: the folder that `jaxstyle sweep` wrote.

    Raises:
      StartError: if it isn't a run folder, or a file of it is damaged.
      RunError: if the run has not finished.
    """
    if address := describe_address(os.fspath(path)):
        raise StartError(f"the run {address}")
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise StartError(f"{folder} is not a run folder: it has no run.json")
    if has_checkpoints(folder) or not (folder / "lanes.csv").is_file():
        raise RunError(f"the run in {folder} has not finished")
    try:
        settings = json.loads(read_text(folder / "run.json"))
        lanes = [_typed(row) for row in read_table(folder / "lanes.csv")]
        rows = read_table(folder / "history.csv")
        history = {name: np.array([float(row[name]) for row in rows]) for name in _HISTORY_COLUMNS}
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"the run in {folder} is damaged: {error}") from error
    images = [read_image(folder / image_name(i)) for i in range(len(lanes))]
    if len({image.shape for image in images}) == 1:
        images = np.stack(images)
    return Run(settings, lanes, history, images)


def _typed(row: Mapping[str, str]) -> dict[str, float | str]:
    return {name: _typed_value(value) for name, value in row.items()}


def _typed_value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
