"""Writes files: no partial file is left under a final name, and no finished work is lost if writing fails."""

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import AppError, StartError, WriteError

TEMPORARY = ".jaxstyle-tmp"
_LONGEST = 200  # a temporary name repeats a name of so many bytes at most; most file systems take 255
# A flush that fails with one of these has lost data; another error says that the file system can't flush.
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


def write_atomic(path: Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to a file, as `open_atomic` does."""
    with open_atomic(path, overwrite=overwrite) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a file under a temporary name in the same folder; at the end, flush it to disk and rename it to `path`.

    Without `overwrite`, a file that is there by then stays as it is, and the new one is not written. A link is replaced
    itself, because run folders come from anywhere and may hold links to anywhere.

    Raises:
      WriteError: if the disk is full, or writing failed.
      StartError: if there is no permission or no such folder, or a file must not be overwritten.
    """
    try:
        temporary, file = _create_beside(path)
        with signals.removing(temporary):
            with file:
                yield file
                file.flush()
                _flush(file)
            if overwrite:
                temporary.replace(path)
            else:
                _rename_to_free_name(temporary, path)
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Make and open a temporary file in the folder of `path`.

    Its name repeats the name of `path`, so that letters which the file system refuses are refused at once.
    """
    name = path.name if len(os.fsencode(path.name)) <= _LONGEST else ""
    while True:
        temporary = path.with_name(f".{name}.{secrets.token_hex(4)}{TEMPORARY}")
        with contextlib.suppress(FileExistsError):
            return temporary, temporary.open("xb")


def _flush(file: BinaryIO) -> None:
    """Flush the data to the disk, where file systems can do so."""
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _LOST:
            raise


def _rename_to_free_name(temporary: Path, path: Path) -> None:
    """Rename a file, unless there is a file `path` already.

    A hard link never replaces a file. Where a file system has no hard links, an empty file takes the name first, so
    that nobody else can make a new file of that name.

    Raises:
      FileExistsError: if there is a file `path`.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        path.open("xb").close()
        try:
            if path.stat().st_size:  # somebody has replaced the empty file
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()
            raise


def check_folder(folder: Path) -> None:
    """Check that files can be made in a folder.

    Raises:
      StartError, WriteError: if they can't be made.
    """
    _try_beside(folder / "x", f"into {folder}")


def _try_beside(path: Path, what: str) -> None:
    try:
        temporary, file = _create_beside(path)
        with signals.removing(temporary):
            file.close()
    except OSError as error:
        raise explain(error, f"cannot write {what}") from error


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check before the work that a file can be written afterwards.

    Without `overwrite`, there must be neither a file nor a link of that name. A link that leads nowhere is always
    refused.

    Raises:
      StartError, WriteError: if it can't be written.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        status = None
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error
    if status and stat.S_ISLNK(status.st_mode) and not os.path.exists(path):  # noqa: PTH110 (a loop of links leads to no file)
        raise StartError(f"{path} is a link that leads to no file; give another file, or remove the link")
    if path.is_dir() or not path.parent.is_dir():
        raise StartError(f"cannot write {path}: give the name of a file in a folder that exists")
    if status and not overwrite:
        raise StartError(f"{path} exists; give another file, or --overwrite")
    if status and not path.is_file():
        raise StartError(f"cannot write {path}: it is not a regular file; give another one")
    _try_beside(follow(path) if overwrite else path, str(path))


def follow(path: Path) -> Path:
    """Return the file that a link leads to, as `--overwrite` replaces that file; return other paths as they are."""
    return path.parent / os.path.realpath(path) if path.is_symlink() else path


def write_or_keep(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file that took work to make, after `check_target` has allowed it; if writing fails, keep it elsewhere.

    Raises:
      WriteError: if it could not be written; it says where the file is instead.
    """
    try:
        write_atomic(follow(path) if overwrite else path, data, overwrite=overwrite)
    except AppError as error:
        kept = _keep(path, data)
        where = f"it is in {kept} instead" if kept else "nor can it be kept anywhere else"
        raise WriteError(f"{error}; {where}") from error


def _keep(path: Path, data: bytes) -> Path | None:
    """Write a file under a new name beside `path` or in another folder; returns None if no folder takes it."""
    for folder in (path.parent, *places()):
        kept = folder / f"{path.stem[:50]}-{secrets.token_hex(4)}{path.suffix}"
        try:
            with kept.open("xb") as file:
                file.write(data)
        except OSError:
            with contextlib.suppress(OSError):
                kept.unlink()
            continue
        return kept.absolute()
    return None


def places() -> Iterator[Path]:
    """List where else a file can be kept: in the working folder, and in the folder of temporary files."""
    yield Path()
    with contextlib.suppress(OSError):
        yield Path(tempfile.gettempdir())


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files in a folder that a process left when it was killed."""
    for file in folder.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            file.unlink()


def explain(error: OSError, what: str) -> AppError:
    """Make the command's error of an OSError: status 1 for a full or failing disk, 2 for a path that can't be used."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(f"{what}: the disk is full; free some space or choose another folder")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StartError(f"{what}: permission denied; choose another folder")
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP):
        return StartError(f"{what}: {_reason(error)}")
    return WriteError(f"{what}: {_reason(error)}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
