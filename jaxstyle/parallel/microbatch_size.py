"""How many lanes to compute at once, by what a device's memory holds or by what is fast."""

from typing import Any

_CPU_PIXELS = 8 * 128 * 128  # of the lanes computed at once: more are no faster on a CPU, and take more memory
_BYTES_PER_PIXEL = 3000  # of features and gradients up to relu5_1, in float32
_ACCELERATOR_PIXELS = 32 * 512 * 512  # likewise: on an H200, 8 of them at once are about 3 % slower than 32
_LEAST_ACCELERATOR = 8 * 10**9  # bytes that an accelerator is taken to have if nobody knows more


def default_microbatch(pixels: int, memory: int | None) -> int:
    """Choose how many lanes to compute at once.

    The number is a multiple of eight where that many fit, since a TPU pads its arrays to eight (10 lanes of 512 pixels
    take 0.27 instead of 0.19 GB each).

    Args:
      pixels: number of pixels of a lane's image.
      memory: bytes of an accelerator, half of which the lanes may take, if so many are faster than fewer; 0: nobody
        knows, so that it counts as a small one; None: the device is a CPU.

    Returns:
      The number, at least 1.
    """
    if memory is None:
        return max(1, _CPU_PIXELS // pixels)
    most = min((memory or _LEAST_ACCELERATOR) // _BYTES_PER_PIXEL // 2, _ACCELERATOR_PIXELS) // pixels
    return most // 8 * 8 or max(1, most)


def device_microbatch(pixels: int, device: Any) -> int:
    """Choose how many lanes to compute at once on a device, by what its allocator says of its memory.

    Args:
      pixels: number of pixels of a lane's image.
      device: a device of jax.

    Returns:
      The number, at least 1.
    """
    if device.platform == "cpu":
        return default_microbatch(pixels, None)
    try:
        stats = device.memory_stats() or {}
    except (RuntimeError, NotImplementedError):  # some plugins don't answer
        stats = {}
    return default_microbatch(pixels, int(stats.get("bytes_limit", 0)))
