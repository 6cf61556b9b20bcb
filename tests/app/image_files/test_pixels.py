"""Test that every pixel is right in a matrix of image files other than TIFFs.

Each test goes through the cells of one kind of file and lists those that are wrong; `-s` prints how many there were.
"""

import itertools

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.image_files import pixel_values, png
from tests import image_bytes as files
from tests.cells import BLACK_IS_ZERO, LEVEL, RGB, Cells, H, W, make_numbers, save, smooth
from tests.reference import numpy_pictures as reference


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_of_every_kind(bits):
    rng = np.random.default_rng(16)
    cells = Cells()
    top = 2**bits - 1
    kinds = {0: 1, 2: 3, 4: 2, 6: 4} if bits >= 8 else {0: 1}
    for (kind, channels), alpha, interlaced in itertools.product(
        kinds.items(), ("none", "key", "transparent"), (False, True)
    ):
        numbers = rng.integers(0, top, (H, W, channels), endpoint=True).astype(f"u{max(1, bits // 8)}")
        colours = numbers / top if kind in (0, 2) else numbers[..., :-1] / top
        cover, chunks = None if kind in (0, 2) else numbers[..., -1:] / top, []
        if alpha == "transparent" and kind in (4, 6):
            numbers[..., -1] = 0
            cover = np.zeros((H, W, 1))
        elif alpha != "none":
            if kind in (4, 6):  # these kinds can't have another transparency
                continue
            if alpha == "transparent":
                numbers[:] = numbers[0, 0]
                colours = numbers / top
            key = numbers[0, 0].astype(">u2") | (0xFF00 if bits == 8 else 0)  # only its lowest bits count
            numbers[1, 1] = numbers[0, 0] ^ 1  # the nearest other colour isn't transparent
            colours = numbers / top
            cover = (numbers != numbers[0, 0]).any(-1, keepdims=True)
            chunks = [(b"tRNS", key.astype(">u2").tobytes())]
        data = files.make_png(numbers, bits, kind, interlaced=interlaced, chunks=chunks)
        cells.check((bits, kind, alpha, interlaced), data, reference.compose(colours, cover))
    for alpha, interlaced in itertools.product(("none", "one", "table", "transparent"), (False, True)):
        if bits == 16:
            continue
        table = rng.integers(0, 255, (2**bits, 3), endpoint=True).astype(np.uint8)
        numbers = rng.integers(0, top, (H, W, 1), endpoint=True).astype(np.uint8)
        cover = {"none": b"", "one": b"\xff\0", "table": rng.bytes(top), "transparent": bytes(top + 1)}[alpha]
        chunks = [(b"PLTE", table.tobytes()), *([(b"tRNS", cover)] if cover else [])]
        cover = np.frombuffer(cover.ljust(256, b"\xff"), np.uint8)[numbers] / 255
        data = files.make_png(numbers, bits, 3, interlaced=interlaced, chunks=chunks)
        cells.check((bits, "palette", alpha, interlaced), data, reference.compose(table[numbers[..., 0]] / 255, cover))
    cells.finish(14)


def test_pnm_of_every_kind():
    rng = np.random.default_rng(16)
    cells = Cells()
    for last, channels, plain in itertools.product((1, 3, 15, 100, 255, 256, 1000, 4095, 65535), (1, 3), (False, True)):
        numbers = rng.integers(0, last, (H, W, channels), endpoint=True)
        digit = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, plain]
        head = f"P{digit} # made by hand\n{W}  {H}\n# of so many tones\n{last}\n".encode()
        body = numbers.astype(">u2" if last > 255 else "u1").tobytes()
        body = b"\n".join(b" ".join(b"%d" % n for n in row) for row in numbers.reshape(H, -1)) if plain else body
        cells.check((digit, last), head + body, reference.compose(numbers / last))
    bits = rng.integers(0, 1, (H, W), endpoint=True).astype(np.uint8)
    wanted = reference.compose(1 - bits[..., None])
    cells.check("P4", b"P4 %d %d\n" % (W, H) + np.packbits(bits, axis=1).tobytes(), wanted)
    cells.check("P1", b"P1 %d %d\n" % (W, H) + " ".join(map(str, bits.ravel())).encode(), wanted)
    for order, channels, top in itertools.product("<>", (1, 3), (1, 255, 65535)):
        values = rng.random((H, W, channels)).astype(f"{order}f4") * np.float32(top)
        head = b"P%s\n%d %d\n%s\n" % (b"f" if channels == 1 else b"F", W, H, b"-1.0" if order == "<" else b"1.0")
        data = head + values[::-1].astype(f"{order}f4").tobytes()
        cells.check(("pfm", order, channels, top), data, reference.compose(values / top), note=f"from 0 to {top}")
    cells.finish(50)


def test_other_formats_without_loss():
    rng = np.random.default_rng(16)
    cells = Cells()
    pixels = rng.integers(0, 255, (H, W, 4), endpoint=True).astype(np.uint8)
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
        deep = rng.integers(0, 65535, (H, W), endpoint=True).astype(np.uint16)
        cells.check(
            (extension, "I;16"),
            save(Image.fromarray(deep), "JPEG2000", **wide),
            reference.compose(deep[..., None] / 65535),
        )
    few = rng.integers(0, 3, (H, W), endpoint=True).astype(np.uint8)
    table = rng.integers(0, 255, (4, 3), endpoint=True).astype(np.uint8)
    image = Image.fromarray(few)
    image.putpalette(table.tobytes())
    for interlace, key in itertools.product((0, 1), (None, 0, 2)):
        data = save(image, "GIF", interlace=interlace, **({} if key is None else {"transparency": key}))
        cover = np.ones((H, W, 1)) if key is None else (few != key)[..., None]
        cells.check(("GIF", interlace, key), data, reference.compose(table[few] / 255, cover))
    cells.check("GIF gray", save(Image.fromarray(gray), "GIF"), one)
    cells.finish(20)


def test_bmp_of_every_kind():
    rng = np.random.default_rng(16)
    cells = Cells()
    for bits in (1, 4, 8):
        table = rng.integers(0, 255, (2**bits, 3), endpoint=True)
        numbers = rng.integers(0, 2**bits - 1, (H, W), endpoint=True).astype(np.uint8)
        cells.check(bits, files.make_bmp(numbers, bits, palette=table.tolist()), table[numbers] / 255)
    pixels = rng.integers(0, 255, (H, W, 4), endpoint=True).astype(np.uint8)
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
        numbers = rng.integers(0, tops, (H, W, 3), endpoint=True)
        stored = (numbers * [mask & -mask for mask in masks]).sum(-1)
        cells.check(
            (16, masks), files.make_bmp(stored, 16, masks=masks), numbers / tops, atol=LEVEL
        )  # Pillow rounds down
    cells.finish(9)


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


def test_large_pictures_of_sixteen_bits_are_rounded_to_eight(monkeypatch):
    rng = np.random.default_rng(16)
    for module in (pixel_values, png):
        monkeypatch.setattr(module, "MAX_16_BIT_PIXELS", 100)
    cells = Cells()
    for channels, kind in ((1, 0), (3, 2), (2, 4), (4, 6)):
        numbers, _, values = make_numbers(rng, "u16", channels)
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
