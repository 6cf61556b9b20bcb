"""Where a run folder holds the exports and logs of its run, and how they are removed with it."""

import contextlib
import shutil
from pathlib import Path

EXPORTS = "exports"
"""The folder of a run's exports, unless --out names another place."""

MARK = ".jaxstyle-export"
"""An empty file in every folder that an export has made."""

OPTUNA = "optuna.db"
"""The export that is a file, and so has no `MARK`."""

_LOGS = ("tensorboard/events.out.tfevents.*", "wandb/run-*", "wandb/offline-run-*")  # what --log writes
_LINKS = ("wandb/latest-run", "wandb/debug*.log")  # wandb makes them, to the files of its newest run


def remove_exports(folder: Path) -> None:
    """Remove what `jaxstyle export` and `--log` have written into a run folder, and nothing else.

    Args:
      folder: the run folder.

    Raises:
      OSError: if something can't be removed.
    """
    places = [folder / name for name in (EXPORTS, "tensorboard", "wandb")]
    found = [path for pattern in (f"{EXPORTS}/{OPTUNA}", *_LOGS) for path in folder.glob(pattern)]
    found += [mark.parent for mark in folder.glob(f"{EXPORTS}/*/{MARK}")]
    made = [path for path in found if not path.is_symlink()]  # a link that stands for an export is somebody's own
    made += [path for pattern in _LINKS for path in folder.glob(pattern) if path.is_symlink()]
    for path in made:
        if path.parent.is_symlink():  # what it leads to may belong to another run
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for place in places:
        with contextlib.suppress(OSError):  # it isn't there, or holds somebody's other files
            place.rmdir()
