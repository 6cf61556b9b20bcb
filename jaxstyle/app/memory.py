"""The memory that a program may use: how much there is, what a compiled one takes, and giving back what is free."""

import contextlib
import ctypes
from pathlib import Path
from typing import Any

import jax
import psutil

_CPU_PIXELS = 8 * 128 * 128  # of a micro-batch: more lanes at once are no faster, and take more memory
_BYTES_PER_PIXEL = 3000  # of features and gradients to relu5_1 in float32
_CGROUP = Path("/sys/fs/cgroup")
_M_MMAP_THRESHOLD = -3  # of malloc.h


def default_microbatch(pixels: int, memory: int) -> int:
    """Lanes of so many pixels to compute at once: as fit into half of an accelerator's memory, in bytes.

    In whole eights, if so many, since a TPU pads its arrays to that (10 of 512 pixels: 0.27 instead of 0.19 GB each).
    With 0 for its memory, it is a CPU: as many as are fast.
    """
    if not memory:
        return max(1, _CPU_PIXELS // pixels)
    most = memory // _BYTES_PER_PIXEL // 2 // pixels
    return most // 8 * 8 or max(1, most)


class OutOfMemoryError(Exception):
    """A program needs, or needed, more memory than there is; `needed` and `available` in bytes, if known."""

    def __init__(self, needed: int | None = None, available: int | None = None) -> None:
        super().__init__(needed, available)
        self.needed, self.available = needed, available


def available_memory() -> int:
    """Bytes that a program may still take on the default device, 0 if nobody knows: of a CPU, the machine's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return max(0, stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if device.platform != "cpu":
        return 0
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # a container may be given less than the machine has
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, limit - used)
    return max(0, free)


def check_memory(compiled: Any) -> None:
    """Raise OutOfMemoryError if a compiled program, whose arguments lie in memory already, won't fit.

    On CPU it would be killed by the system, without a word, rather than fail.
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
    """Turn what jax raises when memory runs out into OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # jax's own class is a RuntimeError
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise OutOfMemoryError from error
        raise


def map_large_blocks() -> None:
    """Have glibc return blocks of 1 MB and more as soon as they are freed: else it keeps all up to 32 MB, in pieces."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def release_memory() -> None:
    """Give the memory that compilers have freed back to the system: some 200 MB of it lie about with glibc."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)
