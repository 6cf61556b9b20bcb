"""Matrices of what image files hold: each cell is right, or refused with one line where a rule says so.

Each test goes through the cells of one kind of file and lists those that are wrong; `-s` prints how many there were.
"""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app import png, stored
from jaxstyle.app.boxes import read_avif_boxes
from jaxstyle.app.decode import decode
from jaxstyle.app.errors import StartError
from tests import image_bytes as files
from tests.reference import numpy_pictures as reference

H, W = 7, 18  # more than two strips of three rows, or one tile, hold
RNG = np.random.default_rng(16)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}
NUMBERS = [
    *(f"u{bits}" for bits in (1, 2, 4, 8, 10, 12, 16, 32)),
    *(f"i{bits}" for bits in (8, 16, 32)),
    "f16",
    "f32",
    "f64",
]
# The values of ExtraSamples, and which of the extra samples is alpha.
ALPHA = {
    "none": ((), None),
    "straight": ((2,), 0),
    "associated": ((1,), 0),
    "unspecified": ((0,), None),
    "untagged": (None, None),
    "transparent": ((2,), 0),
    "second": ((0, 2), 1),
}
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


def make_numbers(name, channels):
    """Numbers (H, W, channels) from 0 to the largest, how many bits each has, and their values in [0, 1]."""
    kind, bits = name[0], int(name[1:])
    if kind == "f":
        numbers = RNG.random((H, W, channels)).astype(f"f{bits // 8}")
        return numbers, bits, numbers.astype(np.float64)
    top = 2 ** (bits - (kind == "i")) - 1
    numbers = RNG.integers(0, top, (H, W, channels), endpoint=True)
    numbers[0, :2] = [[0], [top]]
    size = next(size for size in (1, 2, 4) if bits <= 8 * size)
    return numbers.astype(f"{kind}{size}"), bits, numbers / top


def find_wanted(photometric, numbers, values, bits, table):
    """sRGB or gray in [0, 1] of the samples of colours."""
    step = 2.0 ** (bits - 8)
    if photometric == WHITE_IS_ZERO:
        return 1 - values
    if photometric == PALETTE:
        return table[numbers[..., 0]] / 65535
    if photometric == CMYK:
        return reference.from_cmyk(values)
    if photometric == YCBCR:
        return reference.from_ycbcr(numbers)
    if photometric == LAB:
        signed = numbers[..., 1:].astype(np.int64)
        signed = np.where(signed >= 128 * step, signed - 256 * step, signed)
        return reference.from_lab(np.concatenate([values[..., :1] * 100, signed / step], -1))
    if photometric == ICC_LAB:
        return reference.from_lab(
            np.concatenate([numbers[..., :1] / (255 * step) * 100, numbers[..., 1:] / step - 128], -1)
        )
    return values


def is_refused(photometric, name, alpha):
    """What is so rare that it is refused."""
    integer = name in ("u1", "u2", "u4", "u8", "u10", "u12", "u16")
    if photometric in (LAB, ICC_LAB):
        good = name in ("u8", "u16")
    elif photometric in (CMYK, PALETTE):
        good = integer
    else:
        good = name == "u8" if photometric == YCBCR else True
    return not good or (alpha == "associated" and photometric not in (BLACK_IS_ZERO, RGB))


# Compressions and predictors; each with the numbers that it is for.
STORAGE = [
    ({}, "uif"),
    *[
        ({"compression": code}, "uif")
        for code in (files.LZW, files.DEFLATE, files.OLD_DEFLATE, files.PACKBITS, files.LZMA)
    ],
    *[({"compression": code, "predictor": files.HORIZONTAL}, "whole") for code in (files.LZW, files.DEFLATE)],
    *[({"compression": code, "predictor": files.FLOATING}, "f") for code in (files.LZW, files.DEFLATE)],
]


def fits(which, name):
    return name[1:] in ("8", "16", "32", "64") and name[0] != "f" if which == "whole" else name[0] in which


