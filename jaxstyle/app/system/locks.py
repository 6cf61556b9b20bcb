"""Lets one process at a time work on a folder, by a lock, or by a file where the file system has no locks."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import tell


@contextlib.contextmanager
def owned(path: Path, busy: str) -> Iterator[None]:
    """Make a file, and hold its lock within the context.

    The lock ends with its process. Where the file system has no locks, a second file stands for the lock, and one line
    says so.

    Args:
      path: the file.
      busy: the message if another process holds the lock.

    Raises:
      StartError: if another process holds the lock, or was killed on a file system without locks.
      OSError: if the file can't be made.
    """
    mark = path.with_name(f"{path.name}-held")
    with contextlib.ExitStack() as stack:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        stack.callback(_close, descriptor)
        try:
            _lock(descriptor)
        except BlockingIOError as error:
            raise StartError(busy) from error
        except OSError:
            try:
                _make(mark)
            except FileExistsError as error:
                raise StartError(_explain(mark, busy)) from error
            stack.enter_context(signals.removing(mark))
            tell(f"note: this file system has no locks: the file {mark} stands for one until the command ends")
        else:
            if mark.exists():  # another host, which has no locks on these files, made it
                raise StartError(_explain(mark, busy))
        yield


def _lock(descriptor: int) -> None:
    """Lock an open file.

    Raises:
      BlockingIOError: if another process has locked it.
      OSError: if the file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the lock is released all the same
        os.close(descriptor)


def _make(mark: Path) -> None:
    with mark.open("xb", buffering=0) as file, contextlib.suppress(OSError):  # an empty file is enough
        file.write(f"process {os.getpid()} of {platform.node()}".encode())


def _explain(mark: Path, busy: str) -> str:
    try:
        owner = mark.read_text(errors="replace")
    except OSError:
        owner = ""
    return f"{busy}; if {owner or 'that process'} is gone, remove {mark} and try again"
