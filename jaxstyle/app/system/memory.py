"""Finds how much memory programs may use and what a compiled program takes, and returns freed memory to the system."""

import contextlib
import ctypes
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import jax
import psutil

_CGROUP = Path("/sys/fs/cgroup")
_M_MMAP_THRESHOLD = -3  # malloc.h defines it
_SECONDS_TO_ANSWER = 10
_GIB = 2**30

TPU_MEMORY: dict[str, float] = {
    "TPU v2": 7.48,
    "TPU v3": 15.48,
    "TPU v4": 15.25,
    "TPU v5 lite": 15.75,
    "TPU v5": 95.73,
    "TPU v6 lite": 31.24,
    "TPU7x": 94.74,
}
"""GiB that the compiler of libtpu 0.0.52 grants a program on each kind of device (its message for larger ones)."""


class Memory(NamedTuple):
    """Memory of a device, in bytes; 0 means unknown.

    Attributes:
      total: memory that programs may use.
      free: the part of it that is free now.
      source: where the numbers come from, in words.
    """

    total: int
    free: int
    source: str


class OutOfMemoryError(Exception):
    """A program needs or needed more memory than there is; `needed` and `available` are in bytes, None if unknown."""

    def __init__(self, needed: int | None = None, available: int | None = None) -> None:
        super().__init__(needed, available)
        self.needed, self.available = needed, available


def device_memory(device: Any) -> Memory:
    """Find the memory of a device, from its allocator, its driver or its name; a CPU has the machine's memory."""
    try:
        stats = device.memory_stats() or {}
    except (RuntimeError, NotImplementedError):  # some plugins have no statistics
        stats = {}
    if stats.get("bytes_limit"):
        limit = stats["bytes_limit"]
        return Memory(limit, max(0, limit - stats.get("bytes_in_use", 0)), "what is free now")
    if device.platform == "cpu":
        return _cpu_memory()
    kind = device.device_kind
    if "MIG" not in kind and (answer := _ask_driver(device)):  # the driver knows the whole GPU only
        return answer
    # The name of a GH200 gives the memory of its CPU.
    if (size := re.findall(r"(\d+) ?GB", kind, re.IGNORECASE)) and "GH200" not in kind:
        named = int(size[-1]) * 950 * 10**6
        return Memory(named, named, "95 % of what its name says")
    granted = int(TPU_MEMORY.get(kind, 0) * _GIB)
    return Memory(granted, granted, "what the TPU's compiler grants a program" if granted else "nobody knows")


def _ask_driver(device: Any) -> Memory | None:
    """Ask nvidia-smi about a GPU whose allocator has no statistics, as with XLA_PYTHON_CLIENT_ALLOCATOR=platform."""
    number = int(getattr(device, "local_hardware_id", None) or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    name = visible[number].strip() if visible[0] and number < len(visible) else str(number)
    query = ["nvidia-smi", "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits", f"--id={name}"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=True).stdout
        total, free = (int(text) * 2**20 for text in answer.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return Memory(total, free, "what nvidia-smi says is free now")


def available_memory() -> int:
    """Return the bytes that a program may still take on the default device: 0 if unknown, the machine's for a CPU."""
    return device_memory(jax.local_devices()[0]).free


def _cpu_memory() -> Memory:
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # a container may be given less than the machine has
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, limit - used)
    return Memory(max(0, free), max(0, free), "what is free now")


def check_memory(compiled: Any) -> None:
    """Raise OutOfMemoryError if a compiled program, whose arguments are in memory already, won't fit.

    On a CPU, the system would kill the process without a message.
    """
    analysis = compiled.memory_analysis()
    available = available_memory()
    if analysis is None or not available:
        return
    needed = analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    if needed > available:
        raise OutOfMemoryError(needed, available)


@contextlib.contextmanager
def memory_errors() -> Any:
    """Turn the errors that jax raises when memory runs out into OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # jax's own class is a RuntimeError
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise OutOfMemoryError from error
        raise


def map_large_blocks() -> None:
    """Have glibc return blocks of 1 MB and more when they are freed; else it keeps blocks up to 32 MB, in pieces."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries lack it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def release_memory() -> None:
    """Return the memory that compilers have freed to the system; glibc keeps some 200 MB of it."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries lack it
        ctypes.CDLL(None).malloc_trim(0)