def choose_storage(i, name):
    """One of the ways to lay numbers out, other ones for other i."""
    options, _ = [storage for storage in STORAGE if fits(storage[1], name)][i % 7 % 6]
    return options | {
        "order": "<>"[i // 3 % 2],
        "part": (H, 3, (16, 16))[i % 3],
        "reverse": i % 11 == 0,
        "big": i % 13 == 0,
    }


@pytest.mark.parametrize("photometric", COLOURS)
def test_tiff_of_every_kind(photometric):
    cells = Cells()
    for i, (name, alpha, separate) in enumerate(itertools.product(NUMBERS, ALPHA, (False, True))):
        if photometric == PALETTE and name == "u16" and (separate or alpha not in ("none", "straight")):
            continue  # its palette of 65536 colours takes long to write
        extra, at = ALPHA[alpha]
        count = COLOURS[photometric]
        numbers, bits, values = make_numbers(name, count + (1 if extra is None else len(extra)))
        tags, table = {}, None
        if alpha == "transparent":
            numbers[..., -1], values[..., -1] = 0, 0
        elif alpha == "associated":
            part = values[..., :count] * values[..., count:]
            numbers[..., :count] = part if name[0] == "f" else part * (2 ** (bits - (name[0] == "i")) - 1)
            values = numbers / (1 if name[0] == "f" else 2 ** (bits - (name[0] == "i")) - 1)
        if photometric == PALETTE and name[0] == "u" and bits <= 16:
            table = RNG.integers(0, 65536, (2**bits, 3))
            tags[320] = (3, table.T.reshape(-1).tolist())
        if photometric == YCBCR:
            tags[530] = (3, [1, 1])
        options = choose_storage(i, name)
        data = files.make_tiff(numbers, photometric, bits=bits, separate=separate, extra=extra, tags=tags, **options)
        refused = is_refused(photometric, name, alpha)
        wanted = np.ones((H, W, 3))
        if not refused:
            colours = find_wanted(photometric, numbers[..., :count], values[..., :count], bits, table)
            cover = None if at is None else values[..., count + at :][..., :1]
            wanted = reference.compose(colours, cover, associated=alpha == "associated")
        note = {"unspecified": "they are ignored", "untagged": "they are ignored", "transparent": "only the background"}
        atol = {CMYK: LEVEL if name == "u8" else EXACT, YCBCR: ROUNDED, LAB: ROUNDED, ICC_LAB: ROUNDED}.get(
            photometric, EXACT
        )
        cells.check(
            (photometric, name, alpha, separate, options),
            data,
            wanted,
            atol=atol,
            refused=refused,
            note=note.get(alpha),
        )
    cells.finish(170)


@pytest.mark.parametrize("name", ["u1", "u12", "u16", "f32"])
def test_tiff_stored_in_every_way(name):
    cells = Cells()
    numbers, bits, values = make_numbers(name, 4)
    wanted = reference.compose(values[..., :3], values[..., 3:])
    choices = itertools.product(STORAGE, "<>", (H, 3, (16, 16)), (False, True), (False, True))
    for i, ((storage, which), order, part, separate, reverse) in enumerate(choices):
        if fits(which, name):
            options = storage | {
                "order": order,
                "part": part,
                "separate": separate,
                "reverse": reverse,
                "big": i % 5 == 0,
            }
            cells.check(options, files.make_tiff(numbers, RGB, bits=bits, extra=(2,), **options), wanted)
    cells.finish(140)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_kind(bits):
    cells = Cells()
    top = 2**bits - 1
    kinds = {0: 1, 2: 3, 4: 2, 6: 4} if bits >= 8 else {0: 1}
    for (kind, channels), alpha, interlaced in itertools.product(
        kinds.items(), ("none", "key", "transparent"), (False, True)
    ):
        numbers = RNG.integers(0, top, (H, W, channels), endpoint=True).astype(f"u{max(1, bits // 8)}")
        colours = numbers / top if kind in (0, 2) else numbers[..., :-1] / top
        cover, chunks = None if kind in (0, 2) else numbers[..., -1:] / top, []
        if alpha == "transparent" and kind in (4, 6):
            numbers[..., -1] = 0
            cover = np.zeros((H, W, 1))
        elif alpha != "none":
            if kind in (4, 6):  # where there can't be another transparency
                continue
            if alpha == "transparent":
                numbers[:] = numbers[0, 0]
                colours = numbers / top
            key = numbers[0, 0].astype(">u2") | (0xFF00 if bits == 8 else 0)  # of which only the lowest bits count
            numbers[1, 1] = numbers[0, 0] ^ 1  # as near as can be, and not transparent
            colours = numbers / top
            cover = (numbers != numbers[0, 0]).any(-1, keepdims=True)
            chunks = [(b"tRNS", key.astype(">u2").tobytes())]
        data = files.make_png(numbers, bits, kind, interlaced=interlaced, chunks=chunks)
        cells.check((bits, kind, alpha, interlaced), data, reference.compose(colours, cover))
    for alpha, interlaced in itertools.product(("none", "one", "table", "transparent"), (False, True)):
        if bits == 16:
            continue
        table = RNG.integers(0, 255, (2**bits, 3), endpoint=True).astype(np.uint8)
        numbers = RNG.integers(0, top, (H, W, 1), endpoint=True).astype(np.uint8)
        cover = {"none": b"", "one": b"\xff\0", "table": RNG.bytes(top), "transparent": bytes(top + 1)}[alpha]
        chunks = [(b"PLTE", table.tobytes()), *([(b"tRNS", cover)] if cover else [])]
        cover = np.frombuffer(cover.ljust(256, b"\xff"), np.uint8)[numbers] / 255
        data = files.make_png(numbers, bits, 3, interlaced=interlaced, chunks=chunks)
        cells.check((bits, "palette", alpha, interlaced), data, reference.compose(table[numbers[..., 0]] / 255, cover))
    cells.finish(14)


def test_pnm_of_every_kind():
    cells = Cells()
    for last, channels, plain in itertools.product((1, 3, 15, 100, 255, 256, 1000, 4095, 65535), (1, 3), (False, True)):
        numbers = RNG.integers(0, last, (H, W, channels), endpoint=True)
        digit = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, plain]
        head = f"P{digit} # made by hand\n{W}  {H}\n# of so many tones\n{last}\n".encode()
        body = numbers.astype(">u2" if last > 255 else "u1").tobytes()
        body = b"\n".join(b" ".join(b"%d" % n for n in row) for row in numbers.reshape(H, -1)) if plain else body
        # Pillow reads what is written in digits, in colour as of 8 bits.
        atol = ROUNDED if plain and (channels == 3 or last < 256) else 1e-5
        cells.check((digit, last), head + body, reference.compose(numbers / last), atol=atol)
    bits = RNG.integers(0, 1, (H, W), endpoint=True).astype(np.uint8)
    wanted = reference.compose(1 - bits[..., None])
    cells.check("P4", b"P4 %d %d\n" % (W, H) + np.packbits(bits, axis=1).tobytes(), wanted)
    cells.check("P1", b"P1 %d %d\n" % (W, H) + " ".join(map(str, bits.ravel())).encode(), wanted)
    for order, channels, top in itertools.product("<>", (1, 3), (1, 255, 65535)):
        values = RNG.random((H, W, channels)).astype(f"{order}f4") * np.float32(top)
        head = b"P%s\n%d %d\n%s\n" % (b"f" if channels == 1 else b"F", W, H, b"-1.0" if order == "<" else b"1.0")
        data = head + values[::-1].astype(f"{order}f4").tobytes()
        cells.check(("pfm", order, channels, top), data, reference.compose(values / top), note=f"from 0 to {top}")
    cells.finish(50)


