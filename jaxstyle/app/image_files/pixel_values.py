"""Convert the numbers that an image file stores as pixels to values in [0, 1], where white is 1."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxstyle.app.image_files.colour_encoding import Encoding

SEVERAL = "it has several frames, of which the first is taken"
NO_INKS = "it is CMYK without a colour profile: what its inks look like is a guess"
MAX_16_BIT_PIXELS = 2**24  # larger pictures of 16 bits a channel are reduced to 8

_QUANTILE = 0.9
_MOST_LOOKED_AT = 2**20
# If nine tenths of the values that aren't black are at most the first number, the second number is white.
_RANGES = ((16, 1), (512, 255), (np.inf, 65535))


class Unusable(Exception):
    """The picture can't be used; the message gives the reason."""


class Stored(NamedTuple):
    """A picture as its file stores it.

    Attributes:
      picture: an image of mode L, LA, RGB, RGBA or CMYK; or gray or RGB values, perhaps with alpha, (h, w, 1 to 4)
        float32 in [0, 1].
      profile: its ICC profile.
      encoding: how its numbers stand for colours, if the file says so in another way; it counts more than a profile.
      turn: the orientation as EXIF counts it, 1 to 8.
      exif: the part of its EXIF block that may be copied.
      premultiplied: whether its colours are multiplied by its alpha.
    """

    picture: Image.Image | np.ndarray
    profile: bytes | None = None
    encoding: Encoding | None = None
    turn: int = 1
    exif: bytes | None = None
    premultiplied: bool = False


def to_unit_range(values: np.ndarray, bits: int, notes: list[str]) -> np.ndarray:
    """Scale the numbers of a file to [0, 1], where 1 is the value that the file means as white.

    In integers of up to 16 bits, white is the largest number that the bits hold; 0 is black, also in signed ones. In
    integers of 32 bits and more, white is the largest number of 8, of 16 or of all bits, and in floats it is 1, 255 or
    65535. Nine tenths of the values above 0 decide which (see `_find_top`), so that a few odd values decide nothing. A
    note tells what was guessed, and how many values were clipped.

    Args:
      values: (h, w, channels) of any type of number.
      bits: how many bits each number has in the file.
      notes: where notes are added.

    Returns:
      uint8 for 8 bits, and for 16 bits if there are more than 17 million pixels; otherwise float32 in [0, 1].

    Raises:
      Unusable: if there are numbers that are not finite.
    """
    if values.dtype == np.uint8 and bits == 8:
        return values
    if values.dtype == np.uint16 and bits == 16 and values.shape[0] * values.shape[1] > MAX_16_BIT_PIXELS:
        return reduce_16_bits(values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).any(-1).sum())
        raise Unusable(f"it has pixels that are not finite ({count} of them); replace them by numbers")
    top = _find_top(values, bits, notes)
    outside = int(((values < 0) | (values > top)).sum())
    if outside:
        notes.append(f"{outside} of its {values.size} values are outside of 0 to {top} and are clipped")
    values = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    values /= top
    return np.clip(values, 0, 1, out=values).astype(np.float32, copy=False)


def reduce_16_bits(values: np.ndarray) -> np.ndarray:
    """Round uint16 values to uint8."""
    out = np.empty(values.shape, np.uint8)
    for row, deep in zip(out, values, strict=True):
        row[...] = (deep.astype(np.uint32) + 128) // 257
    return out


def to_eight_bits(values: np.ndarray) -> np.ndarray:
    """Convert values in [0, 1] to uint8; uint8 stays."""
    return values if values.dtype == np.uint8 else np.round(values * 255).astype(np.uint8)


def as_floats(values: np.ndarray) -> np.ndarray:
    """Convert uint8 to float32 in [0, 1]; floats stay."""
    return values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 else values


def to_image(values: np.ndarray) -> Image.Image:
    """Make an image of mode L, LA, RGB or RGBA from uint8 values (h, w, 1 to 4)."""
    return Image.fromarray(np.ascontiguousarray(values[..., 0] if values.shape[-1] == 1 else values))


def _find_top(values: np.ndarray, bits: int, notes: list[str]) -> float:
    """Return the value that is white; a note tells how it was guessed."""
    if values.dtype.kind == "f":
        white = next(white for limit, white in _RANGES if _typical(values) <= limit)
        notes.append(f"its floats are taken as values from 0 to {white}, of sRGB unless it has a profile")
        return white
    top = 2 ** (bits - 1) - 1 if values.dtype.kind == "i" else 2**bits - 1
    if bits >= 32:
        top = next(white for white in (255, 65535, top) if _typical(values) <= white)
    if bits >= 32 or values.dtype.kind == "i":
        notes.append(f"its integers of {bits} bits are taken from 0 to {top}")
    return top


def _typical(values: np.ndarray) -> float:
    """Return the value that nine tenths of the values above 0 don't exceed."""
    flat = values.reshape(-1)
    some = flat[:: max(1, flat.size // _MOST_LOOKED_AT)]
    some = some[some > 0]
    return float(np.quantile(some, _QUANTILE, method="lower")) if some.size else 0
