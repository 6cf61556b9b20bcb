"""Test that every pixel is right in a matrix of TIFFs, or that one line refuses the file where a rule says so.

Each test goes through the cells of one kind of file and lists those that are wrong; `-s` prints how many there were.
"""

import itertools

import numpy as np
import pytest
from PIL import Image

from tests import image_bytes as files
from tests.cells import (
    BLACK_IS_ZERO,
    CMYK,
    COLOURS,
    EXACT,
    ICC_LAB,
    LAB,
    LEVEL,
    PALETTE,
    RGB,
    ROUNDED,
    WHITE_IS_ZERO,
    YCBCR,
    Cells,
    H,
    W,
    make_numbers,
    save,
    smooth,
)
from tests.reference import numpy_pictures as reference

NUMBERS = [
    *(f"u{bits}" for bits in (1, 2, 4, 8, 10, 12, 16, 32)),
    *(f"i{bits}" for bits in (8, 16, 32)),
    "f16",
    "f32",
    "f64",
]
# The values of ExtraSamples, and which extra sample is alpha.
ALPHA = {
    "none": ((), None),
    "straight": ((2,), 0),
    "associated": ((1,), 0),
    "unspecified": ((0,), None),
    "untagged": (None, None),
    "transparent": ((2,), 0),
    "second": ((0, 2), 1),
}


def find_wanted(photometric, numbers, values, bits, table):
    """Return the sRGB or gray values in [0, 1] that colour samples mean."""
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
    """Return whether a file is so rare that it is refused."""
    integer = name in ("u1", "u2", "u4", "u8", "u10", "u12", "u16")
    if photometric in (LAB, ICC_LAB):
        good = name in ("u8", "u16")
    elif photometric in (CMYK, PALETTE):
        good = integer
    else:
        good = name == "u8" if photometric == YCBCR else True
    return not good or (alpha == "associated" and photometric not in (BLACK_IS_ZERO, RGB))


# Compressions and predictors, each with the numbers that it is for.
STORAGE = [
    ({}, "uif"),
    *[({"compression": code}, "uif") for code in (files.LZW, files.DEFLATE, files.OLD_DEFLATE, files.PACKBITS)],
    *[({"compression": code, "predictor": files.HORIZONTAL}, "whole") for code in (files.LZW, files.DEFLATE)],
    *[({"compression": code, "predictor": files.FLOATING}, "f") for code in (files.LZW, files.DEFLATE)],
]


def fits(which, name):
    return name[1:] in ("8", "16", "32", "64") and name[0] != "f" if which == "whole" else name[0] in which


def choose_storage(i, name):
    """Return one of the ways to lay numbers out; i chooses which."""
    fitting = [options for options, which in STORAGE if fits(which, name)]
    options = fitting[(3 * i + i // 14) % len(fitting)]
    return options | {
        "order": "<>"[i // 3 % 2],
        "part": (H, 3, (16, 16))[i % 3],
        "reverse": i % 11 == 0,
        "big": i % 13 == 0,
    }


@pytest.mark.parametrize("photometric", COLOURS)
def test_tiff_of_every_kind(photometric):
    rng = np.random.default_rng(16)
    cells = Cells()
    for i, (name, alpha, separate) in enumerate(itertools.product(NUMBERS, ALPHA, (False, True))):
        if photometric == PALETTE and name == "u16" and (separate or alpha not in ("none", "straight")):
            continue  # its palette of 65536 colours takes long to write
        extra, at = ALPHA[alpha]
        count = COLOURS[photometric]
        numbers, bits, values = make_numbers(rng, name, count + (1 if extra is None else len(extra)))
        tags, table = {}, None
        if alpha == "transparent":
            numbers[..., -1], values[..., -1] = 0, 0
        elif alpha == "associated":
            part = values[..., :count] * values[..., count:]
            numbers[..., :count] = part if name[0] == "f" else part * (2 ** (bits - (name[0] == "i")) - 1)
            values = numbers / (1 if name[0] == "f" else 2 ** (bits - (name[0] == "i")) - 1)
        if photometric == PALETTE and name[0] == "u" and bits <= 16:
            table = rng.integers(0, 65536, (2**bits, 3))
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
        # Pillow converts CMYK of 8 bits by integers.
        atol = LEVEL if (photometric, name) == (CMYK, "u8") else ROUNDED if photometric == YCBCR else EXACT
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
    rng = np.random.default_rng(16)
    cells = Cells()
    numbers, bits, values = make_numbers(rng, name, 4)
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
    cells.finish(120)


def test_tiff_of_jpeg_and_fax():
    rng = np.random.default_rng(16)
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
        turned = wrap(stream, RGB, 3, order=order, tags={274: (3, [6])})
        cells.check("turned", turned, np.rot90(rgb / 255, -1), atol=2 * LEVEL)
        cells.check("CMYK", wrap(stream, CMYK, 4, order=order), 0, refused=True)
        alpha = {338: (3, [1]), 284: (3, [1])}
        cells.check("alpha", wrap(stream, RGB, 4, order=order, tags=alpha), 0, refused=True)
    bits = rng.integers(0, 1, (H, W), endpoint=True).astype(bool)
    for kind, black in itertools.product(("tiff_ccitt", "group3", "group4"), (False, True)):
        options = {"tiffinfo": {262: 0}} if black else {}
        data = save(Image.fromarray(bits), "TIFF", compression=kind, **options)
        cells.check((kind, black), data, reference.compose(bits[..., None]))
    cells.finish(18)
