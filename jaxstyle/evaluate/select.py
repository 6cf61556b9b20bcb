"""Choose a lane: on the Pareto front, at its knee, or closest to a trade-off.

The functions are plain NumPy in float64. They compare two losses a lane, `content` and `style`: any two measures, lower
is better, that say how far a picture is from the content and from the style. A lane has failed if it is not `ok`, or
has a loss that is not finite. A failed lane is never chosen, is never on the front, and dominates nothing.

Losses are normalised over the front: 0 is the front's lowest value of that axis, 1 is its highest, and values outside
are clipped. So neither the units of a loss nor a lane that went astray matters. The axes are linear, not logarithmic,
even where a loss spans decades, for two reasons. Lanes minimise alpha * content + beta * style, so that their front is
convex in linear axes, as the chord method of the knee supposes. And towards either end of a sweep one loss levels off
while the other nears 0, where its logarithm has no end. This was measured on three pairs of the sample images (cat and
swirls, cat and mosaic, coffee and woodcut; 96 px, 80 steps), over ranges that begin at a beta of 0.001 to 0.03 and end
at a beta of 10 to 1000. This knee is at 0.32, at 0.32, and at 0.32 or 1. The knee of logarithmic axes is at 3.2, at 0.1
to 10, and at 0.01 (the photograph) to 10, where the pictures hardly change any more.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool


@runtime_checkable
class _Array(Protocol):
    def __array__(self) -> np.ndarray: ...


Numbers = _Array | Sequence[float] | Sequence[Sequence[float]]
"""Numbers in an array of NumPy or jax, or in lists."""

Flags = _Array | Sequence[bool] | Sequence[Sequence[bool]]
"""Booleans in an array of NumPy or jax, or in lists."""

TIE = 1e-12  # normalised scores that differ by less count as equal, since rounding must not decide


def pareto_front(content: Numbers, style: Numbers, ok: Flags | None = None) -> Bool[np.ndarray, " lanes"]:
    """Find the lanes that no other lane dominates, by being as low in both losses and lower in one.

    Equal lanes are all on the front or all off it.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      (lanes,) booleans.

    Raises:
      ValueError: if there are no lanes, a shape is wrong, or values are not numbers.

    Examples:
      >>> from jaxstyle.evaluate.select import pareto_front
      >>> pareto_front(content=[1.0, 2.0, 3.0], style=[3.0, 1.0, 2.0]).tolist()
      [True, True, False]
    """
    content, style, ok = read_losses(content, style, ok, ("lanes",))
    front = np.zeros(len(content), dtype=bool)
    front[ok] = _front_of(content[ok], style[ok])
    return front


def knee(content: Numbers, style: Numbers, ok: Flags | None = None) -> int | None:
    """Find the lane at the knee of the front, which is the farthest below the chord between the front's two ends.

    This is the construction of Das (On characterizing the "knee" of the Pareto curve, Structural Optimization 18,
    1999), as in Kneedle (Satopaa et al. 2011), with both losses normalised over the front. There the chord is x + y =
    1, so the knee is the front's lowest content + style: `closest` with content_weight 0.5. If no lane lies below the
    chord (there are two lanes, or the front is straight or concave), there is no such knee, and the most balanced lane
    is taken: the one whose larger normalised loss is lowest. Lanes that still tie are decided by the lower content
    loss, then by their order.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      Index of the lane; None if no lane is ok.

    Raises:
      ValueError: as `pareto_front` does.

    Examples:
      >>> from jaxstyle.evaluate.select import knee
      >>> knee(content=[0.0, 0.25, 1.0], style=[1.0, 0.25, 0.0])
      1
    """
    content, style, ok = read_losses(content, style, ok, ("lanes",))
    if not ok.any():
        return None
    x, y = normalise_losses(content, style, ok)
    below_chord = np.maximum(1 - (x + y), 0)
    return _first_lowest(_front(content, style, ok), -below_chord, np.maximum(x, y), x)


def closest(content: Numbers, style: Numbers, content_weight: float, ok: Flags | None = None) -> int | None:
    """Find the lane closest to a trade-off: the lowest w * content + (1 - w) * style, normalised over the front.

    As w goes from 0 (the lowest style loss) to 1 (the lowest content loss), this finds all lanes on the front's lower
    convex hull, and no others. Ties are broken as for the `knee`.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      content_weight: w, in [0, 1].
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      Index of the lane; None if no lane is ok.

    Raises:
      ValueError: as `pareto_front` does, and if the weight is outside of [0, 1].
    """
    weight = check_content_weight(content_weight)
    content, style, ok = read_losses(content, style, ok, ("lanes",))
    if not ok.any():
        return None
    x, y = normalise_losses(content, style, ok)
    return _first_lowest(_front(content, style, ok), weight * x + (1 - weight) * y, np.maximum(x, y), x)


def read_losses(
    content: Numbers, style: Numbers, ok: Flags | None, axes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check two arrays of losses.

    Args:
      content: losses of shape `axes`.
      style: losses of shape `axes`.
      ok: booleans of shape `axes`, False for lanes that failed; None: all are ok.
      axes: the names of the axes.

    Returns:
      content and style as float64, and ok, which is also False where a loss is not finite.

    Raises:
      ValueError: if an array is empty, has another shape, or doesn't hold numbers or booleans.
    """
    try:
        content, style = (np.asarray(x).astype(np.float64, casting="same_kind") for x in (content, style))
    except (TypeError, ValueError):
        raise ValueError(f"content and style must be numbers in arrays of shape ({', '.join(axes)})") from None
    if content.shape != style.shape or content.ndim != len(axes) or not content.size:
        raise ValueError(
            f"content and style must have one shape ({', '.join(axes)}) with at least one of each, "
            f"got {content.shape} and {style.shape}"
        )
    finite = np.isfinite(content) & np.isfinite(style)
    if ok is None:
        return content, style, finite
    ok = np.asarray(ok)
    if ok.shape != content.shape or ok.dtype != bool:
        raise ValueError(f"ok must be booleans of shape {content.shape}, got {ok.dtype} of shape {ok.shape}")
    return content, style, finite & ok


