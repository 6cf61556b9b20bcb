"""One process at a time: by a lock that ends with its process, or, where a file system has none, by a file's being."""

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
    """Hold the lock of a file, which is made, within the context.

    Where the file system has no locks, a second file stands for one, which one line says.

    Args:
      path: the file.
      busy: what to say if another process holds it.

    Raises:
      StartError: if another process holds it, or was killed on a file system without locks.
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
            if mark.exists():  # of a host that has no locks on the same files
                raise StartError(_explain(mark, busy))
        yield


def _lock(descriptor: int) -> None:
    """Lock an open file.

    Raises:
      BlockingIOError: if another process has locked it.
      OSError: if there are no locks.
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
    with contextlib.suppress(OSError):  # the lock is gone all the same
        os.close(descriptor)


def _make(mark: Path) -> None:
    with mark.open("xb", buffering=0) as file, contextlib.suppress(OSError):  # an empty one does
        file.write(f"process {os.getpid()} of {platform.node()}".encode())


def _explain(mark: Path, busy: str) -> str:
    try:
        owner = mark.read_text(errors="replace")
    except OSError:
        owner = ""
    return f"{busy}; if {owner or 'that process'} is gone, remove {mark} and try again"
