"""What the numbers in image files mean, in float64 NumPy, after the formats' specifications."""

import numpy as np

SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
D50 = np.array([0.9642, 1.0, 0.8249])  # of ICC
D65 = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def compose(colours, alpha=None, *, background=(255, 255, 255), associated=False):
    """sRGB (h, w, 3) of gray or RGB values (h, w, 1 or 3) over a background; all in [0, 1] but the background."""
    colours = np.broadcast_to(np.asarray(colours, np.float64), (*colours.shape[:2], 3))
    if alpha is None:
        return colours
    alpha = np.asarray(alpha, np.float64)
    shown = colours if associated else colours * alpha
    return np.clip(shown + np.array(background) / 255 * (1 - alpha), 0, 1)


def encode(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def decode(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_ycbcr(values):
    """RGB in [0, 1] of full-range YCbCr in [0, 255] by ITU-R BT.601."""
    y, b, r = (values[..., i].astype(np.float64) for i in range(3))
    rgb = np.stack([y + 1.402 * (r - 128), y - 0.344136 * (b - 128) - 0.714136 * (r - 128), y + 1.772 * (b - 128)], -1)
    return np.clip(rgb / 255, 0, 1)


def from_cmyk(inks):
    return (1 - inks[..., :3]) * (1 - inks[..., 3:])


def from_lab(lab):
    """sRGB of CIE L*a*b* of white point D50."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f**3 > 216 / 24389, f**3, (116 * f - 16) / (24389 / 27)) * D50
    cones = xyz @ BRADFORD.T * ((BRADFORD @ D65) / (BRADFORD @ D50))
    return encode(
        np.linalg.solve(_to_xyz(SRGB), np.linalg.solve(BRADFORD, cones.reshape(-1, 3).T)).T.reshape(lab.shape)
    )


def from_primaries(values, corners, exponent):
    """sRGB of values of primaries with chromaticities `corners` (3, 2) and white D65; light is values**exponent."""
    light = decode(values) if exponent is None else values**exponent
    return encode(light @ _to_xyz(corners).T @ np.linalg.inv(_to_xyz(SRGB)).T)


def _to_xyz(corners):
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
    return columns * np.linalg.solve(columns, D65)
