"""Makes files and folders of exports: whole or not at all, and in the place of nothing but an earlier export."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from jaxstyle.app.run_folder.exports import MARK
from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import TEMPORARY, explain


@contextlib.contextmanager
def new_place(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary name beside `path`, for a file or a folder that gets the name `path` at the end of the context.

    Args:
      path: the file or folder to make.
      overwrite: whether an export that is there is replaced.

    Raises:
      StartError: if there is something that may not be replaced, or the place can't be used.
      WriteError: if the disk is full, or writing failed.
    """
    _check(path, overwrite=overwrite)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}{TEMPORARY}")
    old = temporary.with_name(f"{temporary.name}-old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with signals.removing(temporary), signals.removing(old):
            yield temporary
            if temporary.is_dir():
                (temporary / MARK).touch()
            if path.exists():
                _check(path, overwrite=overwrite)
                path.rename(old)
            temporary.rename(path)
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error


def _check(path: Path, *, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise StartError(f"{path} exists; give another place with --out, or --overwrite")
    if path.is_symlink() or (path.is_dir() and not (path / MARK).exists()):
        raise StartError(f"{path} was not made by jaxstyle export; give another place with --out")
