"""Ctrl-C and SIGTERM: the command ends at once, or, while lanes take steps, at a moment that the engine chooses."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from jaxstyle.app.system.errors import StoppedError
from jaxstyle.app.system.screen import write_at_once

_NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class _State:
    """What the handler goes by; there is one for the process, as there is one handler."""

    advice: str = ""
    deferring: bool = False
    pending: int | None = None
    passing: frozenset[Path] = frozenset()


def install() -> None:
    """Take over both signals: from now on, each ends the process at once with one line."""
    _State.advice, _State.deferring, _State.pending = "", False, None
    for number in _NAMES:
        signal.signal(number, _handle)


def advise(advice: str) -> None:
    """What the line says after the signal, such as how to go on."""
    _State.advice = advice


def advice() -> str:
    """What `advise` was told."""
    return _State.advice


@contextlib.contextmanager
def removing(path: Path) -> Iterator[None]:
    """Remove a file when the context, or the process by a signal, ends; one that can't be removed is left."""
    _State.passing |= {path}
    try:
        yield
    finally:
        _remove(path)
        _State.passing -= {path}


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the context, the first signal only shows in `pending`; a second one ends the process at once."""
    _State.deferring = True
    try:
        yield
    finally:
        _State.deferring = False
        if _State.pending is not None:
            exit_at_once(_State.pending)


def pending() -> bool:
    """Whether a signal has come."""
    return _State.pending is not None


def stopped(where: str) -> StoppedError:
    """The error that ends the command because of the signal that has come."""
    number = _State.pending or signal.SIGTERM
    _State.pending = None
    return StoppedError(f"stopped by {_NAMES[signal.Signals(number)]} {where}{_State.advice}", 128 + number)


def exit_at_once(number: int) -> NoReturn:
    """End the process: not by an exception, which a library's callback would drop or turn into another.

    The device may be computing still, which must not outlive what it computes with.
    """
    for path in _State.passing:
        _remove(path)
    write_at_once(f"jaxstyle: stopped by {_NAMES[signal.Signals(number)]}{_State.advice}")
    os._exit(128 + number)


def _handle(number: int, _: object) -> None:
    if not _State.deferring or _State.pending is not None:
        exit_at_once(number)
    _State.pending = number
