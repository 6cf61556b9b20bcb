"""Make files that no library at hand writes: ICC profiles, and PNGs of 16 bits a channel."""

import struct
import zlib

import numpy as np

D50 = (0.9642, 1.0, 0.8249)

# Primaries and white of Adobe RGB (1998), adapted to D50, as that specification's annex C lists them, by columns.
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 563 / 256


def make_profile(space, tags, kind=b"mntr", connection=b"XYZ "):
    """Make a profile of ICC's version 2 from tags {name: data}."""
    tags = {b"desc": _description("test"), b"wtpt": xyz(D50), b"cprt": b"text\0\0\0\0none\0", **tags}
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(
        ">I4sI4s4s4s12s4s", start + len(body), b"test", 0x02400000, kind, space, connection, b"", b"acsp"
    )
    header += bytes(68 - len(header)) + struct.pack(">3i", *(round(v * 65536) for v in D50))
    return header + bytes(128 - len(header)) + table + body


def xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def _description(text):
    data = text.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(data)) + data + bytes(78)


def adobe_profile():
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    return make_profile(
        b"RGB ",
        {name: xyz(column) for name, column in zip(names, ADOBE_RGB.T, strict=True)}
        | {name: gamma(ADOBE_GAMMA) for name in (b"rTRC", b"gTRC", b"bTRC")},
    )


def gray_profile(exponent):
    return make_profile(b"GRAY", {b"kTRC": gamma(exponent)})


def cmyk_profile(lab_of):
    """Make a printer's profile, linear between the (L, a, b) that `lab_of` gives at the corners (c, m, y, k)."""
    ramp = bytes(range(256))
    corners = [lab_of(*(corner >> bit & 1 for bit in (3, 2, 1, 0))) for corner in range(16)]
    table = b"".join(bytes((round(light * 2.55), round(a) + 128, round(b) + 128)) for light, a, b in corners)
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + ramp * 4 + table + ramp * 3
    return make_profile(b"CMYK", {b"A2B0": lut, b"A2B1": lut}, b"prtr", b"Lab ")


def png16(values):
    """Make a PNG of uint16 values (h, w, 1 to 4), whose lines have the filters none, left and up in turn."""
    h, w, channels = values.shape
    lines = values.astype(">u2").reshape(h, -1).view(np.uint8).astype(np.int16)
    left = np.pad(lines, ((0, 0), (2 * channels, 0)))[:, : lines.shape[1]]
    up = np.pad(lines, ((1, 0), (0, 0)))[:-1]
    data = b"".join(
        bytes([y % 3]) + ((lines[y] - (0, left[y], up[y])[y % 3]) % 256).astype(np.uint8).tobytes() for y in range(h)
    )
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(name, content)
        for name, content in (
            (b"IHDR", struct.pack(">IIBBBBB", w, h, 16, kind, 0, 0, 0)),
            (b"IDAT", zlib.compress(data)),
            (b"IEND", b""),
        )
    )


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
