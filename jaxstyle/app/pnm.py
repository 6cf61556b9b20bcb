"""Binary PGM and PPM of any largest value, and PFM: Pillow reads few of them at their depth."""

import re

import numpy as np
from PIL import Image

from jaxstyle.app.stored import Stored, Unusable, scale, to_image

_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+([^\s#]{1,20})(?=\s)")


def is_pnm(data: bytes) -> bool:
    """Whether a file is one of them."""
    return data[:2] in (b"P5", b"P6", b"Pf", b"PF") and data[2:3].isspace()


def read_pnm(data: bytes, max_pixels: int, notes: list[str]) -> Stored:
    """Read one of them.

    Args:
      data: the file, of which `is_pnm` holds.
      max_pixels: more pixels are refused.
      notes: what to add notes to.

    Raises:
      Unusable: if it is damaged, or has values that are not finite.
      Image.DecompressionBombError: if it has more than `max_pixels`.
    """
    (w, h, last), at = _read_header(data)
    channels, floats = 3 if data[1:2] in b"6F" else 1, data[1:2] in b"fF"
    if w * h > max_pixels:
        raise Image.DecompressionBombError(f"{w * h} pixels")
    kind = np.dtype(("<f4" if last < 0 else ">f4") if floats else ("u1" if last < 256 else ">u2"))
    count = w * h * channels
    if len(data) - at < count * kind.itemsize:
        raise Unusable("the image is truncated or damaged: it ends before its last pixel")
    values = np.frombuffer(data, kind, count, at).reshape(h, w, channels)
    values = values.astype(kind.newbyteorder("="), copy=False)
    if floats:
        if abs(last) != 1:
            notes.append(f"its scale, {abs(last):g}, is ignored")
        return Stored(scale(values[::-1], 32, notes))
    if last in (255, 65535):
        values = scale(values, 8 * kind.itemsize, notes)
        return Stored(to_image(values) if values.dtype == np.uint8 else values)
    if values.max() > last:
        notes.append(f"it has values above {last:.0f}, which it says is the largest; they are clipped")
    return Stored(np.minimum(values / np.float32(last), 1))


def _read_header(data: bytes) -> tuple[tuple[int, int, float], int]:
    """Width, height and largest value, or scale, and where the pixels begin."""
    tokens: list[bytes] = []
    at = 2
    while len(tokens) < 3:
        match = _TOKEN.match(data, at)
        if not match:
            raise Unusable("the image is truncated or damaged: its header isn't whole")
        tokens.append(match[1])
        at = match.end()
    try:
        w, h, last = int(tokens[0]), int(tokens[1]), float(tokens[2])
    except ValueError as error:
        raise Unusable("the image is damaged: its header has no numbers") from error
    floats = data[1:2] in b"fF"
    if (
        w < 1
        or h < 1
        or not np.isfinite(last)
        or (last == 0 if floats else not (last.is_integer() and 0 < last < 65536))
    ):
        raise Unusable("the image is damaged: its header has numbers that mean no picture")
    return (w, h, last), at + 1