def save(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_other_formats_without_loss():
    cells = Cells()
    pixels = RNG.integers(0, 255, (H, W, 4), endpoint=True).astype(np.uint8)
    clear = pixels * np.array([1, 1, 1, 0], np.uint8)
    gray, rgb, values = pixels[..., 0], pixels[..., :3], pixels / 255
    opaque, shown = reference.compose(values[..., :3]), reference.compose(values[..., :3], values[..., 3:])
    cells.check("WebP RGB", save(Image.fromarray(rgb), "WEBP", lossless=True), opaque)
    cells.check("WebP RGBA", save(Image.fromarray(pixels), "WEBP", lossless=True, exact=True), shown)
    cells.check(
        "WebP clear", save(Image.fromarray(clear), "WEBP", lossless=True, exact=True), np.ones((H, W, 3)), note="only"
    )
    one = reference.compose(values[..., :1])
    for extension, options in (("jp2", {}), ("j2k", {"no_jp2": True})):
        wide = {"irreversible": False, "num_resolutions": 1, **options}
        cells.check((extension, "L"), save(Image.fromarray(gray), "JPEG2000", **wide), one)
        cells.check((extension, "RGB"), save(Image.fromarray(rgb), "JPEG2000", **wide), opaque)
        cells.check((extension, "RGBA"), save(Image.fromarray(pixels), "JPEG2000", **wide), shown)
        both = np.ascontiguousarray(pixels[..., 2:])
        wanted = reference.compose(values[..., 2:3], values[..., 3:])
        cells.check((extension, "LA"), save(Image.fromarray(both), "JPEG2000", **wide), wanted)
        deep = RNG.integers(0, 65535, (H, W), endpoint=True).astype(np.uint16)
        cells.check(
            (extension, "I;16"),
            save(Image.fromarray(deep), "JPEG2000", **wide),
            reference.compose(deep[..., None] / 65535),
        )
    few = RNG.integers(0, 3, (H, W), endpoint=True).astype(np.uint8)
    table = RNG.integers(0, 255, (4, 3), endpoint=True).astype(np.uint8)
    image = Image.fromarray(few)
    image.putpalette(table.tobytes())
    for interlace, key in itertools.product((0, 1), (None, 0, 2)):
        data = save(image, "GIF", interlace=interlace, **({} if key is None else {"transparency": key}))
        cover = np.ones((H, W, 1)) if key is None else (few != key)[..., None]
        cells.check(("GIF", interlace, key), data, reference.compose(table[few] / 255, cover))
    cells.check("GIF gray", save(Image.fromarray(gray), "GIF"), one)
    cells.finish(20)


def test_bmp_of_every_kind():
    cells = Cells()
    for bits in (1, 4, 8):
        table = RNG.integers(0, 255, (2**bits, 3), endpoint=True)
        numbers = RNG.integers(0, 2**bits - 1, (H, W), endpoint=True).astype(np.uint8)
        cells.check(bits, files.make_bmp(numbers, bits, palette=table.tolist()), table[numbers] / 255)
    pixels = RNG.integers(0, 255, (H, W, 4), endpoint=True).astype(np.uint8)
    values = pixels / 255
    opaque, shown = values[..., :3], reference.compose(values[..., :3], values[..., 3:])
    whole = [[0xFF0000, 0xFF00, 0xFF, 0xFF000000], [0xFF, 0xFF00, 0xFF0000, 0xFF000000], [0xFF0000, 0xFF00, 0xFF]]
    for masks in (None, *whole):
        shifts = (
            [16, 8, 0, 24] if masks is None else [(mask & -mask).bit_length() - 1 for mask in [*masks, 0xFF000000][:4]]
        )
        numbers = sum(pixels[..., i].astype(np.uint64) << shift for i, shift in enumerate(shifts))
        wanted = shown if masks and len(masks) == 4 else opaque
        cells.check((32, masks), files.make_bmp(numbers, 32, masks=masks), wanted)
    cells.check(24, files.make_bmp(pixels[..., :3] @ np.array([65536, 256, 1]), 24), opaque)
    for masks in ([0xF800, 0x7E0, 0x1F], [0x7C00, 0x3E0, 0x1F]):
        tops = np.array([mask >> ((mask & -mask).bit_length() - 1) for mask in masks])
        numbers = RNG.integers(0, tops, (H, W, 3), endpoint=True)
        stored = (numbers * [mask & -mask for mask in masks]).sum(-1)
        cells.check(
            (16, masks), files.make_bmp(stored, 16, masks=masks), numbers / tops, atol=LEVEL
        )  # Pillow rounds down
    cells.finish(9)


def smooth(channels):
    """Numbers that JPEG and AVIF keep to a few levels: (16, 24, channels) uint8."""
    y, x = np.mgrid[:16, :24]
    return np.stack([40 + 8 * x, 60 + 9 * y, 200 - 4 * x - 2 * y, 30 + 5 * y][:channels], -1).astype(np.uint8)


def without_adobe(data):
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 16 :]


