"""Exports and logs to Weights & Biases: a run a lane, on disk, which `wandb sync` uploads.

WANDB_MODE=online uploads at once; WANDB_PROJECT names the project, which is jaxstyle otherwise.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstyle.app.exporting.finished_lanes import FinishedLane


def export(lanes: Sequence[FinishedLane], name: str, place: Path) -> None:
    """Write a run for each lane: settings as its config, losses by step, final numbers as its summary, the picture."""
    import wandb  # pyright: ignore[reportMissingImports]

    place.mkdir()
    for lane in lanes:
        run = _start(f"{name}/{lane.name}", lane.settings, place, group=name)
        for i, step in enumerate(lane.steps.tolist()):
            run.log({series: values[i] for series, values in lane.losses.items()}, step=step)
        if lane.picture:
            run.log({"picture": wandb.Image(str(lane.picture))})
        run.summary.update({f"final/{series}": value for series, value in lane.values.items()})
        run.finish(exit_code=int(not lane.ok))
    wandb.teardown()  # Every file is written by then.
    for path in list(place.rglob("*")):
        if path.is_symlink():  # to a log by its present path, from which the export is moved
            path.unlink()


@contextlib.contextmanager
def log(name: str, options: Mapping[str, Any], folder: Path) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Log a run that goes on, as one run, into its folder `wandb`."""
    run = _start(name, options, folder)
    status = 1
    try:
        yield lambda step, values: run.log(dict(values), step=step)
        status = 0
    finally:
        run.finish(exit_code=status)


def _start(name: str, config: Mapping[str, Any], folder: Path, group: str | None = None) -> Any:
    import wandb  # pyright: ignore[reportMissingImports]

    mode: Any = os.environ.get("WANDB_MODE", "offline")
    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", "jaxstyle"),
        name=name,
        group=group,
        config=dict(config),
        dir=str(folder),
        mode=mode,
        settings=wandb.Settings(silent=True, console="off"),
    )
