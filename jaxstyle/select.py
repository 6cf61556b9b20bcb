"""Choosing among lanes: Pareto front, knee, closest to a trade-off, and cross-validation over pairs of images.

Plain NumPy in float64. Two losses a lane, `content` and `style`, are compared, both lower-is-better: any two measures
that say how far a picture is from the content and from the style. A lane that is not `ok`, or has a loss that is not
finite, has failed: it is never chosen, never on the front and dominates nothing.

Losses are normalised over the front: 0 is its lowest, 1 its highest value of that axis, and what lies outside is
clipped, so neither the units of a loss nor a lane that went astray matters. The axes are linear, not logarithmic,
even where a loss spans decades: lanes minimise alpha * content + beta * style, so in linear axes their front is convex,
as the chord method of the knee supposes; and towards either end of a sweep one loss levels off while the other nears 0,
where its logarithm has no end. Measured on three pairs of the sample images (cat and swirls, cat and mosaic, coffee
and woodcut; 96 px, 80 steps), over ranges that begin at a beta of 0.001 to 0.03 and end at one of 10 to 1000: this knee
is at 0.32, at 0.32, and at 0.32 or 1; that of logarithmic axes at 3.2, at 0.1 to 10, and at 0.01 (the photograph) to
10, where the pictures hardly change any more.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int


@runtime_checkable
class _Array(Protocol):
    def __array__(self) -> np.ndarray: ...


Numbers = _Array | Sequence[float] | Sequence[Sequence[float]]
"""What NumPy makes an array of numbers of: arrays of NumPy or jax, or lists."""

Flags = _Array | Sequence[bool] | Sequence[Sequence[bool]]
"""What NumPy makes an array of booleans of."""

_TIE = 1e-12  # normalised scores that differ by less are equal: rounding must not decide


class CrossValidation(NamedTuple):
    """Result of `cross_validate`. Settings, pairs and folds are counted from 0; scores are in [0, 1], 0 the best.

    Attributes:
      chosen: the setting chosen on all pairs.
      chosen_by_fold: (folds,) the setting chosen on the training pairs of each fold; its spread is that of the choice.
      fold: (pairs,) the fold that holds each pair out.
      score_by_fold: (folds,) mean score of a fold's choice over its held-out pairs.
      score: mean over all pairs of the score of the setting that was chosen without them.
      spread: standard deviation of `score_by_fold` (with folds - 1 in the denominator).
      fixed_scores: (settings,) mean score over all pairs of the same setting for all; NaN where it failed on a pair.
      best: (pairs,) the best setting of each pair by itself.
      best_scores: (pairs,) its score. `score - best_scores.mean()` is what one setting for all costs.
      scores: (pairs, settings) every score; NaN where the setting failed on the pair.
    """

    chosen: int
    chosen_by_fold: Int[np.ndarray, " folds"]
    fold: Int[np.ndarray, " pairs"]
    score_by_fold: Float[np.ndarray, " folds"]
    score: float
    spread: float
    fixed_scores: Float[np.ndarray, " settings"]
    best: Int[np.ndarray, " pairs"]
    best_scores: Float[np.ndarray, " pairs"]
    scores: Float[np.ndarray, "pairs settings"]


def pareto_front(content: Numbers, style: Numbers, ok: Flags | None = None) -> Bool[np.ndarray, " lanes"]:
    """Lanes that no other dominates: none is as low in both losses and lower in one.

    Equal lanes are all on the front or all off it.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      (lanes,) booleans.

    Raises:
      ValueError: for no lanes, arrays of other or different shapes, or values that are not numbers.

    Example:
      >>> from jaxstyle.select import pareto_front
      >>> pareto_front(content=[1.0, 2.0, 3.0], style=[3.0, 1.0, 2.0]).tolist()
      [True, True, False]
    """
    content, style, ok = _read(content, style, ok, ("lanes",))
    front = np.zeros(len(content), dtype=bool)
    front[ok] = _front_of(content[ok], style[ok])
    return front


def knee(content: Numbers, style: Numbers, ok: Flags | None = None) -> int | None:
    """The lane at the knee of the front: the farthest below the chord between the front's two ends.

    The construction of Das (On characterizing the "knee" of the Pareto curve, Structural Optimization 18, 1999), as in
    Kneedle (Satopaa et al. 2011), with both losses normalised over the front. There the chord is x + y = 1, so the knee
    is the front's lowest content + style: `closest` with content_weight 0.5. Where no lane lies below the chord (two
    lanes, or a straight or concave front) there is no such knee, and the most balanced lane is taken: the lowest larger
    one of its two normalised losses. What still ties goes to the lower content loss, then to the first lane.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      Index of the lane; None if no lane is ok.

    Raises:
      ValueError: as `pareto_front`.

    Example:
      >>> from jaxstyle.select import knee
      >>> knee(content=[0.0, 0.25, 1.0], style=[1.0, 0.25, 0.0])
      1
    """
    content, style, ok = _read(content, style, ok, ("lanes",))
    if not ok.any():
        return None
    x, y = _normalise(content, style, ok)
    below_chord = np.maximum(1 - (x + y), 0)
    return _first_lowest(_front(content, style, ok), -below_chord, np.maximum(x, y), x)


def closest(content: Numbers, style: Numbers, content_weight: float, ok: Flags | None = None) -> int | None:
    """The lane closest to a trade-off: the lowest w * content + (1 - w) * style, normalised over the front.

    Such a sum reaches the lanes on the front's lower convex hull; all of them, as w goes from 0 (the lowest style loss)
    to 1 (the lowest content loss). Ties are broken as for the `knee`.

    Args:
      content: (lanes,) losses, lower is better.
      style: (lanes,) losses, lower is better.
      content_weight: w, in [0, 1].
      ok: (lanes,) booleans, False for lanes that failed; None: all are ok.

    Returns:
      Index of the lane; None if no lane is ok.

    Raises:
      ValueError: as `pareto_front`, and for a weight outside of [0, 1].
    """
    weight = _check_weight(content_weight)
    content, style, ok = _read(content, style, ok, ("lanes",))
    if not ok.any():
        return None
    x, y = _normalise(content, style, ok)
    return _first_lowest(_front(content, style, ok), weight * x + (1 - weight) * y, np.maximum(x, y), x)


def cross_validate(
    content: Numbers,
    style: Numbers,
    ok: Flags | None = None,
    *,
    content_weight: float,
    folds: int | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
) -> CrossValidation:
    """Choose one setting for all pairs of images, and measure on pairs that had no say how good the choice is.

    The score of a setting on a pair is w * content + (1 - w) * style, both losses normalised over that pair's own front
    and clipped to [0, 1], so that pairs compare; the best setting of a pair is what `closest` picks. A pair's
    normalisation reads that pair's losses alone: nothing of a held-out pair enters the choice, and its own losses only
    say in which unit it is scored. Each fold chooses the setting of the lowest mean score over its training pairs (the
    first of equals) and scores it on the pairs it holds out.

    A setting that failed on a training pair can't be chosen; one that fails on a held-out pair scores 1 there, the
    worst that there is.

    Args:
      content: (pairs, settings) losses, lower is better.
      style: (pairs, settings) losses, lower is better.
      ok: (pairs, settings) booleans, False for lanes that failed; None: all are ok.
      content_weight: w, in [0, 1].
      folds: number of folds; pair i (or the i-th group) goes to fold i modulo folds. None: as many as pairs or groups.
      groups: (pairs,) ids, for example of the pairs' content or style images: pairs of one group are held out together,
        so that its image is not seen in training. None: each pair by itself, which is too easy where pairs share
        images: what a setting means depends on the style image above all, so group by it, and by the content image.

    Returns:
      CrossValidation.

    Raises:
      ValueError: as `pareto_front` and `closest`; for fewer than two pairs or groups, folds not from 2 to their
        number, groups of another length, a pair on which every setting failed, or a fold without a setting to choose.
    """
    weight = _check_weight(content_weight)
    content, style, ok = _read(content, style, ok, ("pairs", "settings"))
    dead = np.flatnonzero(~ok.any(axis=1))
    if dead.size:
        raise ValueError(f"every setting failed on pair {dead[0]}: leave that pair out")
    scores, best = np.full(content.shape, np.nan), np.zeros(len(content), dtype=int)
    for i, works in enumerate(ok):
        x, y = _normalise(content[i], style[i], works)
        scores[i, works] = (weight * x + (1 - weight) * y)[works]
        best[i] = closest(content[i], style[i], weight, works)
    fold = _assign_folds(len(scores), folds, groups)
    numbers = range(fold.max() + 1)
    chosen_by_fold = np.array([_choose(scores[fold != k], f"all training pairs of fold {k}") for k in numbers])
    held_out = np.nan_to_num(scores[np.arange(len(scores)), chosen_by_fold[fold]], nan=1.0)
    score_by_fold = np.array([held_out[fold == k].mean() for k in numbers])
    return CrossValidation(
        chosen=_choose(scores, "all pairs"),
        chosen_by_fold=chosen_by_fold,
        fold=fold,
        score_by_fold=score_by_fold,
        score=float(held_out.mean()),
        spread=float(score_by_fold.std(ddof=1)),
        fixed_scores=scores.mean(axis=0),
        best=best,
        best_scores=scores[np.arange(len(scores)), best],
        scores=scores,
    )


def _read(
    content: Numbers, style: Numbers, ok: Flags | None, axes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check the arrays; lanes with a loss that is not finite join those that are not ok."""
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