def test_jpeg_and_avif_of_every_kind():
    cells = Cells()
    near = 4 / 255
    for progressive in (False, True):
        options = {"quality": 100, "subsampling": 0, "progressive": progressive}
        gray, rgb, inks = smooth(1)[..., 0], smooth(3), smooth(4)
        cells.check(
            "gray", save(Image.fromarray(gray), "JPEG", **options), reference.compose(gray[..., None] / 255), atol=near
        )
        cells.check("YCbCr", save(Image.fromarray(rgb), "JPEG", **options), rgb / 255, atol=near)
        cells.check("RGB", save(Image.fromarray(rgb), "JPEG", keep_rgb=True, **options), rgb / 255, atol=near)
        wanted = reference.from_cmyk(inks / 255)
        data = save(Image.frombytes("CMYK", (24, 16), inks.tobytes()), "JPEG", **options)
        assert b"Adobe" in data
        cells.check("CMYK of Adobe", data, wanted, atol=2 * near, note="what its inks look like is a guess")
        data = save(Image.frombytes("CMYK", (24, 16), (255 - inks).tobytes()), "JPEG", **options)
        cells.check("CMYK of others", without_adobe(data), wanted, atol=2 * near, note="a guess")
    Image.init()
    if "AVIF" in Image.SAVE:
        options = {"quality": 100, "subsampling": "4:4:4"}
        rgb, rgba = smooth(3), smooth(4)
        cells.check("AVIF", save(Image.fromarray(rgb), "AVIF", **options), rgb / 255, atol=near)
        shown = reference.compose(rgba[..., :3] / 255, rgba[..., 3:] / 255)
        cells.check("AVIF alpha", save(Image.fromarray(rgba), "AVIF", **options), shown, atol=near)
    cells.finish(10)


