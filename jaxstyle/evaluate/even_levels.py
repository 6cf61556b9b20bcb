"""Place the style weights of a sweep so that its pictures are evenly spaced to the eye.

The distance of a picture from its content image (LPIPS) rises with the style weight beta, from nearly the photograph to
where the style saturates. How it rises over log10(beta) depends on the pair of images, the size and the losses. A
`Curve` holds what a short run of small pictures says about that. A strength from 0 to 1 is a place between the two ends
of the curve, and means the same for every pair: 0 is nearly the photograph, at 1 the style has saturated, and equal
steps between them are equal steps of the distance.

The functions are plain NumPy in float64. The constants were measured on 16 pairs at 128 px (60 px for the curve), with
the command's defaults.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxstyle.evaluate.select import Numbers

DECADES = 8.0
"""How many decades of beta the first look spans."""

FIRST_LEVEL = 0.1
"""The distance at strength 0, as a share of that at strength 1."""

_LEAST_RISE = 0.02  # of LPIPS: where beta changes less than this, even by a first look of few steps, it has no levels
_END = 0.97  # share of the highest distance at which the style counts as saturated
_FOOT_LEVEL, _FOOT_DECADES = 0.4, 0.8  # strength 0 lies so many decades below the level: short runs say little there
_GROWTH, _LAG = 0.2, 0.7  # how pictures of few steps lag behind, see `place_levels`
_TRACED = 10_001  # points of a traced curve, at most a thousandth of a decade apart
_UNEVEN = 1.4  # a step that is larger than this, over the mean step, is worth a correction


class Curve(NamedTuple):
    """How the distance from the content rises with the style weight.

    Attributes:
      log_betas: (points,) log10 of the style weights, increasing.
      distances: (points,) distances, which never fall.
    """

    log_betas: Float[np.ndarray, " points"]
    distances: Float[np.ndarray, " points"]


def wide_betas(beta: float, count: int) -> Float[np.ndarray, " count"]:
    """Spread style weights over `DECADES` decades, evenly by ratios, around one.

    Args:
      beta: the style weight in the middle.
      count: how many, 2 or more.

    Returns:
      (count,) style weights, increasing.
    """
    return beta * 10.0 ** np.linspace(-DECADES / 2, DECADES / 2, count)


def fit_curve(betas: Numbers, distances: Numbers) -> Curve | None:
    """Fit a rising curve to measured distances, by isotonic regression: the nearest one in the sum of squares.

    Args:
      betas: (points,) style weights above 0, in any order.
      distances: (points,) distances; a point whose distance is not finite is left out.

    Returns:
      The curve; None if the distances hardly rise, so that there are no levels to place.

    Raises:
      ValueError: if the two differ in length, or a style weight is not above 0.
    """
    x, y = np.asarray(betas, np.float64), np.asarray(distances, np.float64)
    if x.shape != y.shape or x.ndim != 1 or not (x > 0).all():
        raise ValueError(f"betas above 0 and distances must be equally many, got {x.shape} and {y.shape}")
    order = np.argsort(x, kind="stable")
    x, y = np.log10(x[order]), y[order]
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(x) < 2:
        return None
    from scipy.optimize import isotonic_regression  # half a second, which other sweeps spare

    y = isotonic_regression(y).x
    return Curve(x, y) if y[-1] - y[0] >= _LEAST_RISE else None


def place_levels(
    curve: Curve, strengths: Numbers, *, progress: float, end: float | None = None
) -> Float[np.ndarray, " strengths"]:
    """Find the style weights of strengths.

    Pictures that have taken few steps, at a small size, are closer to the photograph than they will be. Their share of
    the highest distance grows to the power of `progress` ** 0.2; and a lower style weight will take them where they
    are, at strength 0 by 0.7 * (1.5 - `progress`) decades, at strength 1 by none. Between the points of the curve,
    log10(beta) is interpolated monotonically (Fritsch and Carlson 1980).

    Args:
      curve: from `fit_curve`.
      strengths: from 0 to 1.
      progress: the steps that the curve's pictures took, as a share of all steps of that size; above 0, at most 1.
      end: log10 of the style weight at strength 1; None: where the curve comes to 97 % of its highest distance.

    Returns:
      (strengths,) style weights, which rise with the strengths.

    Raises:
      ValueError: for a strength outside of [0, 1] or a progress outside of (0, 1].
    """
    wanted = np.asarray(strengths, np.float64)
    if not ((wanted >= 0) & (wanted <= 1)).all() or not 0 < progress <= 1:
        raise ValueError(f"strengths must be from 0 to 1 and progress above 0, got {wanted} and {progress}")
    shares = Curve(curve.log_betas, (curve.distances / curve.distances[-1]) ** (progress**_GROWTH))
    end = saturation(curve) if end is None else end
    foot = min(_find(shares, _FOOT_LEVEL), end)
    x, share = _trace(shares, foot, end)
    x, share = np.concatenate([[foot - _FOOT_DECADES], x]), np.concatenate([[FIRST_LEVEL], share])
    share[-1] = 1.0
    found = np.interp(FIRST_LEVEL + wanted * (1 - FIRST_LEVEL), np.maximum.accumulate(share), x)
    return 10.0 ** (found - _LAG * (1.5 - progress) * (1 - wanted))


def unevenness(strengths: Numbers, distances: Numbers) -> float:
    """Compare the largest step of the distance between neighbours to the mean step.

    Args:
      strengths: (lanes,) increasing.
      distances: (lanes,) of which the last is above the first.

    Returns:
      The largest ratio of a step to what it would be if distances rose evenly with the strengths; 1 is even.
    """
    s, y = np.asarray(strengths, np.float64), np.asarray(distances, np.float64)
    return float((np.diff(y) / np.diff(s)).max() * (s[-1] - s[0]) / (y[-1] - y[0]))


def correct_levels(
    strengths: Numbers,
    betas: Numbers,
    distances: Numbers,
    count: int,
) -> dict[int, float]:
    """Choose lanes to move, where the steps between finished lanes are uneven, and their new style weights.

    A moved lane goes midway between its neighbours, in proportion to their strengths. Each time, the lane is moved that
    makes the steps most even by what the finished lanes say. The first and the last lane stay.

    Args:
      strengths: (lanes,) increasing.
      betas: (lanes,) style weights above 0.
      distances: (lanes,) what the lanes came to.
      count: how many lanes may move.

    Returns:
      {index of a lane: its new style weight}; {} if the steps are even enough (`unevenness` is at most 1.4), or if no
      lane may move or can help.
    """
    s, y = np.asarray(strengths, np.float64), np.asarray(distances, np.float64)
    curve = fit_curve(betas, y)
    if curve is None or len(s) < 3 or not np.isfinite(y).all() or y[-1] - y[0] < _LEAST_RISE:
        return {}
    moved: dict[int, float] = {}
    while len(moved) < count and unevenness(s, y) > _UNEVEN:
        tries = {}
        for i in set(range(1, len(s) - 1)) - moved.keys():
            tries[i] = y.copy()
            tries[i][i] = np.interp(s[i], s[[i - 1, i + 1]], y[[i - 1, i + 1]])
        best = min(tries, key=lambda i: unevenness(s, tries[i]), default=None)
        if best is None or unevenness(s, tries[best]) >= unevenness(s, y):
            break
        y = tries[best]
        moved[best] = 10.0 ** _find(curve, y[best])
    return moved


def saturation(curve: Curve) -> float:
    """Find where a curve comes to 97 % of its highest distance.

    Args:
      curve: from `fit_curve`.

    Returns:
      log10 of the style weight.
    """
    return _find(curve, _END * curve.distances[-1])


def _find(curve: Curve, level: float) -> float:
    """Return where a curve comes to a level; one of its ends if it doesn't."""
    x, y = _trace(curve, *curve.log_betas[[0, -1]])
    return float(np.interp(level, y, x))


def _trace(curve: Curve, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Trace a curve densely from log10(beta) `low` to `high`; beyond its ends it is level."""
    from scipy.interpolate import PchipInterpolator

    x = np.linspace(low, high, _TRACED)
    return x, PchipInterpolator(*curve)(np.clip(x, *curve.log_betas[[0, -1]]))
