"""Finds the devices, or says in one line why jax finds none."""

import contextlib
import importlib.util
import os
from typing import Any

import jax

from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import silent_stderr

_NAMING = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")  # these variables tell jax which devices to use


_AMPERE = 8.0  # the first compute capability of NVIDIA's with products in bfloat16


def fast_dtype(device: Any) -> str:
    """Choose the precision of the network for a device, one of `layers.DTYPES`: bfloat16 where it is fast."""
    if device.platform == "tpu":
        return "bfloat16"
    try:
        return "bfloat16" if float(getattr(device, "compute_capability", 0)) >= _AMPERE else "float32"
    except ValueError:  # AMD's have names
        return "float32"


def find_devices() -> list[Any]:
    """Find the devices; what an installed libtpu prints on stderr where there is no TPU is suppressed.

    Raises:
      StartError: if there are no devices, or none of the kind that an environment variable names.
    """
    try:
        with silent_stderr() if importlib.util.find_spec("libtpu") else contextlib.nullcontext():
            return jax.devices()
    except (RuntimeError, AssertionError, ValueError) as error:  # jax's version and the variable decide which one
        set_to = [f"{name}={os.environ[name]}" for name in _NAMING if os.environ.get(name)]
        reason = "".join(f" ({line[:200]})" for line in str(error).splitlines()[:1])  # the message may be empty
        if not set_to:
            raise StartError(f"jax finds no device{reason}") from error
        raise StartError(
            f"{' '.join(set_to)}: jax finds no such device here{reason}; unset it, or set it to cpu"
        ) from error
