"""Channels of more than 8 bits, which Pillow reads for gray pictures only."""

import io
import math
import re
import sys
import zlib
from typing import Any

import numpy as np
from PIL import Image

DEEP_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")

_DEEP_COLOUR = re.compile(r"(RGBA?;16)([BLN])")
_OPPOSITE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_PHOTOMETRIC, _ORIENTATION, _PLANAR, _SAMPLE_FORMAT, _PROFILE = 262, 274, 284, 339, 34675
_DEFLATE = (8, 32946)
_CHANNELS = {"MINISWHITE": (1,), "MINISBLACK": (1, 2), "RGB": (3, 4)}


class Unusable(Exception):
    """A picture that can't be used, for the reason that it says."""


def low_bytes(image: Image.Image) -> bool:
    """Make an image of 16 bits a colour channel, opened but not loaded, give the low bytes instead of the high ones.

    Pillow drops every second byte of such pictures: those of its raw modes RGB;16B and RGB;16L, big and little endian,
    are each other's.

    Returns:
      Whether it is such an image; others stay as they are.
    """
    if getattr(image, "tag_v2", {}).get(_PLANAR, 1) != 1:
        return False
    tiles: list[Any] = []
    for tile in getattr(image, "tile", []):
        codec, box, offset, args = tile
        first, *others = (args,) if isinstance(args, str) else args or ("",)
        match = _DEEP_COLOUR.fullmatch(str(first))
        if not match:
            return False
        swapped = match[1] + _OPPOSITE[match[2]]
        plain = (codec, box, offset, swapped if isinstance(args, str) else (swapped, *others))
        tiles.append(plain if type(tile) is tuple else type(tile)(*plain))
    image.tile = tiles  # type: ignore[attr-defined]
    return bool(tiles)


def gray_values(image: Image.Image) -> np.ndarray:
    """Values of a gray image of more than 8 bits, white being 1: float32, shape (h, w).

    Floats are taken as in [0, 1] or, if one is larger, in [0, 255]; integers as 16 bits or, if one is larger, as what
    their type holds.

    Raises:
      Unusable: if there are values that are not finite.
    """
    tags = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (1,))[0] == 1 and values.min() < 0:
        values = values.view(np.uint32)
    values = _scale(values)
    return 1 - values if tags.get(_PHOTOMETRIC) == 0 else values


def read_float_tiff(data: bytes, max_pixels: int) -> tuple[np.ndarray, int, bytes | None] | None:
    """A TIFF that Pillow doesn't know: RGB of 32 bits or float, gray of float 16 or 64, gray with alpha.

    Returns:
      Values, float32 in [0, 1] with white 1, shape (h, w, channels), alpha last; the orientation as EXIF counts it; the
      ICC profile if it has one. None if it is another kind of file.

    Raises:
      Unusable: if it is damaged, compressed other than by Deflate, or has values that are not finite.
      Image.DecompressionBombError: if it has more than `max_pixels`.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return None
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages.first
            kind, channels = page.photometric.name, page.samplesperpixel
            pixels = page.imagewidth * page.imagelength
            if channels not in _CHANNELS.get(kind, ()) or page.imagedepth != 1 or not pixels:
                return None
            if pixels > max_pixels:
                raise Image.DecompressionBombError(f"{pixels} pixels")
            _check_parts(page, data, 8 * channels * max_pixels)
            turn, profile = (page.tags.valueof(tag) for tag in (_ORIENTATION, _PROFILE))
            values = page.asarray()
            values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
            values = values.reshape(page.imagelength, page.imagewidth, channels)
    except (Image.DecompressionBombError, MemoryError, Unusable):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise Unusable(f"the TIFF is damaged or of a rare kind ({reason}); save it as 16 bits a channel") from error
    values = _scale(values)
    values = 1 - values if kind == "MINISWHITE" else values
    return values, int(turn) if turn in range(1, 9) else 1, profile if isinstance(profile, bytes) else None


def _check_parts(page: Any, data: bytes, limit: int) -> None:
    """Raise Unusable unless the strips or tiles of a page are of numbers, and swell to no more than they should."""
    if page.dtype is None or page.dtype.kind not in "fui" or int(page.compression) not in (1, *_DEFLATE):
        raise Unusable("it is a TIFF of a rare kind; save it as 16 bits a channel, uncompressed or by Deflate")
    size = math.prod(page.chunks) * page.dtype.itemsize
    if size > limit:
        raise Unusable("the TIFF is damaged: its tiles are larger than a picture may be")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if int(page.compression) in _DEFLATE:
            unpacked = zlib.decompressobj().decompress(data[offset : offset + count], size + 1)
            if len(unpacked) > size:
                raise Unusable("the TIFF is damaged: it holds more than its size says")


def _scale(values: np.ndarray) -> np.ndarray:
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise Unusable("it has pixels that are not finite")
        top = 255 if values.max() > 1 else 1
    elif values.dtype.itemsize == 1:
        top = np.iinfo(values.dtype).max
    else:
        top = 65535 if values.max() <= 65535 else np.iinfo(values.dtype).max
    values = np.array(values, np.float32)
    values /= np.float32(top)
    return np.clip(values, 0, 1, out=values)
