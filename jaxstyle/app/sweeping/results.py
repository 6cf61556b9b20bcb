"""Writes the results of a run that is done: images/, history.csv, lanes.csv, sheet.png and report.html."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxstyle
from jaxstyle.app.execution.job import Job
from jaxstyle.app.execution.outcome import Outcome
from jaxstyle.app.image_files.encode import encode_png, to_image
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.report.page import write_report
from jaxstyle.app.report.sheet import Tile, make_sheet
from jaxstyle.app.run_folder.folder import image_name
from jaxstyle.app.run_folder.run_json import describe_inputs, layer_columns, setting_columns
from jaxstyle.app.settings.columns import HISTORY_COLUMNS, LOSSES
from jaxstyle.app.settings.lane_settings import LaneValues, setting_text
from jaxstyle.app.settings.settings import to_options
from jaxstyle.app.system.files import explain, write_atomic


def write_run(folder: Path, job: Job, outcome: Outcome, metrics: Mapping[str, np.ndarray]) -> None:
    """Write the images, the tables, the sheet and the report of a run; `metrics` are {name: (lanes,)}."""
    try:
        (folder / "images").mkdir(exist_ok=True)
    except OSError as error:
        raise explain(error, f"cannot make {folder / 'images'}") from error
    for kind, pictures in job.pictures.by_kind().items():
        for entry, picture in zip(describe_inputs(kind, pictures), pictures, strict=True):
            write_atomic(folder / str(entry["image"]), encode_png(to_image(picture.image), {}))
    for number, (lane, image) in enumerate(zip(job.lanes, outcome.images, strict=True)):
        write_atomic(folder / image_name(number), encode_png(to_image(image), picture_text(job, lane)))
    write_atomic(folder / "history.csv", _history_table(outcome))
    write_atomic(folder / "lanes.csv", _lanes_table(job, outcome, metrics))
    write_atomic(folder / "sheet.png", encode_png(_sheet(job, outcome), {}))
    write_report(folder)


def picture_text(job: Job, lane: LaneValues) -> dict[str, str]:
    """Make the text that a lane's PNG file holds: its settings, and the version of jaxstyle."""
    settings = to_options(job.settings) | lane
    # Pictures go by the names of their files; their folders are left out.
    settings |= {kind: [picture.name for picture in pictures] for kind, pictures in job.pictures.by_kind().items()}
    settings |= {kind: settings[kind][lane[kind]] for kind in ("content", "style")}
    if "start" in settings:
        (settings["init"],) = settings.pop("start")
    settings |= {"weights": job.network.name, "weights_sha256": job.network.sha256}
    return {"Software": f"jaxstyle {jaxstyle.__version__}", "jaxstyle": json.dumps(settings)}


def _lanes_table(job: Job, outcome: Outcome, metrics: Mapping[str, np.ndarray]) -> bytes:
    columns = [*setting_columns(job.lanes), *LOSSES, *layer_columns(job), *metrics]
    by_layer = (outcome.layers.style[layer] for layer in job.settings.style_layers)
    values = [*outcome.final, *by_layer, *metrics.values()]
    table = []
    ends = zip(job.lanes, outcome.ok, outcome.steps, outcome.retries, strict=True)
    for i, (lane, ok, *counts) in enumerate(ends):
        settings = [setting_text(lane[name]) for name in setting_columns(job.lanes)]
        cells = (_number(column[i]) for column in values)
        status = ("ok" if ok else "failed", outcome.reason(i))
        table.append([i, lane["content"], lane["style"], *settings, *cells, *counts, *status])
    return _csv(("lane", "content", "style", *columns, "steps", "retries", "status", "reason"), table)


def _history_table(outcome: Outcome) -> bytes:
    """Encode the losses of each lane up to the step at which it stopped."""
    table = (
        [lane, step, *(_number(leaf[lane, step]) for leaf in outcome.history)]
        for lane, last in enumerate(outcome.steps)
        for step in range(last + 1)
    )
    return _csv(HISTORY_COLUMNS, table)


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
    columns = setting_columns(job.lanes)
    varying = [key for key in columns if len({lane[key] for lane in job.lanes}) > 1]
    many = [kind for kind in ("content", "style") if len(inputs[kind]) > 1]
    results = []
    for i, (lane, image, ok) in enumerate(zip(job.lanes, outcome.images, outcome.ok, strict=True)):
        title = [Path(inputs[kind][lane[kind]].name).stem for kind in many]
        title += [f"{key.replace('_', ' ')} {setting_text(lane[key])}" for key in varying or ["beta"]]
        losses = f"content {outcome.final.content[i]:.3g}, style {outcome.final.style[i]:.3g}"
        results.append(Tile(to_image(image), ", ".join(title), losses if ok else "failed", failed=not ok))
    fixed = [f"{key} {setting_text(job.lanes[0][key])}" for key in ("alpha", "beta", "tv") if key not in varying]
    settings = job.settings
    steps = f"{max(outcome.steps)} steps of {settings.optimizer}"
    caption = ", ".join([*fixed, f"convention {settings.convention}", steps, job.network.name])
    return make_sheet(tiles, results, caption)
