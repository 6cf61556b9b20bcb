"""run.json, what a run was asked and by what it is computed; and whether a job is still that run."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import jaxstyle
from jaxstyle.app.execution.job import Job, load_job
from jaxstyle.app.execution.lane_metrics import COLUMNS as METRICS
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.read_image import STDIN, NothingPipedError
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.settings.lane_settings import LaneValues
from jaxstyle.app.settings.settings import Settings, from_options, to_options
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import write_atomic
from jaxstyle.app.system.screen import tell


def make_record(job: Job, command: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of a job, started by `command` in this folder with the options `run` beside its settings."""
    return {
        "jaxstyle": jaxstyle.__version__,
        "command": command,
        "directory": _directory(),
        "options": to_options(job.settings),
        "run": dict(run),
        "inputs": {kind: describe_inputs(kind, pictures) for kind, pictures in job.pictures.by_kind().items()},
        "skipped": job.pictures.skipped,
        "weights": {"name": job.weights.name, "sha256": job.weights.sha256},
        "lanes": len(job.lanes),
        "lanes_sha256": _hash_lanes(job.lanes),
        "columns": {
            "settings": setting_columns(job.lanes),
            "losses": LOSSES,
            "layers": layer_columns(job),
            "metrics": METRICS,
        },
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


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it has been removed, and whole names do without it
        return os.devnull


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json."""
    write_atomic(folder / "run.json", encode_record(record))


def encode_record(record: Mapping[str, Any]) -> bytes:
    """The bytes of run.json."""
    return (json.dumps(record, indent=2) + "\n").encode()


def describe_inputs(kind: str, pictures: Sequence[Picture]) -> list[dict[str, object]]:
    """What run.json says of pictures."""
    return [
        {
            "file": picture.name,
            "sha256": picture.sha256,
            "pixels_sha256": hashlib.sha256(picture.image.tobytes()).hexdigest(),
            "height": picture.image.shape[0],
            "width": picture.image.shape[1],
            "image": f"images/{kind}_{i:04d}.png",
        }
        for i, picture in enumerate(pictures)
    ]


def setting_columns(rows: Sequence[LaneValues]) -> list[str]:
    """The settings of lanes, as columns of lanes.csv."""
    return [name for name in rows[0] if name not in ("content", "style")]


def layer_columns(job: Job) -> list[str]:
    """The losses by layer, as columns of lanes.csv."""
    return [f"style_{layer}" for layer in job.settings.style_layers]


def _hash_lanes(rows: Sequence[LaneValues]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def load_again(folder: Path, record: Mapping[str, Any], command: str) -> Job:
    """The job of a run, for the command that goes on with it.

    Raises:
      StartError: as `load_job`, and for an image that has to be piped in again.
    """
    try:
        with _within(record):
            return load_job(recorded_settings(record))
    except NothingPipedError as error:
        raise StartError(
            f"cannot {command} {folder}: its {_piped_kind(record)} image came through a pipe; pipe the same one in "
            f"again: jaxstyle {command} {shlex.quote(str(folder))} < IMAGE"
        ) from error


def _piped_kind(record: Mapping[str, Any]) -> str | None:
    """What the image was, if there was one, that the run read from standard input."""
    options = record["options"]
    given = {"content": [options["content"]], "style": [options["style"]], "start": [options["init"]]}
    return next((kind for kind, names in {**given, "blend": options["blend"]}.items() if STDIN in names), None)


def _within(record: Mapping[str, Any]) -> contextlib.AbstractContextManager[None]:
    """In the directory that the run was started in, which names of images are relative to, if that is still there."""
    directory = record["directory"]
    return contextlib.chdir(directory) if Path(directory).is_dir() else contextlib.nullcontext()


def recorded_settings(record: Mapping[str, Any]) -> Settings:
    """The settings of a run.

    Raises:
      StartError: if another version of jaxstyle wrote the record.
    """
    try:
        return Settings(**from_options({name: _tuples(value) for name, value in record["options"].items()}))
    except (KeyError, TypeError) as error:
        raise StartError(
            f"the run was started by jaxstyle {record.get('jaxstyle')}, whose options differ from those of "
            f"{jaxstyle.__version__}: go on with that version"
        ) from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_options(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json of a record again if it is not as it was; refuse if its options are others now.

    Raises:
      StartError: which names the option.
    """
    file = folder / "run.json"
    wanted = encode_record(record)
    try:
        data = file.read_bytes()
        if data == wanted:
            return
        found = json.loads(data)
    except (OSError, ValueError):
        found = None
    found = found if isinstance(found, dict) else {}
    for kind in ("options", "run") if found else ():
        before = json.loads(wanted)[kind]
        now = found[kind] if isinstance(found.get(kind), dict) else {}
        for name in before.keys() | now.keys():
            if before.get(name) != now.get(name):
                raise StartError(
                    f"cannot resume {folder}: run.json says {name} {now.get(name)}, but the run was started with "
                    f"{before.get(name)}; put that back, or start another run"
                )
    tell(f"{file} is {'not as it was' if found else 'damaged or gone'}; it is written again")
    write_atomic(file, wanted)


def check_same_job(folder: Path, record: Mapping[str, Any], job: Job) -> None:
    """Refuse to go on with a run whose images, weights or lanes are not what they were.

    Raises:
      StartError: which names the first difference.
    """
    difference = _find_difference(record, job)
    if difference:
        advice = "pipe that one in" if "piped in" in difference else "put it back"
        raise StartError(f"cannot resume {folder}: {difference}; {advice}, or start another run")
    versions = make_record(job, "", {})
    for kind in ("versions", "device"):
        for name, now in versions[kind].items():
            before = record[kind].get(name)
            if now != before and name not in ("python", "pillow"):
                tell(f"note: {name} is {now} now and was {before}: results are the same to rounding only")


def _find_difference(record: Mapping[str, Any], job: Job) -> str | None:
    for kind, pictures in job.pictures.by_kind().items():
        before, now = record["inputs"].get(kind, []), describe_inputs(kind, pictures)
        names = [[str(one["file"]) for one in some] for some in (before, now)]
        if names[0] != names[1]:
            changed = sorted(set(names[0]) ^ set(names[1])) or ["their order"]
            return f"the {kind} images are not those it was started with ({', '.join(changed[:3])})"
        for old, new in zip(before, now, strict=True):
            if old["pixels_sha256"] != new["pixels_sha256"]:
                if _piped_kind(record) == kind:
                    return f"the {kind} image piped in is not the one that it was started with"
                return f"the {kind} image {old['file']} has changed since it was started"
    weights = record["weights"]
    if weights["sha256"] != job.weights.sha256:
        return f"the weights {weights['name']} have changed since it was started"
    if record["lanes_sha256"] != _hash_lanes(job.lanes):
        return f"the lanes of {record['options']['grid'] or 'its lists'} are not those it was started with"
    return None
