"""The folder for what a later run can use again: ported weights and compiled programs."""

import functools
import os
import warnings
from pathlib import Path

import jax
import platformdirs

from jaxstyle.app.errors import AppError
from jaxstyle.app.files import check_folder
from jaxstyle.app.screen import tell

_NEVER = 1e9  # seconds of compilation, from which on a program is kept


def cache_folder() -> Path | None:
    """The user's cache folder for jaxstyle, by the platform's convention; JAXSTYLE_CACHE names another one.

    None if there is none, since the user has no home folder.
    """
    try:
        folder = Path(os.environ.get("JAXSTYLE_CACHE") or platformdirs.user_cache_dir("jaxstyle")).expanduser()
    except RuntimeError:
        return None
    # Without a home folder, some versions of platformdirs give ~ as it is.
    return None if folder.parts[:1] == ("~",) else folder


def use_compilation_cache() -> None:
    """Let jax keep compiled programs in the cache folder, unless JAX_COMPILATION_CACHE_DIR is set, empty for none.

    One line says if they can't be kept there; programs that are there already are used.
    """
    # Of each program that it can't read or keep, jax would print two lines.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    variable = "JAX_COMPILATION_CACHE_DIR"
    folder = os.environ.get(variable)
    if folder is None:
        variable, cache = "JAXSTYLE_CACHE", cache_folder()
        if cache is None:
            _note(f"note: there is no home folder to keep compiled programs in; {variable} can name a folder")
            return
        folder = str(cache / "compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # of 1: a run has many small programs
    if not folder or "://" in folder:  # none, or none that this machine knows
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if variable == "JAXSTYLE_CACHE":  # jax itself reads the other
            jax.config.update("jax_compilation_cache_dir", folder)
        check_folder(Path(folder))
    except (OSError, AppError):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _NEVER)
        _note(f"note: compiled programs can't be kept in {folder}; {variable} can name another folder")


_note = functools.cache(tell)  # a command says it once, however many runs it takes