def test_tiff_of_jpeg_and_fax():
    cells = Cells()
    gray, rgb = smooth(1)[..., 0], smooth(3)

    def wrap(stream, photometric, count, compression=7, bits=8, **more):
        tags = {
            256: (4, [24]),
            257: (4, [16]),
            258: (3, [bits] * count),
            259: (3, [compression]),
            262: (3, [photometric]),
        }
        tags |= {277: (3, [count]), 278: (4, [16]), **more.get("tags", {})}
        return files.write_directory(tags, [stream], more.get("order", "<"))

    options = {"quality": 100, "subsampling": 0}
    for order in "<>":
        stream = save(Image.fromarray(gray), "JPEG", **options)
        wanted = reference.compose(gray[..., None] / 255)
        cells.check("gray", wrap(stream, BLACK_IS_ZERO, 1, order=order), wanted, atol=LEVEL)
        cells.check("inverted", wrap(stream, WHITE_IS_ZERO, 1, order=order), 1 - wanted, atol=LEVEL)
        stream = save(Image.fromarray(rgb), "JPEG", **options)
        tags = {530: (3, [1, 1])}
        cells.check("YCbCr", wrap(stream, YCBCR, 3, order=order, tags=tags), rgb / 255, atol=4 / 255)
        stream = save(Image.fromarray(rgb), "JPEG", keep_rgb=True, **options)
        cells.check("RGB", wrap(stream, RGB, 3, order=order), rgb / 255, atol=2 * LEVEL)
        cells.check("CMYK", wrap(stream, CMYK, 4, order=order), 0, refused=True)
        alpha = {338: (3, [1]), 284: (3, [1])}
        cells.check("alpha", wrap(stream, RGB, 4, order=order, tags=alpha), 0, refused=True)
    bits = RNG.integers(0, 1, (H, W), endpoint=True).astype(bool)
    for kind, black in itertools.product(("tiff_ccitt", "group3", "group4"), (False, True)):
        options = {"tiffinfo": {262: 0}} if black else {}
        data = save(Image.fromarray(bits), "TIFF", compression=kind, **options)
        cells.check((kind, black), data, reference.compose(bits[..., None]))
    cells.finish(18)


def find_notes(data, **options):
    return decode(data, "x", **options).notes


