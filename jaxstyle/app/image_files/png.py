"""Read PNG files, also their 16 bits a channel and transparent colours, and what their chunks say about colours."""

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from jaxstyle.app.image_files.colour_encoding import Encoding, find_usable, from_code_points
from jaxstyle.app.image_files.pixel_values import MAX_16_BIT_PIXELS, Stored, Unusable, to_image, to_unit_range

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_RAW_16_BITS = re.compile(r"(RGBA?;16)B")


def read_png(data: bytes, image: Image.Image, reopen: Callable[[bytes], Image.Image], notes: list[str]) -> Stored:
    """Read a PNG.

    Args:
      data: the file's bytes.
      image: the image that Pillow opened and has not loaded yet.
      reopen: the function that opens other bytes as `image` was opened.
      notes: where notes are added.

    Raises:
      Unusable: if the header or the palette is missing.
      Exception: Pillow's, if the file is damaged.
    """
    if data[12:16] != b"IHDR":
        raise Unusable("the image is damaged: it doesn't begin with its header")
    chunks = _read_chunks(data)
    image.info.pop("transparency", None)  # it is read below at the right depth
    profile, encoding = _find_colours(chunks, image, notes)
    picture = _read_pixels(data, chunks, image, reopen, notes)
    return Stored(picture, profile, encoding)


def _read_chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the first chunk of each name that comes before the pixels."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at + 8 <= len(data) and b"IDAT" not in chunks:
        (size,), name = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        chunks.setdefault(name, data[at + 8 : at + 8 + size] if name != b"IDAT" else b"")
        at += 12 + size
    return chunks


def _read_pixels(
    data: bytes,
    chunks: dict[bytes, bytes],
    image: Image.Image,
    reopen: Callable[[bytes], Image.Image],
    notes: list[str],
) -> Image.Image | np.ndarray:
    bits, kind, key = data[24], data[25], chunks.get(b"tRNS")
    if kind == _PALETTE:
        image.load()
        return to_image(_look_up(np.asarray(image), chunks))
    needed = {_GRAY: 2, _RGB: 6}.get(kind)
    if key is not None and (needed is None or len(key) < needed):
        notes.append("its transparent colour can't be used and is ignored")
        key = None
    values = _read_16_bits(data, image, reopen, key is not None) if bits == 16 else None
    if values is None:
        image.load()
        if key is None:
            return image.convert("L") if image.mode == "1" else image
        values = np.atleast_3d(np.asarray(image.convert("L") if image.mode == "1" else image))
    if key is not None:
        colour = np.array(struct.unpack(f">{len(key[:needed]) // 2}H", key[:needed])) & (2**bits - 1)
        colour = colour * (255 // (2**bits - 1)) if bits < 8 else colour
        top = np.iinfo(values.dtype).max
        cover = ((values != colour).any(-1, keepdims=True) * top).astype(values.dtype)
        values = np.concatenate([values, cover], -1)
    values = to_unit_range(values, 8 * values.dtype.itemsize, notes)
    return to_image(values) if values.dtype == np.uint8 else values


def _look_up(indices: np.ndarray, chunks: dict[bytes, bytes]) -> np.ndarray:
    """Look colours (h, w, 3), or (h, w, 4) with alpha, up in the palette; numbers that it lacks become black."""
    if b"PLTE" not in chunks:
        raise Unusable("the image is damaged: it has no palette")
    colours = chunks[b"PLTE"][:768]
    table = np.frombuffer(colours.ljust(768, b"\0"), np.uint8).reshape(256, 3)
    if b"tRNS" in chunks:
        cover = np.frombuffer(chunks[b"tRNS"][:256].ljust(256, b"\xff"), np.uint8)
        table = np.column_stack([table, cover])
    return table[indices]


def _read_16_bits(
    data: bytes, image: Image.Image, reopen: Callable[[bytes], Image.Image], always: bool
) -> np.ndarray | None:
    """Read uint16 values (h, w, 1 to 4); return None for a large picture in colour, unless `always`."""
    if data[25] == _GRAY:  # Pillow reads all 16 bits of gray
        image.load()
        return np.asarray(image, np.uint16)[..., None]
    if image.width * image.height > MAX_16_BIT_PIXELS and not always:
        return None
    if data[25] == _GRAY_ALPHA:  # a pixel takes four bytes, as in RGBA of 8 bits
        header = data[12:24] + bytes([8, _RGB_ALPHA]) + data[26:29]
        pairs = np.asarray(reopen(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]))
        return pairs[..., ::2].astype(np.uint16) << 8 | pairs[..., 1::2]
    low = reopen(data)
    if not _give_low_bytes(low):
        return None
    values = np.asarray(image).astype(np.uint16)
    values <<= 8
    values |= np.asarray(low)
    return values


def _give_low_bytes(image: Image.Image) -> bool:
    """Make an opened image of 16 bits a colour channel give its low bytes instead of the high ones when it is loaded.

    Pillow drops every second byte of such pictures. Its raw modes RGB;16B and RGB;16L, big and little endian, drop
    opposite bytes, so that exchanging them gives the other half.

    Returns:
      Whether it is such an image; another one stays as it is.
    """
    tiles: list[Any] = []
    for tile in getattr(image, "tile", []):
        codec, box, offset, args = tile
        first, *others = (args,) if isinstance(args, str) else args or ("",)
        match = _RAW_16_BITS.fullmatch(str(first))
        if not match:
            return False
        swapped = f"{match[1]}L"
        plain = (codec, box, offset, swapped if isinstance(args, str) else (swapped, *others))
        tiles.append(plain if type(tile) is tuple else type(tile)(*plain))
    image.tile = tiles  # type: ignore[attr-defined]
    return bool(tiles)


def _find_colours(
    chunks: dict[bytes, bytes], image: Image.Image, notes: list[str]
) -> tuple[bytes | None, Encoding | None]:
    """Return the profile or the encoding from the chunk that takes precedence by the PNG specification."""
    code = chunks.get(b"cICP")
    if code is not None:
        encoding = from_code_points(*code[:2]) if len(code) == 4 and code[2:] == b"\0\1" else None
        if encoding:
            return None, encoding
        notes.append("its cICP chunk names colours that aren't known here, such as those of HDR, and is ignored")
    if b"iCCP" in chunks:
        profile = image.info.get("icc_profile")
        if profile:
            return profile, None
        notes.append("its colour profile can't be used and is ignored (it is damaged)")
    if b"sRGB" in chunks:
        return None, Encoding()
    gamma, corners = chunks.get(b"gAMA"), chunks.get(b"cHRM")
    if gamma is None and corners is None:
        return None, None
    name = "what it says of its colours (gAMA, cHRM)"
    if (gamma is not None and len(gamma) != 4) or (corners is not None and len(corners) != 32):
        notes.append(f"{name} can't be used and is ignored")
        return None, None
    encoding = Encoding()
    if corners is not None:
        encoding = encoding._replace(primaries=tuple(v / 100_000 for v in struct.unpack(">8I", corners)))
    if gamma is not None:
        encoding = encoding._replace(exponent=100_000 / max(1, int.from_bytes(gamma)))
    return None, find_usable(encoding, name, notes)
