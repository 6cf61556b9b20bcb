"""The devices that jax finds, or one line that says why it finds none."""

import contextlib
import importlib.util
import os
from typing import Any

import jax

from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import silent_stderr

_NAMING = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")  # variables by which jax is told which devices to use


def find_devices() -> list[Any]:
    """The devices that jax finds here, without what an installed libtpu prints on stderr where there is no TPU.

    Raises:
      StartError: if there are none, or not those that an environment variable names.
    """
    try:
        with silent_stderr() if importlib.util.find_spec("libtpu") else contextlib.nullcontext():
            return jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:  # of jax, by its version and the variable
        set_to = [f"{name}={os.environ[name]}" for name in _NAMING if os.environ.get(name)]
        reason = "".join(f" ({line[:200]})" for line in str(error).splitlines()[:1])  # there may be none
        if not set_to:
            raise StartError(f"jax finds no device{reason}") from error
        raise StartError(
            f"{' '.join(set_to)}: jax finds no such device here{reason}; unset it, or set it to cpu"
        ) from error
