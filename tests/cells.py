"""Counting right and wrong pictures, and numbers to make them of, for the tests of what image files hold."""

import io

import numpy as np
import pytest

from jaxstyle.app.image_files.decode import decode
from jaxstyle.app.system.errors import StartError

H, W = 7, 18  # more than two strips of three rows, or one tile, hold
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
EXACT, ROUNDED, LEVEL = 2e-6, 0.52 / 255, 1.02 / 255


class Cells:
    """Counts cells, and lists those that are wrong."""

    def __init__(self):
        self.count, self.refused, self.wrong = 0, 0, []

    def check(self, name, data, wanted, *, atol=EXACT, refused=False, note=None, **options):
        """Compare a file with the array (h, w, 3) that it was made from."""
        self.count += 1
        try:
            found = decode(data, "x", **options)
        except StartError as error:
            self.refused += 1
            line = str(error)
            if not refused or not line.isprintable() or "save it" not in line:
                self.wrong.append(f"{name}: {line}")
            return
        off = np.abs(found.image - wanted).max() if found.image.shape == np.shape(wanted) else found.image.shape
        if refused or not np.all(off <= atol) or (note is not None and not any(note in line for line in found.notes)):
            self.wrong.append(f"{name}: off by {off}, notes {found.notes}")

    def finish(self, at_least):
        print(f"\n{self.count} cells, {self.refused} of them refused")
        assert not self.wrong, f"{len(self.wrong)} of {self.count} are wrong:\n" + "\n".join(self.wrong[:20])
        assert self.count >= at_least


def make_numbers(rng, name, channels):
    """Numbers (H, W, channels) from 0 to the largest, how many bits each has, and their values in [0, 1]."""
    kind, bits = name[0], int(name[1:])
    if kind == "f":
        numbers = rng.random((H, W, channels)).astype(f"f{bits // 8}")
        return numbers, bits, numbers.astype(np.float64)
    top = 2 ** (bits - (kind == "i")) - 1
    numbers = rng.integers(0, top, (H, W, channels), endpoint=True)
    numbers[0, :2] = [[0], [top]]
    size = next(size for size in (1, 2, 4) if bits <= 8 * size)
    return numbers.astype(f"{kind}{size}"), bits, numbers / top


def save(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(channels):
    """Numbers that JPEG and AVIF keep to a few levels: (16, 24, channels) uint8."""
    y, x = np.mgrid[:16, :24]
    return np.stack([40 + 8 * x, 60 + 9 * y, 200 - 4 * x - 2 * y, 30 + 5 * y][:channels], -1).astype(np.uint8)


def fails(data, line, **options):
    with pytest.raises(StartError) as caught:
        decode(data, "x", **options)
    assert str(caught.value) == f"cannot read x: {line}"