def _check_weight(weight: float) -> float:
    if not 0 <= weight <= 1:
        raise ValueError(f"content_weight must be from 0 to 1, got {weight}")
    return float(weight)


def _front(content: np.ndarray, style: np.ndarray, ok: np.ndarray) -> np.ndarray:
    """Indices of the lanes on the front."""
    lanes = np.flatnonzero(ok)
    return lanes[_front_of(content[ok], style[ok])]


def _front_of(content: np.ndarray, style: np.ndarray) -> np.ndarray:
    """The front of finite losses: the lowest style of its content loss, and lower than at any lower content loss."""
    levels, level = np.unique(content, return_inverse=True)
    lowest = np.full(len(levels), np.inf)
    np.minimum.at(lowest, level, style)
    below = np.concatenate([[np.inf], np.minimum.accumulate(lowest)[:-1]])
    return (style == lowest[level]) & (style < below[level])


def _normalise(content: np.ndarray, style: np.ndarray, ok: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both losses in [0, 1] over the front of the lanes that are ok, at least one of them; 1 where not ok."""
    front = _front(content, style, ok)

    def axis(values: np.ndarray) -> np.ndarray:
        values = np.where(ok, values, np.inf)
        low, high = values[front].min(), values[front].max()
        if low == high:  # the front is one point: nothing to scale by, so what is worse is at 1
            return (values > low).astype(np.float64)
        exponent = np.frexp(max(abs(low), abs(high)))[1] + 1  # a power of two: exact, and no span overflows
        values, low, high = (np.ldexp(x, -exponent) for x in (np.clip(values, low, high), low, high))
        return (values - low) / (high - low)

    return axis(content), axis(style)


def _first_lowest(lanes: np.ndarray, *keys: np.ndarray) -> int:
    """The lane with the lowest first key, of those that tie the one with the lowest second key, and so on."""
    for key in keys:
        lanes = lanes[key[lanes] <= key[lanes].min() + _TIE]
    return int(lanes[0])


def _assign_folds(pairs: int, folds: int | None, groups: Sequence[object] | np.ndarray | None) -> np.ndarray:
    if groups is None:
        groups = range(pairs)
    elif len(groups) != pairs:
        raise ValueError(f"groups must be {pairs} ids, one a pair, got {len(groups)}")
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    if len(order) < 2:
        raise ValueError(f"cross-validation needs two or more pairs or groups, got {len(order)}")
    if folds is None:
        folds = len(order)
    if folds not in range(2, len(order) + 1):
        raise ValueError(f"folds must be None or a whole number from 2 to {len(order)}, got {folds}")
    return np.array([order[group] % int(folds) for group in groups])


def _choose(scores: np.ndarray, where: str) -> int:
    means = scores.mean(axis=0)
    if np.isnan(means).all():
        raise ValueError(f"no setting worked on {where}: leave out the pairs where most failed")
    return int(np.flatnonzero(means <= np.nanmin(means) + _TIE)[0])
