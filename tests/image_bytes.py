"""Make TIFFs, PNGs and bitmaps of every layout by hand, after the formats' specifications."""

import struct
import zlib

import numpy as np

from tests.image_files import png_chunk

NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 8, 32946, 32773
HORIZONTAL, FLOATING = 2, 3

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def make_tiff(samples, photometric, **options):
    """Make a TIFF of one picture.

    Args:
      samples: (h, w, samples) of the type to be stored; unsigned ones of `bits` bits.
      photometric: PhotometricInterpretation; None for none.
      options: bits; order "<" or ">"; part (h, w) of tiles, or rows of strips; separate planes; compression; predictor;
        reverse for FillOrder 2; extra, the values of ExtraSamples; tags {number: (type, values)}; big for BigTIFF.
    """
    h, w, count = samples.shape
    bits = options.get("bits", 8 * samples.dtype.itemsize)
    order, part = options.get("order", "<"), options.get("part", h)
    tiled, separate = isinstance(part, tuple), options.get("separate", False)
    rows, columns = part if tiled else (part, w)
    segments = []
    for plane in np.moveaxis(samples, -1, 0)[..., None] if separate else [samples]:
        for top in range(0, h, rows):
            for left in range(0, w, columns):
                piece = plane[top : top + rows, left : left + columns]
                if tiled:
                    piece = np.pad(piece, ((0, rows - piece.shape[0]), (0, columns - piece.shape[1]), (0, 0)))
                segments.append(_pack(piece, bits, order, options))
    tags = {
        256: (4, [w]),
        257: (4, [h]),
        258: (3, [bits] * count),
        259: (3, [options.get("compression", NONE)]),
        277: (3, [count]),
        284: (3, [2 if separate else 1]),
        339: (3, [{"u": 1, "i": 2, "f": 3}[samples.dtype.kind]] * count),
    }
    if photometric is not None:
        tags[262] = (3, [photometric])
    if "predictor" in options:
        tags[317] = (3, [options["predictor"]])
    if options.get("reverse"):
        tags[266] = (3, [2])
    if options.get("extra"):
        tags[338] = (3, list(options["extra"]))
    tags |= {322: (4, [columns]), 323: (4, [rows])} if tiled else {278: (4, [rows])}
    return write_directory(tags | options.get("tags", {}), segments, order, tiled=tiled, big=options.get("big", False))


def write_directory(tags, segments, order, *, tiled=False, big=False):
    """Make a TIFF of tags {number: (type, values)} and strips or tiles."""
    offset_type, word, count_type = (16, "Q", "Q") if big else (4, "I", "H")
    tags = tags | {
        324 if tiled else 273: (offset_type, [0] * len(segments)),
        325 if tiled else 279: (4, [*map(len, segments)]),
    }
    codes = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 16: "Q"}
    size = struct.calcsize(f"={word}")
    head = 16 if big else 8
    at = head + struct.calcsize(f"={count_type}") + len(tags) * (4 + 2 * size) + size
    blobs, entries = b"", []

    def pack(kind, values):
        return struct.pack(f"{order}{len(values)}{codes[kind]}", *values)

    lengths = {number: len(pack(kind, values)) for number, (kind, values) in tags.items()}
    start = at + sum(length for length in lengths.values() if length > size)
    where = np.cumsum([start, *map(len, segments)])[:-1].tolist()
    for number in sorted(tags):
        kind, values = tags[number]
        values = where if number in (273, 324) else values
        content = pack(kind, values)
        n = len(values) // (2 if kind == 5 else 1)
        if len(content) > size:
            entries.append((number, kind, n, struct.pack(order + word, at + len(blobs))))
            blobs += content
        else:
            entries.append((number, kind, n, content.ljust(size, b"\0")))
    out = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    out += struct.pack(order + count_type, len(entries))
    out += b"".join(struct.pack(f"{order}HH{word}", *entry[:3]) + entry[3] for entry in entries) + bytes(size)
    return out + blobs + b"".join(segments)


