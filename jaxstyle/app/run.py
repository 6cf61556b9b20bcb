"""The run folder: run.json, lanes.csv, history.csv, images/, sheet.png; and single pictures."""

import contextlib
import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import jax
import numpy as np

import jaxstyle
from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.files import explain, write_atomic
from jaxstyle.app.images import encode_png, read_image, to_image
from jaxstyle.app.job import Job, Outcome
from jaxstyle.app.sheet import Tile, make_sheet

_LOCK = ".lock"
_TABLES = ("lanes.csv", "history.csv", "sheet.png")
_LANE_COLUMNS = ("lane", "alpha", "beta", "tv", "seed", "content_loss", "style_loss", "tv_loss", "total", "status")
_HISTORY_COLUMNS = ("lane", "step", "content", "style", "tv", "total")


class Run(NamedTuple):
    """A finished run folder, read back.

    Attributes:
      settings: contents of run.json.
      lanes: rows of lanes.csv, numbers as float.
      history: columns of history.csv, {name: (rows,)}.
      images: (lanes, h, w, 3) float32 in [0, 1], to 8 bits.
    """

    settings: dict[str, Any]
    lanes: list[dict[str, float | str]]
    history: dict[str, np.ndarray]
    images: np.ndarray


@contextlib.contextmanager
def create_run(path: str | None, *, overwrite: bool) -> Iterator[Path]:
    """Make an empty run folder, a new numbered one under runs/ if `path` is None, and own it within the context.

    Raises:
      StartError: if another process owns it, it holds anything (but a run, with `overwrite`), or can't be made.
    """
    try:
        folder = _create_numbered(Path("runs")) if path is None else Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        is_run = (folder / "run.json").exists()
        if not is_run and any(file.name != _LOCK for file in folder.iterdir()):
            raise StartError(f"{folder} is not empty and is not a run folder; give another one with --out")
        if is_run and not overwrite:
            raise StartError(f"{folder} holds another run; give another folder with --out, or --overwrite")
        # The system lets go of the lock when the process ends, however it ends.
        lock = filelock.FileLock(folder / _LOCK).acquire(blocking=False)
    except filelock.Timeout as error:
        raise StartError(f"another process is writing to {path}; wait for it, or give another folder") from error
    except OSError as error:
        raise explain(error, f"cannot make the run folder {path or 'runs'}") from error
    with lock:
        if is_run:
            _remove_run(folder)
        yield folder


def _create_numbered(parent: Path) -> Path:
    parent.mkdir(exist_ok=True)
    number = max((int(p.name) for p in parent.iterdir() if p.name.isdecimal()), default=0) + 1
    while True:  # another process may take the number first
        try:
            folder = parent / f"{number:04d}"
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _remove_run(folder: Path) -> None:
    """Remove the files of a run, run.json last, and nothing else."""
    try:
        for file in [*(folder / "images").glob("lane_*.png"), *(folder / name for name in _TABLES)]:
            file.unlink(missing_ok=True)
        (folder / "run.json").unlink()
    except OSError as error:
        raise explain(error, f"cannot overwrite the run in {folder}") from error


def write_record(folder: Path, job: Job) -> None:
    """Write run.json: what was asked, resolved, and by what it is computed."""
    record = {
        "jaxstyle": jaxstyle.__version__,
        "options": dataclasses.asdict(job.settings),
        "inputs": job.inputs,
        "weights": {"name": job.weights.name, "sha256": job.weights.sha256},
        "lanes": len(lane_rows(job)),
        "versions": {
            "python": platform.python_version(),
            **{
                name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
            },
        },
        "device": {
            "platform": jax.default_backend(),
            "kind": jax.devices()[0].device_kind,
            "count": len(jax.devices()),
        },
    }
    write_atomic(folder / "run.json", (json.dumps(record, indent=2) + "\n").encode())


def lane_rows(job: Job) -> list[dict[str, float]]:
    """The setting of every lane: {"alpha", "beta", "tv", "seed"}."""
    leaves = [np.asarray(leaf) for leaf in (job.grid.alpha, job.grid.beta, job.grid.tv)]
    return [
        {"alpha": float(str(a)), "beta": float(str(b)), "tv": float(str(t)), "seed": job.settings.seed}
        for a, b, t in zip(*leaves, strict=True)
    ]


