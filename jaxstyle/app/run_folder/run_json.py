"""Writes run.json, which says what a run was asked for and with what it is computed."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import jaxstyle
from jaxstyle.app.execution.job import Job
from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.settings.lane_settings import LaneValues
from jaxstyle.app.settings.settings import to_options
from jaxstyle.app.system.files import write_atomic
from jaxstyle.evaluate.metric_names import TABLE_METRICS


def make_record(job: Job, command: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """Make the contents of run.json.

    Args:
      job: the job.
      command: the command that started the run, in the present directory.
      run: the options of the run that are not among the job's settings (see `fixed_options`).
    """
    return {
        "jaxstyle": jaxstyle.__version__,
        "command": command,
        "directory": _directory(),
        "options": to_options(job.settings),
        "run": dict(run),
        "inputs": {kind: describe_inputs(kind, pictures) for kind, pictures in job.pictures.by_kind().items()},
        "skipped": job.pictures.skipped,
        "weights": {"name": job.network.name, "sha256": job.network.sha256},
        "lanes": len(job.lanes),
        "lanes_sha256": hash_lanes(job.lanes),
        "columns": {
            "settings": setting_columns(job.lanes),
            "losses": LOSSES,
            "layers": layer_columns(job),
            "metrics": TABLE_METRICS,
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
    except OSError:  # the directory has been removed; absolute paths work without it
        return os.devnull


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json."""
    write_atomic(folder / "run.json", encode_record(record))


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Encode the record as the bytes of run.json."""
    return (json.dumps(record, indent=2) + "\n").encode()


def describe_inputs(kind: str, pictures: Sequence[Picture]) -> list[dict[str, object]]:
    """Make the entries of run.json for the pictures of a kind, such as "content"."""
    return [
        {
            "file": picture.name,
            "source": picture.source,
            "sha256": picture.sha256,
            "pixels_sha256": hashlib.sha256(picture.image.tobytes()).hexdigest(),
            "height": picture.image.shape[0],
            "width": picture.image.shape[1],
            "image": f"images/{kind}_{i:04d}.png",
        }
        for i, picture in enumerate(pictures)
    ]


def setting_columns(lanes: Sequence[LaneValues]) -> list[str]:
    """Return the columns of lanes.csv that hold the lanes' settings."""
    return [name for name in lanes[0] if name not in ("content", "style")]


def layer_columns(job: Job) -> list[str]:
    """Return the columns of lanes.csv that hold the style losses of single layers."""
    return [f"style_{layer}" for layer in job.settings.style_layers]


def hash_lanes(lanes: Sequence[LaneValues]) -> str:
    """Return the SHA-256 of the settings of all lanes."""
    return hashlib.sha256(json.dumps(lanes, sort_keys=True).encode()).hexdigest()
