"""Writing files so that nothing partial is ever left under a final name."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxstyle.app.errors import AppError, StartError, WriteError

_TEMPORARY = ".jaxstyle-tmp"


def write_atomic(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a file of `data` (see `open_atomic`)."""
    with open_atomic(path, overwrite=overwrite) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a file under a temporary name in the same folder; at the end flush it to disk and rename it to `path`.

    Without `overwrite`, a file that is there by then stays as it is, and the new one is not written.

    Raises:
      WriteError: disk full, or the write failed.
      StartError: no permission, no such folder, or a file that must not be overwritten.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; an output has the mode that the user's umask gives other files.
        Path(temporary).chmod(0o666 & ~_umask())
        if overwrite:
            Path(temporary).replace(path)
        else:
            path.hardlink_to(temporary)  # the one renaming that never replaces
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()


def remove_temporary(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder."""
    for file in folder.glob(f".*{_TEMPORARY}"):
        file.unlink(missing_ok=True)


def explain(error: OSError, what: str) -> AppError:
    """The error of the command for an OSError: status 1 for a full or failing disk, 2 for a path that can't be used."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(f"{what}: the disk is full; free some space or choose another folder")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StartError(f"{what}: permission denied; choose another folder")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG):
        return StartError(f"{what}: {_reason(error)}")
    return WriteError(f"{what}: {_reason(error)}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