def write_run(folder: Path, job: Job, outcome: Outcome) -> None:
    """Write the images, the tables and the sheet of a run."""
    try:
        (folder / "images").mkdir(exist_ok=True)
    except OSError as error:
        raise explain(error, f"cannot make {folder / 'images'}") from error
    rows = lane_rows(job)
    for i, (row, image) in enumerate(zip(rows, outcome.images, strict=True)):
        write_atomic(folder / image_name(i), picture(job, row, image))
    write_atomic(folder / "lanes.csv", _lanes_table(rows, outcome))
    write_atomic(folder / "history.csv", _history_table(outcome))
    write_atomic(folder / "sheet.png", encode_png(_sheet(job, rows, outcome), {}))


def image_name(lane: int) -> str:
    """Path of a lane's picture in the run folder."""
    return f"images/lane_{lane:04d}.png"


def picture(job: Job, row: Mapping[str, float], image: np.ndarray) -> bytes:
    """PNG file of a lane, which holds its setting as text."""
    settings = dataclasses.asdict(job.settings) | dict(row)
    settings |= {"content": job.inputs["content"]["file"], "style": job.inputs["style"]["file"]}
    settings |= {"weights": job.weights.name, "weights_sha256": job.weights.sha256}
    return encode_png(
        to_image(image), {"Software": f"jaxstyle {jaxstyle.__version__}", "jaxstyle": json.dumps(settings)}
    )


def _lanes_table(rows: Sequence[Mapping[str, float]], outcome: Outcome) -> bytes:
    final = [leaf[:, -1] for leaf in outcome.history]
    table = [
        [i, *(_number(v) for v in row.values()), *(_number(x[i]) for x in final), "ok" if outcome.ok[i] else "failed"]
        for i, row in enumerate(rows)
    ]
    return _csv(_LANE_COLUMNS, table)


def _history_table(outcome: Outcome) -> bytes:
    lanes, steps = outcome.history.total.shape
    table = (
        [lane, step, *(_number(leaf[lane, step]) for leaf in outcome.history)]
        for lane in range(lanes)
        for step in range(steps)
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


def _sheet(job: Job, rows: Sequence[Mapping[str, float]], outcome: Outcome) -> Any:
    inputs = [Tile(to_image(job.content), "content"), Tile(to_image(job.style), "style")]
    varying = [key for key in ("alpha", "beta", "tv") if len({row[key] for row in rows}) > 1] or ["beta"]
    lanes = [
        Tile(
            to_image(image),
            ", ".join(f"{key} {row[key]:g}" for key in varying),
            f"content {outcome.history.content[i, -1]:.3g}, style {outcome.history.style[i, -1]:.3g}"
            if ok
            else "failed",
            failed=not ok,
        )
        for i, (row, image, ok) in enumerate(zip(rows, outcome.images, outcome.ok, strict=True))
    ]
    fixed = [f"{key} {rows[0][key]:g}" for key in ("alpha", "beta", "tv") if key not in varying]
    settings = job.settings
    caption = ", ".join(
        [
            *fixed,
            f"convention {settings.convention}",
            f"{settings.steps} steps of {settings.optimizer}",
            job.weights.name,
        ]
    )
    return make_sheet(inputs, lanes, caption)


def load_run(path: str | os.PathLike[str]) -> Run:
    """Read a finished run folder.

    Args:
      path: the folder that `jaxstyle sweep` wrote.

    Raises:
      StartError: if it isn't a run folder, or a file of it is damaged.
      RunError: if the run has not finished.
    """
    folder = Path(path)
    if not (folder / "run.json").is_file():
        raise StartError(f"{folder} is not a run folder: it has no run.json")
    if not (folder / "sheet.png").is_file():  # the last file that a run writes
        raise RunError(f"the run in {folder} has not finished")
    try:
        settings = json.loads((folder / "run.json").read_text())
        lanes = [_typed(row) for row in _read_csv(folder / "lanes.csv")]
        rows = _read_csv(folder / "history.csv")
        history = {name: np.array([float(row[name]) for row in rows]) for name in _HISTORY_COLUMNS}
    except (OSError, ValueError, KeyError) as error:
        raise StartError(f"the run in {folder} is damaged: {error}") from error
    images = np.stack([read_image(folder / image_name(i)) for i in range(len(lanes))])
    return Run(settings, lanes, history, images)


def _read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def _typed(row: Mapping[str, str]) -> dict[str, float | str]:
    return {name: value if name == "status" else float(value) for name, value in row.items()}
