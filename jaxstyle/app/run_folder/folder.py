"""Makes run folders, owns them, tells whether they hold a run, and clears them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from jaxstyle.app.checkpoints.checkpoints import FOLDER, has_checkpoints, remove_checkpoints
from jaxstyle.app.pictures.job_pictures import KINDS
from jaxstyle.app.run_folder.exports import remove_exports
from jaxstyle.app.run_folder.stored_run import SHARDS, explain_shards
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import check_folder, explain, remove_temporary
from jaxstyle.app.system.locks import owned
from jaxstyle.app.system.screen import command_for

_LOCK = ".lock"
_FILES = ("lanes.csv", "history.csv", "sheet.png", "report.html")


@contextlib.contextmanager
def create_run(path: str | None, *, overwrite: bool) -> Iterator[Path]:
    """Make an empty run folder, and own it within the context.

    Args:
      path: the folder; None for a new numbered one under runs/.
      overwrite: whether a run that the folder holds may be removed.

    Raises:
      StartError: if another process owns the folder, it holds anything else, or it can't be made.
    """
    try:
        folder = _create_numbered(Path("runs")) if path is None else Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        is_run = holds_run(folder)
        if (folder / SHARDS).is_dir():
            raise StartError(f"{explain_shards(folder)}; or give another folder")
        if not is_run and any(file.name != FOLDER and not file.name.startswith(".") for file in folder.iterdir()):
            raise StartError(f"{folder} is not empty and is not a run folder; give another one with --out")
    except OSError as error:
        raise explain(error, f"cannot make the run folder {path or 'runs'}") from error
    with own_run(folder):
        if is_run and not overwrite:
            raise StartError(_explain_taken(folder))
        check_folder(folder)
        if is_run:
            _remove_run(folder)
        yield folder


@contextlib.contextmanager
def own_run(folder: Path) -> Iterator[None]:
    """Own a run folder within the context.

    Raises:
      StartError: if another process owns it.
    """
    with contextlib.ExitStack() as stack:
        try:
            busy = f"another process is writing to {folder}; wait for it, or give another folder"
            stack.enter_context(owned(folder / _LOCK, busy))
        except OSError as error:
            raise explain(error, f"cannot lock {folder}") from error
        yield


def check_places(folder: Path) -> None:
    """Make the folders of a run's results, and check that files can be written there.

    Raises:
      StartError, WriteError: if files can't be written.
    """
    images = folder / "images"
    try:
        images.mkdir(exist_ok=True)
    except OSError as error:
        raise explain(error, f"cannot make {images}") from error
    for place in (folder, images):
        check_folder(place)


def holds_run(folder: Path) -> bool:
    """Return whether a run has begun in a folder; it may have finished."""
    return (folder / "run.json").exists() or has_checkpoints(folder)


def _explain_taken(folder: Path) -> str:
    if has_checkpoints(folder):
        resume = command_for("resume", folder)
        return f"{folder} holds a run that has not finished: {resume} goes on, --overwrite starts again"
    finished = "a finished run" if (folder / "lanes.csv").exists() else "another run"
    return f"{folder} holds {finished}; give another folder with --out, or --overwrite"


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
    """Remove the files of a run, its exports and its logs, run.json last, and nothing else."""
    try:
        images = folder / "images"
        pictures = (file for kind in ("lane", *KINDS) for file in images.glob(f"{kind}_*.png"))
        for file in [*pictures, *images.glob("lane_*/step_*.png"), *(folder / name for name in _FILES)]:
            file.unlink(missing_ok=True)
        for snapshots in images.glob("lane_*/"):
            with contextlib.suppress(OSError):  # the folder holds somebody's other files
                snapshots.rmdir()
        for path in (folder, images):
            remove_temporary(path)
        remove_exports(folder)
        (folder / "run.json").unlink(missing_ok=True)
        remove_checkpoints(folder)
    except OSError as error:
        raise explain(error, f"cannot overwrite the run in {folder}") from error


def image_name(lane: int) -> str:
    """Return the path of a lane's picture in the run folder."""
    return f"images/lane_{lane:04d}.png"
