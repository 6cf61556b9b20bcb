"""Test image files whose numbers need a guess or a bound, or are refused."""

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.image_files.avif_jpeg2000 import read_avif_boxes
from jaxstyle.app.image_files.decode import decode
from jaxstyle.app.system.errors import StartError
from tests import image_bytes as files
from tests.cells import CMYK, PALETTE, RGB, YCBCR, Cells, H, W, fails, save, smooth
from tests.reference import numpy_pictures as reference


def find_notes(data, **options):
    return decode(data, "x", **options).notes


@pytest.mark.parametrize("odd", [1.02, 30.0, 300.0, 1e6, 1e30, -0.5, -1e30])
@pytest.mark.parametrize("top", [1, 255, 65535])
def test_odd_values_do_not_tip_the_range_of_floats(odd, top):
    rng = np.random.default_rng(16)
    values = rng.uniform(0.1, 0.9, (20, 30, 3)).astype(np.float32)
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
    rng = np.random.default_rng(16)
    bright = rng.uniform(0, 1, (20, 30, 3)).astype(np.float32)
    bright[:2] = 50  # a tenth of the picture is bright, as lamps are
    cells = Cells()
    cells.check("lamps", files.make_tiff(bright, RGB), np.minimum(bright, 1))
    small = np.zeros((20, 30, 3), np.float32)
    small[5, 5:8] = [[200, 100, 50]] * 3  # the rest is black
    cells.check("a small thing", files.make_tiff(small, RGB), small / 255, note="from 0 to 255")
    cells.check("black", files.make_tiff(np.zeros((5, 5, 3), np.float32), RGB), np.zeros((5, 5, 3)), note="from 0 to 1")
    for top in (255, 65535):
        numbers = rng.integers(0, top, (20, 30, 3), endpoint=True).astype(np.uint32)
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


SAVE = "save it as RGB of 8 or 16 bits a channel"


def test_rare_tiffs_are_refused_with_one_line_that_helps():
    rng = np.random.default_rng(16)
    rgb = rng.integers(0, 255, (H, W, 3), endpoint=True).astype(np.uint8)
    cases = [
        ({"tags": {259: (3, [34712])}}, "it is a TIFF of a rare compression (34712); save it by LZW or Deflate"),
        ({"tags": {259: (3, [34925])}}, "it is a TIFF of a rare compression (34925); save it by LZW or Deflate"),
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
    rng = np.random.default_rng(16)
    rgb = rng.integers(0, 255, (H, W, 3), endpoint=True).astype(np.uint8)
    cells = Cells()
    note = "its first picture, which is taken, is said to be a smaller copy of another one"
    cells.check("preview", files.make_tiff(rgb, RGB, tags={254: (4, [1])}), rgb / 255, note=note)
    note = "it doesn't say what its samples mean: they are taken as "
    cells.check("no photometric", files.make_tiff(rgb, None), rgb / 255, note=note + "RGB")
    gray = reference.compose(rgb[..., :1] / 255)
    cells.check("no photometric", files.make_tiff(rgb[..., :1], None), gray, note=note + "gray")
    table = rng.integers(0, 255, (256, 3), endpoint=True)
    old = files.make_tiff(rgb[..., :1], PALETTE, tags={320: (3, table.T.reshape(-1).tolist())})
    cells.check("old palette", old, table[rgb[..., 0]] / 255, note="its palette is taken as of 8 bits")
    for times in (256, 257):
        data = files.make_tiff(rgb[..., :1], PALETTE, tags={320: (3, (table * times).T.reshape(-1).tolist())})
        cells.check(times, data, table[rgb[..., 0]] / 255)
    signed = rng.integers(-32768, 32767, (H, W, 3), endpoint=True).astype(np.int16)
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
        # Planes beside the colours are not read.
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
        read_avif_boxes(data[:at] + bytes([data[at] | 0x40]) + data[at + 1 :], True, notes)
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
    found = decode(b"P2 3 1 100 0 # nothing\n50\n200 ", "x")
    np.testing.assert_allclose(found.image[0, :, 0], [0, 0.5, 1], atol=1e-6)
    for body in (b"0 50", b"0 fifty 100", b"0 1e"):
        fails(b"P2 3 1 100 " + body, "the image is truncated or damaged: it ends before its last pixel")
    values = np.array([[0.25]], "<f4")
    found = decode(b"Pf 1 1 -3.5\n" + values.tobytes(), "x")
    assert found.notes[0] == "its scale, 3.5, is ignored"
    np.testing.assert_allclose(found.image, 0.25)