@pytest.mark.parametrize("odd", [1.02, 30.0, 300.0, 1e6, 1e30, -0.5, -1e30])
@pytest.mark.parametrize("top", [1, 255, 65535])
def test_odd_values_do_not_tip_the_range_of_floats(odd, top):
    values = RNG.uniform(0.1, 0.9, (20, 30, 3)).astype(np.float32)
    stored = values * np.float32(top)
    stored[3, 4:7] = odd * top
    wanted = values.copy()
    wanted[3, 4:7] = odd > 0
    cells = Cells()
    for dtype in ("f4", "f8"):
        data = files.make_tiff(stored.astype(dtype), RGB)
        cells.check(
            (dtype, odd, top), data, wanted, note=f"9 of its 1800 values are outside of 0 to {top} and are clipped"
        )
        assert f"its floats are taken as values from 0 to {top}, of sRGB unless it has a profile" in find_notes(data)
    cells.finish(2)


def test_highlights_and_black_backgrounds():
    bright = RNG.uniform(0, 1, (20, 30, 3)).astype(np.float32)
    bright[:2] = 50  # a tenth of the picture, as of lamps
    cells = Cells()
    cells.check("lamps", files.make_tiff(bright, RGB), np.minimum(bright, 1))
    small = np.zeros((20, 30, 3), np.float32)
    small[5, 5:8] = [[200, 100, 50]] * 3  # on black
    cells.check("a small thing", files.make_tiff(small, RGB), small / 255, note="from 0 to 255")
    cells.check("black", files.make_tiff(np.zeros((5, 5, 3), np.float32), RGB), np.zeros((5, 5, 3)), note="from 0 to 1")
    for top in (255, 65535):
        numbers = RNG.integers(0, top, (20, 30, 3), endpoint=True).astype(np.uint32)
        numbers[0, 0] = 2**32 - 1
        wanted = np.minimum(numbers / top, 1)
        cells.check(
            "integers", files.make_tiff(numbers, RGB), wanted, note=f"its integers of 32 bits are taken from 0 to {top}"
        )
    cells.finish(5)


def test_numbers_that_are_not_finite():
    for value in (np.nan, np.inf, -np.inf):
        values = np.full((4, 4, 3), 0.5, np.float32)
        values[1, 2, 0] = value
        for data in (files.make_tiff(values, RGB), b"PF\n4 4\n-1.0\n" + values.tobytes()):
            with pytest.raises(
                StartError, match=r"cannot read x: it has pixels that are not finite \(1 of them\); replace"
            ):
                decode(data, "x")


def fails(data, line, **options):
    with pytest.raises(StartError) as caught:
        decode(data, "x", **options)
    assert str(caught.value) == f"cannot read x: {line}"


SAVE = "save it as RGB of 8 or 16 bits a channel"


def test_rare_tiffs_are_refused_with_one_line_that_helps():
    rgb = RNG.integers(0, 255, (H, W, 3), endpoint=True).astype(np.uint8)
    cases = [
        ({"tags": {259: (3, [34712])}}, "it is a TIFF of a rare compression (34712); save it by LZW or Deflate"),
        ({"tags": {317: (3, [9])}, "compression": files.LZW}, f"it is a TIFF of a rare predictor (9); {SAVE}"),
        ({"tags": {339: (3, [6, 6, 6])}}, f"it is a TIFF of rare numbers (bits [8], format [6]); {SAVE}"),
        ({"tags": {258: (3, [5, 6, 5])}}, f"it is a TIFF of rare numbers (bits [5, 6], format [1]); {SAVE}"),
        ({"tags": {258: (3, [24] * 3)}}, f"it is a TIFF of rare numbers (bits [24], format [1]); {SAVE}"),
        ({"tags": {262: (3, [32803])}}, "it is a raw photograph; develop it first, and save it as TIFF or JPEG"),
        ({"tags": {50706: (1, [1, 4, 0, 0])}}, "it is a raw photograph; develop it first, and save it as TIFF or JPEG"),
        ({"tags": {262: (3, [32844])}}, f"it is a TIFF of colours that aren't known here; {SAVE}"),
        ({"tags": {262: (3, [5])}}, "the TIFF is damaged: it has fewer samples a pixel than colours"),
        ({"tags": {256: (4, [0])}}, "the TIFF is damaged: it has no pixels"),
        (
            {"tags": {257: (4, [99]), 278: (4, [3])}},
            "the TIFF is damaged: it has fewer strips or tiles than its size says",
        ),
        (
            {"tags": {257: (4, [99]), 278: (4, [99])}},
            "the TIFF is truncated or damaged: a strip or tile ends beyond the file",
        ),
        ({"part": (16, 16), "tags": {322: (4, [0])}}, "the TIFF is damaged: its strips or tiles have no pixels"),
    ]
    for options, line in cases:
        fails(files.make_tiff(rgb, RGB, **options), line)
    half = "it is a TIFF of YCbCr with fewer samples of colour than of light, or of a rare depth"
    fails(files.make_tiff(rgb, YCBCR), f"{half}; {SAVE}")
    inks = np.concatenate([rgb, rgb[..., :1]], -1)
    fails(files.make_tiff(inks, CMYK, tags={332: (3, [2])}), f"it is a TIFF of colours that aren't known here; {SAVE}")


