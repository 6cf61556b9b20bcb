"""Read the numbers in a TIFF's strips or tiles, of any depth. Pillow's libtiff undoes lossless compression."""

import io
import itertools
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxstyle.app.image_files.pixel_values import Unusable

NONE = 1
# These are LZW, Deflate by both its numbers, PackBits and Zstandard. LZMA is left out, since its files say how much
# memory unpacking takes.
GENERIC = (5, 8, 32946, 32773, 50000)
HORIZONTAL, FLOATING = 2, 3  # predictors

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_BLOCK = 2**20


class Layout(NamedTuple):
    """How a TIFF's samples lie in its file.

    Attributes:
      shape: height, width, and samples a pixel.
      part: height and width of a strip or tile.
      tiled: whether the parts are tiles; all tiles are whole.
      separate: whether each sample has a plane of its own.
      bits: bits of a sample.
      kind: the kind of number as NumPy calls it: u, i or f.
      order: the order of bytes: < or >.
      reversed_bits: whether a byte's first bit is its lowest.
      compression: the code of the compression: NONE or one of GENERIC.
      predictor: 1 for none, HORIZONTAL or FLOATING.
      offsets: where the strips or tiles begin.
      counts: how many bytes each strip or tile has.
    """

    shape: tuple[int, int, int]
    part: tuple[int, int]
    tiled: bool
    separate: bool
    bits: int
    kind: str
    order: str
    reversed_bits: bool
    compression: int
    predictor: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]


def read_samples(data: bytes, layout: Layout, wanted: int, limit: int) -> np.ndarray:
    """Read the first `wanted` samples of each pixel, (h, w, wanted), in the smallest type that holds them.

    Args:
      data: the file's bytes.
      layout: how the samples lie in the file.
      wanted: how many samples of each pixel to read.
      limit: the most bytes that the unpacked samples may take.

    Raises:
      Unusable: if the file has too few bytes, or if unpacking takes more than `limit`.
    """
    h, w, samples = layout.shape
    rows, columns = layout.part
    down, across = -(-h // rows), -(-w // columns)
    planes, each = (wanted, 1) if layout.separate else (1, samples)
    line = -(-columns * each * layout.bits // 8)
    lines = down * across * rows if layout.tiled else h
    if planes * lines * line > limit:
        raise Unusable(f"it takes more than {limit} bytes unpacked; raise the limit with --max-pixels")
    if len(layout.offsets) < planes * down * across or (
        layout.compression != NONE and len(layout.counts) < planes * down * across
    ):
        raise Unusable("the TIFF is damaged: it has fewer strips or tiles than its size says")
    found = []
    for plane in range(planes):
        part = slice(plane * down * across, (plane + 1) * down * across)
        raw = _unpack(data, layout, part, lines, line)
        values = _undo_predictor(_to_numbers(raw, layout, columns * each), layout, each)
        if layout.tiled:
            values = values.reshape(down, across, rows, columns, each).swapaxes(1, 2)
        found.append(values.reshape(down * rows if layout.tiled else h, -1, each)[:h, :w, :wanted])
    return found[0] if planes == 1 else np.concatenate(found, -1)


def _unpack(data: bytes, layout: Layout, part: slice, lines: int, line: int) -> np.ndarray:
    """Return the bytes of the strips or tiles, one below the other, (lines, line)."""
    rows = layout.part[0]
    offsets = layout.offsets[part]
    if layout.compression == NONE and not layout.reversed_bits:
        together = all(b - a == rows * line for a, b in itertools.pairwise(offsets))
        if together and offsets[0] + lines * line <= len(data):  # the usual case, in which nothing is copied
            return np.frombuffer(data, np.uint8, lines * line, offsets[0]).reshape(lines, line)
    segments = []
    for i, offset in enumerate(offsets):
        size = min(rows, lines - i * rows) * line
        count = size if layout.compression == NONE else layout.counts[part][i]
        segment = data[offset : offset + count]
        if len(segment) < count or not count:
            raise Unusable("the TIFF is truncated or damaged: a strip or tile ends beyond the file")
        segments.append(segment.translate(_REVERSED) if layout.reversed_bits else segment)
    if layout.compression == NONE:
        return np.frombuffer(b"".join(segments), np.uint8).reshape(lines, line)
    return _decompress(segments, layout.compression, rows, lines, line)


def _decompress(segments: list[bytes], compression: int, rows: int, lines: int, line: int) -> np.ndarray:
    """Decompress strips to bytes (lines, line): Pillow reads them as the strips of a gray TIFF of 8 bits."""
    offsets, at = [], 8
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    at += at % 2
    tags = [(256, line), (257, lines), (258, 8), (259, compression), (262, 1), (277, 1), (278, rows)]
    many = len(segments) > 1
    lists = at + 2 + 12 * (len(tags) + 2) + 4
    tags += [(273, lists if many else offsets[0]), (279, lists + 4 * len(segments) if many else len(segments[0]))]
    if lists + 8 * len(segments) >= 2**32:
        raise Unusable("the TIFF has 4 GB or more of compressed data; save a smaller one")
    directory = struct.pack("<H", len(tags))
    for tag, value in sorted(tags):
        directory += struct.pack("<HHII", tag, 4, len(segments) if tag in (273, 279) else 1, value)
    directory += bytes(4)
    if many:
        directory += struct.pack(f"<{2 * len(segments)}I", *offsets, *map(len, segments))
    body = b"".join(segments)
    file = struct.pack("<2sHI", b"II", 42, at) + body + bytes(-len(body) % 2) + directory
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # these are bytes and not pixels, and their number was checked
        with Image.open(io.BytesIO(file), formats=["TIFF"]) as image:
            return np.asarray(image).reshape(lines, line)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _to_numbers(raw: np.ndarray, layout: Layout, count: int) -> np.ndarray:
    """Convert bytes (lines, line) to numbers (lines, count)."""
    bits = layout.bits
    if layout.predictor == FLOATING:
        return _undo_floating(raw, bits, count, 1 if layout.separate else layout.shape[2])
    if bits in (8, 16, 32, 64):
        stored = np.dtype(f"{layout.order}{layout.kind}{bits // 8}")
        return raw.view(stored).astype(stored.newbyteorder("="), copy=False)
    out = np.empty((len(raw), count), np.uint8 if bits <= 8 else np.uint16)
    weights = 1 << np.arange(bits)[::-1].astype(np.uint16)
    step = max(1, _BLOCK // (count * bits))
    for at in range(0, len(raw), step):
        single = np.unpackbits(raw[at : at + step], axis=1)[:, : count * bits]
        out[at : at + step] = single.reshape(-1, count, bits) @ weights
    return out


def _undo_predictor(values: np.ndarray, layout: Layout, each: int) -> np.ndarray:
    """Sum up values that are stored as differences from the pixel to the left."""
    if layout.predictor != HORIZONTAL:
        return values
    unsigned = values.view(f"u{values.dtype.itemsize}").reshape(len(values), -1, each)
    return unsigned.cumsum(axis=1, dtype=unsigned.dtype).reshape(values.shape).view(values.dtype)


def _undo_floating(raw: np.ndarray, bits: int, count: int, each: int) -> np.ndarray:
    """Restore floats from lines that store differences of bytes, all first bytes before all second ones."""
    size = bits // 8
    sums = raw.reshape(len(raw), -1, each).cumsum(axis=1, dtype=np.uint8)
    planes = sums.reshape(len(raw), size, count).swapaxes(1, 2)
    return np.ascontiguousarray(planes).view(f">f{size}")[..., 0].astype(f"f{size}")
