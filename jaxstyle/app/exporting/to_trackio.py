"""Exports and logs to Trackio: into its own store, where `trackio show` finds it, as the project jaxstyle.

TRACKIO_DIR names another place of that store.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstyle.app.exporting.finished_lanes import FinishedLane
from jaxstyle.app.system.errors import StartError

PROJECT = "jaxstyle"


def export(lanes: Sequence[FinishedLane], name: str, *, overwrite: bool) -> None:
    """Write a run for each lane: settings as its config, losses by step, final numbers and the picture.

    Raises:
      StartError: if the project has one of these runs, unless `overwrite` removes it.
    """
    import trackio  # pyright: ignore[reportMissingImports]

    names = {f"{name}/{lane.name}" for lane in lanes}
    try:
        there = [run for run in trackio.Api().runs(PROJECT) if run.name in names]
    except ValueError:  # there is no such project yet
        there = []
    for run in there:
        if not overwrite:
            raise StartError(f"Trackio's project {PROJECT} has a run {run.name}; --overwrite replaces it")
        run.delete()
    for lane in lanes:
        with _started(f"{name}/{lane.name}", lane.settings, group=name) as run:
            for i, step in enumerate(lane.steps.tolist()):
                run.log({series: float(values[i]) for series, values in lane.losses.items()}, step=step)
            final: dict[str, Any] = {f"final/{series}": value for series, value in lane.values.items()}
            if lane.picture:
                final["picture"] = trackio.Image(lane.picture)
            run.log(final, step=len(lane.steps) and int(lane.steps[-1]))


@contextlib.contextmanager
def log(name: str, options: Mapping[str, Any], folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Log a run that goes on, as one run; a resumed run is logged as another one of the same name."""
    del folder
    with _started(name, options) as run:
        yield lambda step, values: run.log(dict(values), step=step)


@contextlib.contextmanager
def _started(name: str, config: Mapping[str, Any], **rest: Any) -> Iterator[Any]:
    import trackio  # pyright: ignore[reportMissingImports]

    quiet = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how its dashboard is started
        run = trackio.init(PROJECT, name, config=dict(config), **quiet, **rest)
    try:
        yield run
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            trackio.finish()
