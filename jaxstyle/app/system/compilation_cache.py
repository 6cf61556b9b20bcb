"""Keeps compiled programs in the cache folder for later runs."""

import functools
import os
import warnings
from pathlib import Path

import jax

from jaxstyle.app.system.errors import AppError
from jaxstyle.app.system.files import check_folder
from jaxstyle.app.system.screen import tell
from jaxstyle.pretrained.cache_folder import cache_folder

_NEVER = 1e9  # a program is kept if its compilation took so many seconds


def use_compilation_cache() -> None:
    """Let jax keep compiled programs in the cache folder.

    JAX_COMPILATION_CACHE_DIR names another folder; if it is empty, nothing is kept. If programs can't be kept, one line
    says so, and programs that are in the folder already are used.
    """
    # jax would print two lines for each program that it can't read or keep.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    variable = "JAX_COMPILATION_CACHE_DIR"
    folder = os.environ.get(variable)
    if folder is None:
        variable, cache = "JAXSTYLE_CACHE", cache_folder()
        if cache is None:
            _note(f"note: there is no home folder to keep compiled programs in; {variable} can name a folder")
            return
        folder = str(cache / "compiled")
        # The default is 1 second, but a run has many small programs.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    if not folder or "://" in folder:  # nothing is kept, or it is kept somewhere that is not a folder here
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if variable == "JAXSTYLE_CACHE":  # jax itself reads the other variable
            jax.config.update("jax_compilation_cache_dir", folder)
        check_folder(Path(folder))
    except (OSError, AppError):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _NEVER)
        _note(f"note: compiled programs can't be kept in {folder}; {variable} can name another folder")


def kept_folder() -> Path | None:
    """Return the folder for programs that are kept with what they were traced from; None if nothing is kept."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or "://" in folder:
        return None
    return Path(folder) / "whole"


_note = functools.cache(tell)  # a command says it once, even if it runs several jobs