def test_notes_of_tiffs():
    rgb = RNG.integers(0, 255, (H, W, 3), endpoint=True).astype(np.uint8)
    cells = Cells()
    note = "its first picture, which is taken, is said to be a smaller copy of another one"
    cells.check("preview", files.make_tiff(rgb, RGB, tags={254: (4, [1])}), rgb / 255, note=note)
    note = "it doesn't say what its samples mean: they are taken as "
    cells.check("no photometric", files.make_tiff(rgb, None), rgb / 255, note=note + "RGB")
    gray = reference.compose(rgb[..., :1] / 255)
    cells.check("no photometric", files.make_tiff(rgb[..., :1], None), gray, note=note + "gray")
    table = RNG.integers(0, 255, (256, 3), endpoint=True)
    old = files.make_tiff(rgb[..., :1], PALETTE, tags={320: (3, table.T.reshape(-1).tolist())})
    cells.check("old palette", old, table[rgb[..., 0]] / 255, note="its palette is taken as of 8 bits")
    for times in (256, 257):
        data = files.make_tiff(rgb[..., :1], PALETTE, tags={320: (3, (table * times).T.reshape(-1).tolist())})
        cells.check(times, data, table[rgb[..., 0]] / 255)
    signed = RNG.integers(-32768, 32767, (H, W, 3), endpoint=True).astype(np.int16)
    note = "its integers of 16 bits are taken from 0 to 32767"
    cells.check("signed", files.make_tiff(signed, RGB), np.clip(signed / 32767, 0, 1), note=note)
    cells.finish(7)


def test_what_a_hostile_tiff_can_take_is_bounded():
    rgb = np.zeros((64, 64, 3), np.uint8)
    many = np.zeros((64, 64, 40), np.uint8)
    line = "it takes more than 65536 bytes unpacked; raise the limit with --max-pixels"
    for compression in (files.NONE, files.LZW, files.DEFLATE):
        fails(files.make_tiff(many, RGB, compression=compression), line, max_pixels=4096)
        tiles = files.make_tiff(rgb, RGB, part=(64, 64), compression=compression)
        huge = tiles.replace(
            b"\x42\x01\x04\0\x01\0\0\0\x40\0\0\0", b"\x42\x01\x04\0\x01\0\0\0\0\0\1\0"
        )  # TileWidth 65536
        assert huge != tiles
        fails(huge, line, max_pixels=4096)
        # Planes beside those of colour are not read.
        shown = decode(files.make_tiff(many, RGB, separate=True, compression=compression), "x", max_pixels=4096)
        np.testing.assert_array_equal(shown.image, 0)
        fails(
            files.make_tiff(rgb, RGB, separate=True),
            "it has 4096 pixels, over the limit of 4095; raise it with --max-pixels",
            max_pixels=4095,
        )
    for head in (b"P6\n64 64\n255\n", b"PF\n64 64\n1.0\n"):
        fails(head, "it has 4096 pixels, over the limit of 4095; raise it with --max-pixels", max_pixels=4095)
        fails(head, "the image is truncated or damaged: it ends before its last pixel")


