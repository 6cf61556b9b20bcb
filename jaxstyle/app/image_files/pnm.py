"""Read PGM and PPM files with any largest value, and PFM files; Pillow reads few of them at their full depth."""

import re

import numpy as np
from PIL import Image

from jaxstyle.app.image_files.pixel_values import Stored, Unusable, to_image, to_unit_range

_COMMENT = re.compile(rb"#[^\r\n]*")
_TOKEN = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+([^\s#]{1,20})(?=\s)")


def is_pnm(data: bytes) -> bool:
    """Return whether a file is PGM, PPM or PFM."""
    return data[:2] in (b"P2", b"P3", b"P5", b"P6", b"Pf", b"PF") and data[2:3].isspace()


def read_pnm(data: bytes, max_pixels: int, notes: list[str]) -> Stored:
    """Read a PGM, PPM or PFM file.

    Args:
      data: the file's bytes, for which `is_pnm` returns True.
      max_pixels: the most pixels that are read.
      notes: where notes are added.

    Raises:
      Unusable: if the file is damaged, or has values that are not finite.
      Image.DecompressionBombError: if it has more than `max_pixels` pixels.
    """
    (w, h, last), at = _read_header(data)
    channels = 3 if data[1:2] in b"36F" else 1
    if w * h > max_pixels:
        raise Image.DecompressionBombError(f"{w * h} pixels")
    values = _read_values(data, at, w * h * channels, last).reshape(h, w, channels)
    if data[1:2] in b"fF":
        if abs(last) != 1:
            notes.append(f"its scale, {abs(last):g}, is ignored")
        return Stored(to_unit_range(values[::-1], 32, notes))
    if values.max() > last:
        notes.append(f"it has values above {last:.0f}, which it says is the largest; they are clipped")
        values = np.minimum(values, values.dtype.type(last))
    if last in (255, 65535):
        values = to_unit_range(values, 8 * values.dtype.itemsize, notes)
        return Stored(to_image(values) if values.dtype == np.uint8 else values)
    return Stored(values / np.float32(last))


def _read_values(data: bytes, at: int, count: int, last: float) -> np.ndarray:
    if data[1:2] in b"23":
        values = _read_digits(data[at - 1 :], count, 255 if last < 256 else 65535)
    else:
        floats = "<f4" if last < 0 else ">f4"
        kind = np.dtype(floats if data[1:2] in b"fF" else "u1" if last < 256 else ">u2")
        values = np.frombuffer(data, kind, min(count, (len(data) - at) // kind.itemsize), at)
        values = values.astype(kind.newbyteorder("="), copy=False)
    if len(values) < count:
        raise Unusable("the image is truncated or damaged: it ends before its last pixel")
    return values


def _read_digits(text: bytes, count: int, top: int) -> np.ndarray:
    """Parse up to `count` numbers that are written in digits."""
    try:
        numbers = np.fromstring(_COMMENT.sub(b" ", text), np.float32, sep=" ")[:count]
    except ValueError:  # the text holds something else; older NumPys return the numbers before it
        numbers = np.zeros(0, np.float32)
    return np.clip(numbers, 0, top).astype(np.uint8 if top == 255 else np.uint16)


def _read_header(data: bytes) -> tuple[tuple[int, int, float], int]:
    """Return width, height and the largest value (in a PFM the scale), and where the pixels begin."""
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