def _pack(piece, bits, order, options):
    """Make the bytes of a strip or tile."""
    rows, columns, each = piece.shape
    predictor = options.get("predictor", 1)
    if predictor == HORIZONTAL:
        whole = piece.view(f"u{piece.dtype.itemsize}")
        piece = np.concatenate([whole[:, :1], whole[:, 1:] - whole[:, :-1]], 1)
    if predictor == FLOATING:
        size = piece.dtype.itemsize
        planes = piece.astype(piece.dtype.newbyteorder(">")).reshape(rows, -1).view(np.uint8).reshape(rows, -1, size)
        line = planes.swapaxes(1, 2).reshape(rows, -1, each)
        data = np.concatenate([line[:, :1], line[:, 1:] - line[:, :-1]], 1).tobytes()
    else:
        data = pack_bits(piece.reshape(rows, columns * each), bits, order)
    packed = _COMPRESSIONS[options.get("compression", NONE)](data)
    return packed.translate(_REVERSED) if options.get("reverse") else packed


def pack_bits(numbers, bits, order=">"):
    """Pack lines of numbers, each line padded to whole bytes."""
    if bits in (8, 16, 32, 64):
        return numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    single = (numbers[..., None].astype(np.uint32) >> np.arange(bits)[::-1].astype(np.uint32)) & 1
    return np.packbits(single.reshape(len(numbers), -1).astype(np.uint8), axis=1).tobytes()


def _lzw(data):
    """Encode in codes of 9 bits only: each byte by itself, with a new table before longer codes would be needed."""
    codes = []
    for i, byte in enumerate(data):
        codes += [256, byte] if i % 200 == 0 else [byte]
    stream = "".join(f"{code:09b}" for code in [*codes, 257])
    stream += "0" * (-len(stream) % 8)
    return int(stream, 2).to_bytes(len(stream) // 8)


def _packbits(data):
    """Encode runs of two equal bytes or more, and single bytes."""
    out, at = bytearray(), 0
    while at < len(data):
        run = 1
        while run < 128 and data[at + run : at + run + 1] == data[at : at + 1]:
            run += 1
        out += bytes([(257 - run) % 256 if run > 1 else 0, data[at]])
        at += run
    return bytes(out)


_COMPRESSIONS = {
    NONE: bytes,
    LZW: _lzw,
    DEFLATE: zlib.compress,
    OLD_DEFLATE: zlib.compress,
    PACKBITS: _packbits,
}


def make_png(samples, bits, kind, *, interlaced=False, chunks=()):
    """Make a PNG of numbers (h, w, channels), whose lines go through all five filters in turn.

    Args:
      samples: unsigned integers of `bits` bits.
      bits: a sample.
      kind: colour type.
      interlaced: by Adam7.
      chunks: (name, content) before the pixels.
    """
    h, w, channels = samples.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b""
    for top, left, down, right in passes if interlaced else [(0, 0, 1, 1)]:
        piece = samples[top::down, left::right]
        if piece.size:
            data += _filter(piece.reshape(len(piece), -1), bits, max(1, bits * channels // 8))
    head = struct.pack(">IIBBBBB", w, h, bits, kind, 0, 0, int(interlaced))
    content = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in content)


def _filter(numbers, bits, step):
    packed = pack_bits(numbers, bits)
    lines = np.frombuffer(packed, np.uint8).reshape(len(numbers), -1).astype(np.int16)
    out, above = b"", np.zeros_like(lines[0])
    for i, line in enumerate(lines):
        left = np.concatenate([np.zeros(step, np.int16), line])[: len(line)]
        corner = np.concatenate([np.zeros(step, np.int16), above])[: len(line)]
        guess = left + above - corner
        far = [abs(guess - left), abs(guess - above), abs(guess - corner)]
        paeth = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner))
        predicted = (0, left, above, (left + above) // 2, paeth)[i % 5]
        out += bytes([i % 5]) + ((line - predicted) % 256).astype(np.uint8).tobytes()
        above = line
    return out


def make_bmp(numbers, bits, *, palette=None, masks=None):
    """Make a BMP of numbers (h, w) of `bits` bits, bottom up; `masks` are for red, green, blue and perhaps alpha."""
    h, w = numbers.shape
    if bits < 8:
        lines = [pack_bits(line[None], bits) for line in numbers[::-1]]
    else:
        lines = [b"".join(int(n).to_bytes(bits // 8, "little") for n in line) for line in numbers[::-1]]
    data = b"".join(line + bytes(-len(line) % 4) for line in lines)
    table = b"".join(bytes([*colour[::-1], 0]) for colour in palette) if palette is not None else b""
    size = 108 if masks else 40
    head = struct.pack("<IiiHHIIiiII", size, w, h, 1, bits, 3 if masks else 0, len(data), 0, 0, len(table) // 4, 0)
    if masks:
        head += struct.pack("<4I", *masks, *[0] * (4 - len(masks))) + b"BGRs" + bytes(48)
    start = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + table + data
