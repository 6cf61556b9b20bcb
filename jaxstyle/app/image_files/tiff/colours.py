"""Convert a TIFF's samples to gray or sRGB values, by its photometric interpretation."""

from collections.abc import Callable, Sequence

import numpy as np

from jaxstyle.app.image_files.colour_encoding import lab_to_srgb
from jaxstyle.app.image_files.pixel_values import NO_INKS, Unusable, as_floats, to_eight_bits, to_unit_range
from jaxstyle.app.image_files.tiff.samples import Layout
from jaxstyle.app.image_files.tiff.tags import SAVE, Tags

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB, ICC_LAB = 0, 1, 2, 3, 5, 6, 8, 9
PROFILE = 34675
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3, ICC_LAB: 3}


_PIXELS_AT_ONCE = 2**18


def find_colours(photometric: int, samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    """Convert the colour samples to gray or sRGB values (h, w, 1 or 3), uint8 or float32 in [0, 1].

    Args:
      photometric: a key of `COLOURS`.
      samples: (h, w, n), where `COLOURS` says how many n are.
      layout: what numbers the samples are.
      tags: the palette, coefficients and the like.
      notes: where notes are added.

    Raises:
      Unusable: if these colours are stored as numbers that aren't read here.
    """
    return _MEANINGS[photometric](samples, layout, tags, notes)


def _gray_or_rgb(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    return to_unit_range(samples, layout.bits, notes)


def _inverted(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    values = to_unit_range(samples, layout.bits, notes)
    return (255 if values.dtype == np.uint8 else 1) - values


def _from_palette(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    _need_integers(layout)
    table = np.array(tags.many(320), np.uint16)
    if len(table) != 3 * 2**layout.bits:
        raise Unusable("the TIFF is damaged: its palette is of another size than its samples")
    table = table.reshape(3, -1).T
    if table.max() <= 255:
        table = table * np.uint16(257)
        notes.append("its palette is taken as of 8 bits, as it holds nothing above 255")
    small = (table >> 8).astype(np.uint8)
    low = table & 255
    plain = not low.any() or (low == small).all()  # the entries have 8 bits, times 256 or 257: programs write both
    colours = small if plain else (table / 65535).astype(np.float32)
    return colours[samples[..., 0]]


def _from_cmyk(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    _need_integers(layout)
    if PROFILE in tags.values:
        raise Unusable(f"it is CMYK with a profile, of {layout.bits} bits or with alpha; {SAVE}")
    notes.append(NO_INKS)
    inks = as_floats(to_unit_range(samples, layout.bits, notes))
    return (1 - inks[..., :3]) * (1 - inks[..., 3:])


def _from_ycbcr(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    if layout.kind != "u" or layout.bits != 8 or set(tags.many(530, (2, 2))) != {1}:
        raise Unusable(f"it is a TIFF of YCbCr with fewer samples of colour than of light, or of a rare depth; {SAVE}")
    red, green, blue = tags.many(529, (0.299, 0.587, 0.114))
    low, high = np.array(tags.many(532, (0, 255, 128, 255, 128, 255)), np.float64).reshape(3, 2).T
    if not np.isfinite([red, green, blue, *low, *high]).all() or not green or (low == high).any():
        raise Unusable("the TIFF is damaged: its coefficients of YCbCr mean no colours")

    def convert(rows: np.ndarray) -> np.ndarray:
        y, cb, cr = np.moveaxis((rows - low) * (np.array([255, 127, 127]) / (high - low)), -1, 0)
        r, b = y + (2 - 2 * red) * cr, y + (2 - 2 * blue) * cb
        rgb = np.stack([r, (y - red * r - blue * b) / green, b], -1)
        return to_eight_bits(np.clip(rgb / 255, 0, 1))

    return _by_rows(convert, samples)


def _from_lab(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    """Convert CIE L*a*b*, in which a* and b* are signed."""
    _need_integers(layout, (8, 16))
    step, signed = 2 ** (layout.bits - 8), f"i{layout.bits // 8}"

    def convert(rows: np.ndarray) -> np.ndarray:
        light = rows[..., :1] * (100 / (256 * step - 1))
        return lab_to_srgb(np.concatenate([light, rows[..., 1:].view(signed) / step], -1))

    return _by_rows(convert, samples)


def _from_icc_lab(samples: np.ndarray, layout: Layout, tags: Tags, notes: list[str]) -> np.ndarray:
    """Convert L*, a* and b* as profiles of ICC's version 2 count them."""
    _need_integers(layout, (8, 16))
    step = 2 ** (layout.bits - 8)

    def convert(rows: np.ndarray) -> np.ndarray:
        return lab_to_srgb(np.concatenate([rows[..., :1] * (100 / (255 * step)), rows[..., 1:] / step - 128], -1))

    return _by_rows(convert, samples)


def _by_rows(convert: Callable[[np.ndarray], np.ndarray], samples: np.ndarray) -> np.ndarray:
    """Convert a few rows of pixels at a time, which bounds the memory of the steps between."""
    step = max(1, _PIXELS_AT_ONCE // samples.shape[1])
    return np.concatenate([convert(samples[at : at + step]) for at in range(0, len(samples), step)])


_MEANINGS: dict[int, Callable[[np.ndarray, Layout, Tags, list[str]], np.ndarray]] = {
    WHITE_IS_ZERO: _inverted,
    BLACK_IS_ZERO: _gray_or_rgb,
    RGB: _gray_or_rgb,
    PALETTE: _from_palette,
    CMYK: _from_cmyk,
    YCBCR: _from_ycbcr,
    LAB: _from_lab,
    ICC_LAB: _from_icc_lab,
}


def _need_integers(layout: Layout, bits: Sequence[int] = range(1, 17)) -> None:
    if layout.kind != "u" or layout.bits not in bits:
        raise Unusable(f"it is a TIFF of colours other than RGB in a rare depth; {SAVE}")