def test_rare_jpegs_and_more_bits_than_are_kept():
    data = save(Image.fromarray(smooth(3)), "JPEG")
    at = data.index(b"\xff\xc0")
    line = "it is a JPEG of more than 8 bits a channel, or a lossless one; save it as PNG or TIFF"
    fails(data[: at + 4] + b"\x0c" + data[at + 5 :], line)
    fails(data[: at + 1] + b"\xc3" + data[at + 2 :], line)
    data = save(Image.fromarray(smooth(3)), "JPEG2000", num_resolutions=1)
    at = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[at] == 7
    note = "it has more than 8 bits a channel, of which 8 are kept"
    assert decode(data[:at] + b"\x0b\1\1\x0b\1\1\x0b" + data[at + 7 :], "x").notes == (note,)
    Image.init()
    if "AVIF" in Image.SAVE:
        data = save(Image.fromarray(smooth(3)), "AVIF")
        at = data.index(b"av1C") + 6
        notes: list[str] = []
        read_avif_boxes(data[:at] + bytes([data[at] | 0x40]) + data[at + 1 :], notes)
        assert notes == [note]


@pytest.mark.parametrize(
    ("head", "line"),
    [
        (b"P6\n3 x\n255\n", "the image is damaged: its header has no numbers"),
        (b"P6\n0 3\n255\n", "the image is damaged: its header has numbers that mean no picture"),
        (b"P6\n3 3\n65536\n", "the image is damaged: its header has numbers that mean no picture"),
        (b"P6\n3 3\n1.5\n", "the image is damaged: its header has numbers that mean no picture"),
        (b"PF\n3 3\n0\n", "the image is damaged: its header has numbers that mean no picture"),
        (b"PF\n3 3\nnan\n", "the image is damaged: its header has numbers that mean no picture"),
        (b"P6\n3 3", "the image is truncated or damaged: its header isn't whole"),
    ],
)
def test_damaged_headers_of_pnm(head, line):
    fails(head + bytes(200 if head.endswith(b"\n") else 0), line)


def test_odd_pnm():
    numbers = np.array([[[0], [50], [200]]], np.uint8)
    found = decode(b"P5 3 1 100\n" + numbers.tobytes(), "x")
    np.testing.assert_allclose(found.image[0, :, 0], [0, 0.5, 1], atol=1e-6)
    assert found.notes == ("it has values above 100, which it says is the largest; they are clipped",)
    values = np.array([[0.25]], "<f4")
    found = decode(b"Pf 1 1 -3.5\n" + values.tobytes(), "x")
    assert found.notes[0] == "its scale, 3.5, is ignored"
    np.testing.assert_allclose(found.image, 0.25)


def test_large_pictures_of_sixteen_bits_are_rounded_to_eight(monkeypatch):
    for module in (stored, png):
        monkeypatch.setattr(module, "MAX_DEEP", 100)
    cells = Cells()
    for channels, kind in ((1, 0), (3, 2), (2, 4), (4, 6)):
        numbers, _, values = make_numbers("u16", channels)
        cover = None if kind in (0, 2) else values[..., -1:]
        wanted = reference.compose(values if cover is None else values[..., :-1], cover)
        # Pillow keeps the high bytes of a PNG.
        cells.check((kind, "PNG"), files.make_png(numbers, 16, kind), wanted, atol=2 * LEVEL)
        extra = () if cover is None else (2,)
        photometric = RGB if channels > 2 else BLACK_IS_ZERO
        cells.check((kind, "TIFF"), files.make_tiff(numbers, photometric, extra=extra), wanted, atol=LEVEL)
        if cover is None:
            key = numbers[0, 0].astype(">u2").tobytes()
            numbers[1, 1] = numbers[0, 0] ^ 1
            cover = (numbers != numbers[0, 0]).any(-1, keepdims=True)
            data = files.make_png(numbers, 16, kind, chunks=[(b"tRNS", key)])
            cells.check((kind, "key"), data, reference.compose(numbers / 65535, cover), atol=LEVEL)
    cells.finish(10)
