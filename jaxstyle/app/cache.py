"""The folder for what a later run can use again: compiled programs."""

import os
from pathlib import Path

import jax
import platformdirs


def cache_folder() -> Path:
    """The user's cache folder for jaxstyle, by the platform's convention; JAXSTYLE_CACHE names another one."""
    return Path(os.environ.get("JAXSTYLE_CACHE") or platformdirs.user_cache_dir("jaxstyle"))


def use_compilation_cache() -> None:
    """Let jax keep compiled programs in the cache folder, unless JAX_COMPILATION_CACHE_DIR is set, empty for none."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home costs a few seconds of compilation, no more
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # of 1: a run has many small programs
