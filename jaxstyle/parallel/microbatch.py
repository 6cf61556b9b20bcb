"""How many lanes to compute at once. Plain Python: imports no jax."""

_CPU_PIXELS = 8 * 128 * 128  # of a micro-batch: more lanes at once are no faster, and take more memory


_BYTES_PER_PIXEL = 3000  # of features and gradients to relu5_1 in float32


_LEAST_ACCELERATOR = 8 * 10**9  # bytes that an accelerator has of which nobody knows more


def default_microbatch(pixels: int, memory: int | None) -> int:
    """Lanes of so many pixels to compute at once.

    In whole eights, if so many, since a TPU pads its arrays to that (10 of 512 pixels: 0.27 instead of 0.19 GB each).

    Args:
      pixels: of a lane's image.
      memory: of the accelerator, in bytes, half of which they may take; 0: nobody knows, so that it counts as a small
        one; None: it is a CPU, which computes as many at once as are fast.
    """
    if memory is None:
        return max(1, _CPU_PIXELS // pixels)
    most = (memory or _LEAST_ACCELERATOR) // _BYTES_PER_PIXEL // 2 // pixels
    return most // 8 * 8 or max(1, most)
