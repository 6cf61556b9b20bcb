"""The cross-validation that `jaxstyle select` makes over the pairs of images of a run. It needs no jax."""

import argparse
import math
from typing import TYPE_CHECKING, Any

from jaxstyle.app.system.errors import StartError

if TYPE_CHECKING:
    from jaxstyle.app.run_folder.stored_run import Lane
    from jaxstyle.evaluate.cross_validation import CrossValidation

IMAGES: tuple[str, ...] = ("style", "content")
"""The kinds of images that folds hold out, unless --hold-out names what."""

Columns = tuple[list[float], list[float], list[bool]]
"""Both measures of each lane, lower is better, and whether it is done."""


def cross_validate_run(
    pairs: "list[list[Lane]]", columns: list[Columns], args: argparse.Namespace
) -> tuple[dict[str, Any] | None, list[str]]:
    """Find whether one setting fits all pairs of images, as far as lanes are done.

    Args:
      pairs: the lanes of each pair of images.
      columns: for each pair, the columns of its lanes.
      args: `content_weight`, `folds` and `hold_out` of the command.

    Returns:
      What --json prints, or None if the run allows no cross-validation; and notes, which say what it leaves out.

    Raises:
      StartError: if --folds or --hold-out asks for what the run does not allow.
    """
    done = [
        [ok and math.isfinite(content) and math.isfinite(style) for content, style, ok in zip(*one, strict=True)]
        for one in columns
    ]
    kept = [i for i, of_pair in enumerate(done) if any(of_pair)]
    settings = [[_shared_settings(lane) for lane in lanes] for lanes in pairs]
    reason = _why_none(settings, [done[i] for i in kept])
    if reason and (args.folds or args.hold_out):
        raise StartError(f"no cross-validation is possible, as {reason}; leave out --folds and --hold-out")
    if reason:  # Of one pair, nobody expects any.
        return None, [f"there is no cross-validation, as {reason}"] if len(pairs) > 1 else []
    left_out = len(pairs) - len(kept)
    failed = f"cross-validation leaves out {left_out} of {len(pairs)} pairs of images, on which every lane failed"
    weight = 0.5 if args.content_weight is None else args.content_weight
    kinds, skipped = _choose_kinds([pairs[i] for i in kept], args)
    by_kind = {
        kind: _hold_out(kind, [pairs[i] for i in kept], [columns[i] for i in kept], weight, args.folds)
        for kind in kinds
    }
    return _describe(settings[0], by_kind, weight, kept, len(pairs)), [*([failed] if left_out else []), *skipped]


def _shared_settings(lane: "Lane") -> dict[str, str]:
    """Return the settings that may be chosen for all pairs: a strength stands for another beta in each of them."""
    return {name: value for name, value in lane.settings.items() if name != "beta" or "strength" not in lane.settings}


def _why_none(settings: list[list[dict[str, str]]], done: list[list[bool]]) -> str | None:
    """Return why there is none, given the settings of all pairs, and which lanes are done in those that are kept."""
    if len(settings) < 2:
        return "the run has one pair of images"
    if any(of_pair != settings[0] for of_pair in settings):
        return "the pairs of images differ in their settings"
    if all(one == settings[0][0] for one in settings[0]):
        return "all lanes of a pair of images have the same settings"
    if len(done) < 2:
        return "every lane failed on all pairs of images but one"
    if not any(all(of_setting) for of_setting in zip(*done, strict=True)):
        return "no setting worked on all pairs of images"
    return None


def _choose_kinds(pairs: "list[list[Lane]]", args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return what is held out in turn, and why a kind of which there are several is not."""
    members = {kind: len({getattr(lanes[0], kind) for lanes in pairs}) for kind in IMAGES} | {"pair": len(pairs)}
    wanted = [args.hold_out] if args.hold_out else [kind for kind in IMAGES if members[kind] > 1]
    least = args.folds or 2
    short = [
        f"no cross-validation by {kind}: it takes {least} {'pairs of' if kind == 'pair' else kind} images with a lane "
        f"that is done, and there {'is' if members[kind] == 1 else 'are'} {members[kind]}"
        for kind in wanted
        if members[kind] < least
    ]
    if len(short) == len(wanted):
        raise StartError(f"{'; '.join(short)}; give {'fewer --folds or ' if args.folds else ''}another --hold-out")
    return [kind for kind in wanted if members[kind] >= least], short


def _hold_out(
    kind: str, pairs: "list[list[Lane]]", columns: list[Columns], weight: float, folds: int | None
) -> "CrossValidation":
    import numpy as np

    from jaxstyle.evaluate.cross_validation import cross_validate

    return cross_validate(
        *(np.array(column) for column in zip(*columns, strict=True)),
        content_weight=weight,
        folds=folds,
        groups=None if kind == "pair" else [getattr(lanes[0], kind) for lanes in pairs],
    )


def _describe(
    settings: list[dict[str, str]], by_kind: "dict[str, CrossValidation]", weight: float, kept: list[int], pairs: int
) -> dict[str, Any]:
    """Return what --json prints; of the pairs, those with the numbers `kept` took part."""
    found = next(iter(by_kind.values()))
    varying = [name for name in settings[0] if len({lane[name] for lane in settings}) > 1]
    labels = [", ".join(f"{name} {lane[name]}" for name in varying) for lane in settings]
    best = {i: labels[setting] for i, setting in zip(kept, found.best, strict=True)}
    return {
        "content_weight": weight,
        "settings": labels,
        "chosen": labels[found.chosen],
        "held_out": {
            kind: {
                "chosen_by_fold": [labels[i] for i in one.chosen_by_fold],
                "score": one.score,
                "spread": one.spread,
            }
            for kind, one in by_kind.items()
        },
        "fixed_scores": [None if math.isnan(x) else float(x) for x in found.fixed_scores],
        "best_by_pair": [best.get(i) for i in range(pairs)],
        "best_by_pair_score": float(found.best_scores.mean()),
    }


def validation_lines(found: dict[str, Any]) -> list[str]:
    """Return the lines that show a cross-validation.

    Args:
      found: from `cross_validate_run`.

    Returns:
      The lines: a score of each setting, and how well one that was chosen without an image does on it.
    """
    pairs = zip(found["settings"], found["fixed_scores"], strict=True)
    width = max(len(label) for label in found["settings"])
    lines = [f"  {label:<{width}}  {'failed' if score is None else f'{score:.3f}'}" for label, score in pairs]
    return [
        f"over all pairs, {found['content_weight']:g} content + {1 - found['content_weight']:g} style, 0 is best:",
        *lines,
        f"one setting for all: {found['chosen']}; the best of each pair by itself scores "
        f"{found['best_by_pair_score']:.3f}",
        *(_held_out_line(kind, one) for kind, one in found["held_out"].items()),
    ]


def _held_out_line(kind: str, found: dict[str, Any]) -> str:
    chosen = found["chosen_by_fold"]
    counts = ", ".join(f"{label} ({chosen.count(label)} of {len(chosen)})" for label in dict.fromkeys(chosen))
    return (
        f"chosen without a {kind} and scored on it: {found['score']:.3f} (spread over folds {found['spread']:.3f}), "
        f"{counts}"
    )