def check_content_weight(weight: float) -> float:
    """Check the weight of the content loss in a trade-off.

    Args:
      weight: the weight, which should be in [0, 1].

    Returns:
      The weight.

    Raises:
      ValueError: if the weight is outside of [0, 1].
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"content_weight must be from 0 to 1, got {weight}")
    return float(weight)


def _front(content: np.ndarray, style: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """Return the indices of the lanes on the front."""
    lanes = np.flatnonzero(ok)
    return lanes[_front_of(content[ok], style[ok])]


def _front_of(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    """Mark the lanes whose style loss is the lowest at their content loss, and lower than at any lower one."""
    levels, level = np.unique(content, return_inverse=True)
    lowest = np.full(len(levels), np.inf)
    np.minimum.at(lowest, level, style)
    below = np.concatenate([[np.inf], np.minimum.accumulate(lowest)[:-1]])
    return (style == lowest[level]) & (style < below[level])


def normalise_losses(content: np.ndarray, style: np.ndarray, ok: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalise both losses to [0, 1] over the front of the lanes that are ok.

    Args:
      content: (lanes,) losses.
      style: (lanes,) losses.
      ok: (lanes,) booleans, of which at least one is True.

    Returns:
      The normalised content and style losses (lanes,), which are 1 where a lane is not ok.
    """
    front = _front(content, style, ok)

    def axis(values: np.ndarray) -> np.ndarray:
        values = np.where(ok, values, np.inf)
        low, high = values[front].min(), values[front].max()
        if low == high:  # the front is one point, which gives no scale: all that is worse is at 1
            return (values > low).astype(np.float64)
        exponent = np.frexp(max(abs(low), abs(high)))[1] + 1  # a power of two is exact, and no span overflows
        values, low, high = (np.ldexp(x, -exponent) for x in (np.clip(values, low, high), low, high))
        return (values - low) / (high - low)

    return axis(content), axis(style)


def _first_lowest(lanes: np.ndarray, *keys: np.ndarray) -> int:
    """Return the lane with the lowest first key; the second key decides among lanes that tie, and so on."""
    for key in keys:
        lanes = lanes[key[lanes] <= key[lanes].min() + TIE]
    return int(lanes[0])
