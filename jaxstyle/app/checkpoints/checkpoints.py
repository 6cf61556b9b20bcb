"""Keeps the checkpoints of a run folder: writes them while lanes take steps, reads them, and removes them."""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxstyle.app.checkpoints.saved_file import DamagedError, Saved, read_saved, write_saved
from jaxstyle.app.system.errors import AppError, StartError
from jaxstyle.app.system.files import explain, remove_temporary
from jaxstyle.app.system.screen import tell

FOLDER = "checkpoint"
_SUFFIX = ".ckpt"
_START = "start"
_KEPT = 2  # so many files of a series are kept


class Checkpoints:
    """The checkpoints of a run folder, in a series for the lanes of each shape; the newest two of a series are kept.

    Every file also holds the run's record, so that any one of them says what the run is.

    Args:
      folder: the run folder.
      record: contents of run.json.
      minutes: time between two checkpoints; with 0, one is made after every chunk.

    Attributes:
      complete: False once the outcome of some lanes could not be saved.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], *, minutes: float) -> None:
        self._folder = folder / FOLDER
        self._record = dict(record)
        self._seconds = minutes * 60
        self._saved_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: AppError | None = None  # why the last one could not be written
        self._told = False
        self.complete = True

    def start(self) -> None:
        """Write the first checkpoint, which holds the record alone."""
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise explain(error, f"cannot make {self._folder}") from error
        self.insist(_START, Saved({}, {}))

    def due(self) -> bool:
        """Return whether it is time for another checkpoint, and the last one is on the disk."""
        if self._seconds == 0:
            self.wait()
        writing = self._thread is not None and self._thread.is_alive()
        return not writing and time.monotonic() - self._saved_at >= self._seconds

    def save(self, name: str, saved: Saved, *, wait: bool = False) -> bool:
        """Write another checkpoint of a series, in the background unless `wait`; the arrays must not change meanwhile.

        If it can't be written, the run goes on; a line says so the first time, and again after one could be written.

        Returns:
          Whether it was written; True if it is written in the background.
        """
        self.wait()
        full = Saved({**saved.about, "record": self._record}, saved.arrays)
        self._thread = threading.Thread(target=self._write, args=(name, full), daemon=True)
        self._thread.start()
        self._saved_at = time.monotonic()
        if wait:
            self.wait()
        return not wait or self._error is None

    def insist(self, name: str, saved: Saved) -> None:
        """Write a checkpoint that the run needs in order to go on.

        Raises:
          AppError: if it can't be written.
        """
        self._told = True  # the error that is raised tells it
        self.save(name, saved, wait=True)
        self._told = False
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        if self._error is None:
            self._told = False
        elif not self._told:
            tell(f"{self._error}; going on without a new checkpoint")
            self._told = True

    def _write(self, name: str, saved: Saved) -> None:
        self._error = None
        try:
            series = _series(self._folder, name)
            number = _number(series[-1]) + 1 if series else 0
            write_saved(self._folder / f"{name}.{number:06d}{_SUFFIX}", saved)
            _flush_folder(self._folder)
            for old in series[: 1 - _KEPT]:
                with contextlib.suppress(OSError):  # a file that stays takes space and does no harm
                    old.unlink()
        except OSError as error:
            self._error = explain(error, f"cannot write a checkpoint into {self._folder}")
        except AppError as error:
            self._error = error

    def load(self, name: str) -> Saved | None:
        """Load the newest whole checkpoint of a series, if there is one; a line on stderr names each damaged one."""
        for file in reversed(_series(self._folder, name)):
            try:
                return read_saved(file)
            except DamagedError as error:
                tell(f"checkpoint {file} is damaged: {error}; taking the one before, if there is any")
        return None

    def whole(self) -> bool:
        """Return whether checkpoints hold everything that is computed, so that resuming costs nothing."""
        return self.complete and has_checkpoints(self._folder.parent)

    def remove(self) -> None:
        """Remove all checkpoints of a finished run; if it is killed meanwhile, the run counts as finished."""
        remove_checkpoints(self._folder.parent)


def _series(folder: Path, name: str) -> list[Path]:
    return sorted(folder.glob(f"{name}.*{_SUFFIX}"), key=_number)


def _number(file: Path) -> int:
    text = file.name.split(".")[-2]
    return int(text) if text.isdecimal() else -1


def _flush_folder(folder: Path) -> None:
    """Flush a new name to the disk before older files are removed, where file systems can do so."""
    if os.name == "posix":
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def has_checkpoints(folder: Path) -> bool:
    """Return whether a run folder holds checkpoints, so that its run can be resumed."""
    return any((folder / FOLDER).glob(f"*{_SUFFIX}"))


def remove_checkpoints(folder: Path) -> None:
    """Remove a run folder's checkpoints, and what a killed process has left of them.

    The checkpoints are renamed first, so that they all disappear at once.

    Raises:
      StartError, WriteError: if they can't be removed.
    """
    gone = folder / f".{FOLDER}-gone"
    shutil.rmtree(gone, ignore_errors=True)
    if not (folder / FOLDER).is_dir():
        return
    try:
        (folder / FOLDER).rename(gone)
    except OSError as error:
        # They are removed one by one, the newest of a series last, so that a run killed meanwhile has less to redo.
        files = (folder / FOLDER).glob(f"*{_SUFFIX}")
        for file in sorted(files, key=lambda file: (not file.name.startswith(_START), file.name)):
            with contextlib.suppress(OSError):
                file.unlink()
        if has_checkpoints(folder):
            raise explain(error, f"cannot remove {folder / FOLDER}") from error
    for left in (gone, folder / FOLDER):
        shutil.rmtree(left, ignore_errors=True)


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a run from the first of its checkpoints that is whole.

    Raises:
      StartError: if there is no whole checkpoint.
    """
    for path in (folder, folder / "images", folder / FOLDER):
        remove_temporary(path)
    damaged = []
    # The newest comes first: the record of a run grows on its way.
    files = sorted(
        (folder / FOLDER).glob(f"*{_SUFFIX}"), key=lambda file: (not file.name.startswith(_START), -_number(file), file)
    )
    for file in files:
        try:
            record = read_saved(file).about["record"]
        except DamagedError as error:
            damaged.append(f"{file.name} ({error})")
            continue
        if damaged:
            tell(f"damaged in {folder / FOLDER}: {', '.join(damaged)}")
        return record
    what = f"every checkpoint is damaged: {', '.join(damaged)}" if damaged else "it holds no checkpoint"
    raise StartError(f"cannot resume {folder}: {what}; start again with jaxstyle sweep ... --overwrite")
