"""Handles Ctrl-C and SIGTERM: the command ends at once, or, while lanes take steps, at the end of a chunk."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from jaxstyle.app.system.errors import StoppedError
from jaxstyle.app.system.screen import write_at_once

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class _State:
    """Holds the state of the signal handler; the process has one handler, and so one state."""

    advice: str = ""
    deferring: bool = False
    pending: int | None = None
    passing: set[Path] = set()  # noqa: RUF012 (the state of the process)


def install() -> None:
    """Install the handler: from now on, a signal ends the process at once with one line."""
    _State.advice, _State.deferring, _State.pending = "", False, None
    for number in _NAMES:
        signal.signal(number, _handle)


def advise(advice: str) -> None:
    """Set the end of that line, such as how to go on."""
    _State.advice = advice


def advice() -> str:
    """Return what `advise` has set."""
    return _State.advice


@contextlib.contextmanager
def removing(path: Path) -> Iterator[None]:
    """Remove a file or folder when the context ends, or when a signal ends the process; one that can't be, stays."""
    _State.passing.add(path)  # several threads write files: each of these calls is atomic
    try:
        yield
    finally:
        _remove(path)
        _State.passing.discard(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the context, let the first signal only set `pending`; a second one ends the process at once."""
    _State.deferring = True
    try:
        yield
    finally:
        _State.deferring = False
        if _State.pending is not None:
            exit_at_once(_State.pending)


def pending() -> bool:
    """Return whether a deferred signal has come."""
    return _State.pending is not None


def stopped(where: str) -> StoppedError:
    """Make the error that ends the command because of the deferred signal."""
    number = _State.pending or signal.SIGTERM
    _State.pending = None
    return StoppedError(f"stopped by {_NAMES[signal.Signals(number)]} {where}{_State.advice}", 128 + number)


def exit_at_once(number: int) -> NoReturn:
    """End the process at once.

    An exception would not do: a library's callback may drop it or turn it into another. Nor would Python's shutdown:
    the device may still be computing, and must not outlive the arrays that it uses.
    """
    for path in tuple(_State.passing):
        _remove(path)
    write_at_once(f"jaxstyle: stopped by {_NAMES[signal.Signals(number)]}{_State.advice}")
    os._exit(128 + number)


def _handle(number: int, _: object) -> None:
    if not _State.deferring or _State.pending is not None:
        exit_at_once(number)
    _State.pending = number
