"""Ask by cross-validation over pairs of images whether one setting serves all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxstyle.evaluate.select import TIE, Flags, Numbers, check_content_weight, closest, normalise_losses, read_losses


class CrossValidation(NamedTuple):
    """The result of `cross_validate`. Settings, pairs and folds count from 0. Scores are in [0, 1], and 0 is best.

    Attributes:
      chosen: the setting chosen on all pairs.
      chosen_by_fold: (folds,) the setting chosen on the training pairs of each fold; it shows how far choices spread.
      fold: (pairs,) the fold that holds each pair out.
      score_by_fold: (folds,) mean score of a fold's choice over its held-out pairs.
      score: mean over all pairs of the score of the setting that was chosen without the pair.
      spread: standard deviation of `score_by_fold` (with folds - 1 in the denominator).
      fixed_scores: (settings,) mean score of each setting over all pairs; NaN if it failed on a pair.
      best: (pairs,) the best setting of each pair by itself.
      best_scores: (pairs,) the score of that setting. `score - best_scores.mean()` is what one setting for all costs.
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


def cross_validate(
    content: Numbers,
    style: Numbers,
    ok: Flags | None = None,
    *,
    content_weight: float,
    folds: int | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
) -> CrossValidation:
    """Choose one setting for all pairs of images, and measure how good the choice is on pairs that had no part in it.

    The score of a setting on a pair is w * content + (1 - w) * style. Both losses are normalised over that pair's own
    front and clipped to [0, 1], so that pairs compare. The best setting of a pair is what `closest` picks. The
    normalisation of a pair reads only that pair's losses: a held-out pair has no influence on the choice, and its own
    losses only set the unit in which it is scored. Each fold chooses the setting with the lowest mean score over its
    training pairs (the first of equals), and scores it on the pairs that it holds out.

    A setting that failed on a training pair can't be chosen. A setting that fails on a held-out pair scores 1 there,
    which is the worst score.

    Args:
      content: (pairs, settings) losses, lower is better.
      style: (pairs, settings) losses, lower is better.
      ok: (pairs, settings) booleans, False for lanes that failed; None: all are ok.
      content_weight: w, in [0, 1].
      folds: number of folds; pair i (or the i-th group) goes to fold i modulo folds. None: as many as pairs or groups.
      groups: (pairs,) ids, for example of the pairs' content or style images. Pairs of one group are held out together,
        so that training doesn't see their image. None: each pair is held out by itself, which is too easy if pairs
        share images. What a setting means depends mostly on the style image, so group by it, and by the content image.

    Returns:
      CrossValidation.

    Raises:
      ValueError: as `pareto_front` and `closest` do; if there are fewer than two pairs or groups, `folds` is not from 2
        to their number, `groups` has another length, every setting failed on a pair, or a fold has no setting to
        choose.
    """
    weight = check_content_weight(content_weight)
    content, style, ok = read_losses(content, style, ok, ("pairs", "settings"))
    dead = np.flatnonzero(~ok.any(axis=1))
    if dead.size:
        raise ValueError(f"every setting failed on pair {dead[0]}: leave that pair out")
    scores, best = np.full(content.shape, np.nan), np.zeros(len(content), dtype=int)
    for i, works in enumerate(ok):
        x, y = normalise_losses(content[i], style[i], works)
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
    return int(np.flatnonzero(means <= np.nanmin(means) + TIE)[0])
