"""Convert colours that a file describes by primaries, white and curve, without an ICC profile, to sRGB."""

from functools import cache
from typing import NamedTuple

import numpy as np

_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_BLOCK = 2**18  # pixels that are converted at a time, which bounds the memory
_NEAR = 0.001

# These are code points of ITU-T H.273. Displays show the curves of cameras (1, 6, 14, 15) like sRGB's. Code point 2
# means that nothing is specified.
_PRIMARIES = {
    1: _SRGB,
    2: _SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (0.3127, 0.3290, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_EXPONENTS = {1: None, 2: None, 4: 2.2, 5: 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}


class Encoding(NamedTuple):
    """How numbers stand for colours.

    Attributes:
      primaries: the chromaticities x and y of white, red, green and blue.
      exponent: light is the value to this power; None stands for sRGB's curve.
    """

    primaries: tuple[float, ...] = _SRGB
    exponent: float | None = None


ADOBE_RGB = Encoding((0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 563 / 256)


def is_plain(encoding: Encoding) -> bool:
    """Return whether the encoding is sRGB. Files also say so by an exponent of 2.2 with sRGB's primaries."""
    near = len(encoding.primaries) == len(_SRGB) and np.allclose(encoding.primaries, _SRGB, rtol=0, atol=_NEAR)
    return near and (encoding.exponent is None or abs(1 / encoding.exponent - 1 / 2.2) <= _NEAR)


def find_usable(encoding: Encoding, name: str, notes: list[str]) -> Encoding | None:
    """Return the encoding, or None if its numbers describe no colours; a note then says so under this name."""
    if is_plain(encoding) or _means_colours(encoding):
        return encoding
    notes.append(f"{name} can't be used and is ignored")
    return None


def _means_colours(encoding: Encoding) -> bool:
    """Return whether the primaries make a triangle around white, and the exponent makes a curve."""
    if len(encoding.primaries) != 8 or not np.isfinite(encoding.primaries).all() or min(encoding.primaries[1::2]) <= 0:
        return False
    try:
        matrix = _to_xyz(encoding.primaries)
    except np.linalg.LinAlgError:
        return False
    sound = matrix[1].min() > 0 and np.linalg.cond(matrix) < 1e4
    return bool(sound) and (encoding.exponent is None or 0.1 <= encoding.exponent <= 10)


def from_code_points(primaries: int, transfer: int) -> Encoding | None:
    """Return the encoding of two code points of H.273; None if either isn't known here, such as HDR's."""
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        return None
    return Encoding(_PRIMARIES[primaries], _EXPONENTS[transfer])


def encode_srgb(values: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Convert values from an encoding to sRGB; colours outside of sRGB's gamut are clipped.

    Args:
      values: (h, w, 1 to 4), gray or RGB, perhaps with straight alpha, which stays; uint8 or float in [0, 1].
      encoding: what `find_usable` returned.

    Returns:
      Values of the same shape and type.
    """
    flat = values.reshape(-1, values.shape[-1]).copy()
    colours = 1 if values.shape[-1] < 3 else 3
    matrix = (
        np.linalg.inv(_to_xyz(_SRGB)) @ adapt(_white(encoding.primaries), _white(_SRGB)) @ _to_xyz(encoding.primaries)
    )
    for at in range(0, len(flat), _BLOCK):
        block = flat[at : at + _BLOCK, :colours]
        part = block / np.float32(255) if values.dtype == np.uint8 else block
        light = _linear(part) if encoding.exponent is None else part**encoding.exponent
        part = _curve(light @ matrix.T if colours == 3 else light)
        block[...] = np.round(part * 255) if values.dtype == np.uint8 else part
    return flat.reshape(values.shape)


def lab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Convert CIE L*a*b* (h, w, 3), with white point D50 and L* in [0, 100], to float32 sRGB clipped to [0, 1]."""
    flat, out = lab.reshape(-1, 3), np.empty(lab.shape, np.float32)
    matrix = np.linalg.inv(_to_xyz(_SRGB)) @ adapt(_D50, _white(_SRGB)) @ np.diag(_D50)
    for at in range(0, len(flat), _BLOCK):
        light, a, b = np.moveaxis(flat[at : at + _BLOCK], -1, 0).astype(np.float64)
        y = (light + 16) / 116
        f = np.stack([y + a / 500, y, y - b / 200], -1)
        xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
        out.reshape(-1, 3)[at : at + _BLOCK] = _curve(xyz @ matrix.T)
    return out


def adapt(white: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the matrix (3, 3) that adapts XYZ from one white to another, by Bradford's cones."""
    gains = (_BRADFORD @ other) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD


def _white(primaries: tuple[float, ...]) -> np.ndarray:
    x, y = primaries[:2]
    return np.array([x / y, 1, (1 - x - y) / y])


@cache
def _to_xyz(primaries: tuple[float, ...]) -> np.ndarray:
    """Return the matrix (3, 3) from light of the primaries to XYZ, in which white has Y = 1."""
    columns = np.array([[x, y, 1 - x - y] for x, y in zip(primaries[2::2], primaries[3::2], strict=True)]).T
    return columns * np.linalg.solve(columns, _white(primaries))


def _linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _curve(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
