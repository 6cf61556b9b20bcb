"""The lanes of a sweep, made by combining lists of values, and finer grids around a lane.

Each lane is {setting: value}, with names from `LANE_SETTINGS`. The module imports neither jax nor NumPy, so that the
command's help is quick.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, product, zip_longest
from typing import Any

from jaxstyle.app.settings.lane_settings import (
    LANE_SETTINGS,
    MAX_LANES,
    LaneValues,
    between,
    lane_setting,
    parse_values,
)
from jaxstyle.app.system.errors import StartError

_SAME = 2e-6  # Ratios that differ by less than this, relatively, are equal: values of a range have 7 digits.


def combine_values(axes: Mapping[str, Sequence[Any]], *, zip_: Sequence[str] = ()) -> list[LaneValues]:
    """Make a lane for each combination of values. The axes keep their order, and the last one varies fastest.

    Args:
      axes: {setting: values}; values are numbers, lists of weights, or texts that `parse_values` reads.
      zip_: names of axes that vary together, as one axis in the place of the first of them.

    Returns:
      The lanes, each with all the settings of `axes`; one empty lane if there are no axes.

    Raises:
      StartError: if a setting is unknown, a value is wrong, an axis has no values, the axes to zip are missing or have
        different lengths, or there are too many lanes.
    """
    parsed = {name: _parse_axis(name, values) for name, values in axes.items()}
    for name in zip_:
        if name not in parsed:
            raise StartError(f"{name} is to be zipped, but has no values")
    lengths = {name: len(parsed[name]) for name in zip_}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise StartError(f"what is zipped must have equally many values, got {shown}")
    zipped = tuple(name for name in parsed if name in lengths)
    groups = dict.fromkeys(zipped if name in lengths else (name,) for name in parsed)
    check_count(math.prod(len(parsed[group[0]]) for group in groups))
    factors = [
        [dict(zip(group, values, strict=True)) for values in zip(*(parsed[name] for name in group), strict=True)]
        for group in groups
    ]
    return [{name: value for part in parts for name, value in part.items()} for parts in product(*factors)]


def repeated_ratios(lanes: Sequence[LaneValues], *, noisy: bool = True) -> str | None:
    """Warn in one line if lanes repeat each other under an optimiser that is invariant to the loss's scale.

    Such an optimiser (Adam) makes the same picture, to rounding, from (alpha, beta, tv) and (k alpha, k beta, k tv) for
    every k > 0, if all else is equal. Weights of layers and of style images multiply alpha or beta, so they count as a
    part of it. A weight that no lane names counts as one value, not 0, for all lanes.

    Args:
      lanes: the lanes, with the defaults filled in.
      noisy: the image that lanes start from has noise. Without noise, the seed changes nothing.

    Returns:
      The warning, or None if every lane makes a picture of its own.
    """
    weights = [_weights_of_terms(lane) for lane in lanes]
    ratios = [_log_ratios(terms) for terms in weights]
    columns = zip_longest(*ratios, fillvalue=0.0)
    labels = zip(*map(_label_equals, columns), strict=True)
    first: dict[object, int] = {}
    repeats: list[tuple[int, int]] = []
    for i, (lane, terms, label) in enumerate(zip(lanes, weights, labels, strict=True)):
        others = tuple(sorted((name, lane[name]) for name in lane if not _term_of(name) and (noisy or name != "seed")))
        original = first.setdefault((others, tuple(x > 0 for x in terms), label), i)
        if original != i:
            repeats.append((original, i))
    if not repeats:
        return None
    count, (a, b) = len(repeats), repeats[0]
    by_seed = any(lanes[i].get("seed") != lanes[j].get("seed") for i, j in repeats)
    return (
        f"{count} of {len(lanes)} lanes repeat{'s' * (count == 1)} the ratio alpha : beta : tv of another (lane {b} "
        f"that of lane {a}), of which an optimizer that is invariant to the loss's scale makes the same picture"
        f"{'; a seed counts only for an --init with noise' * by_seed}"
    )


def refine(lanes: Sequence[LaneValues], index: int, front: Sequence[bool] | Any, count: int) -> list[LaneValues]:
    """Make a finer grid around one lane of a sweep, such as its knee.

    Each setting that varied over the sweep, and whose ratios matter (`LaneSetting.scales`), gets new values around the
    picked lane's value. They lie between the nearest values, below and above, of lanes on the front; beyond the front's
    end, of any lane. A value at the end of the sweep is refined on one side only. New values are log-spaced, and none
    has run: each goes where the gap between values is widest. The lanes are the product of the new values of all these
    settings, zipped or not. A lane with a strength gets that of its new beta. A setting for which `count` leaves one
    value keeps the picked lane's, and so do all others.

    Args:
      lanes: the lanes that have run.
      index: the picked lane.
      front: (lanes,) booleans, from `jaxstyle.evaluate.select.pareto_front`.
      count: lanes to make; the product over several settings has at most that many.

    Returns:
      At most `count` lanes; none if nothing varied that can be refined.

    Raises:
      ValueError: if the index is no lane, the front has another length, or the count is below 1.
    """
    if not 0 <= index < len(lanes) or len(front) != len(lanes) or count < 1:
        raise ValueError(
            f"refine needs an index below {len(lanes)}, a front of {len(lanes)} and a count of 1 or more, "
            f"got {index}, {len(front)} and {count}"
        )
    picked = lanes[index]
    names = [name for name, setting in LANE_SETTINGS.items() if name in picked and setting.scales and setting.refined]
    edges = {name: _values_around(lanes, front, index, name) for name in names}
    names = [name for name in names if len(edges[name]) > 1]
    new: dict[str, list[float]] = {}
    for i, name in enumerate(names):
        left = len(names) - i
        share = int(count ** (1 / left) + 1e-9)
        count //= share
        if share > 1 or left == 1:
            new[name] = _fill_gaps(edges[name], share)
    new = {name: values for name, values in new.items() if values}
    if not new:
        return []
    found = [{**picked, **dict(zip(new, values, strict=True))} for values in product(*new.values())]
    return [_with_strength(lane, lanes, picked) for lane in found] if "strength" in picked else found


def _with_strength(lane: LaneValues, lanes: Sequence[LaneValues], picked: LaneValues) -> LaneValues:
    """Give a lane the strength of its beta, between those of the lanes that differ from the picked one in it alone."""
    others = {name: value for name, value in picked.items() if name not in ("beta", "strength")}
    known = sorted((one["beta"], one["strength"]) for one in lanes if others.items() <= one.items())
    for (low, weak), (high, strong) in pairwise(known):
        if low <= lane["beta"] <= high and low < high:
            share = math.log(lane["beta"] / low) / math.log(high / low)
            return {**lane, "strength": float(f"{weak + share * (strong - weak):.3g}")}
    return lane


def _parse_axis(name: str, values: Any) -> list[Any]:
    lane_setting(name)
    items = values if isinstance(values, Iterable) and not isinstance(values, str | Mapping) else [values]
    parsed: list[Any] = []
    try:
        for item in items:
            parsed += parse_values(item, name) if isinstance(item, str) else [lane_setting(name).parse(item)]
            check_count(len(parsed))
        if not parsed:
            raise StartError("no values")
    except StartError as error:
        raise StartError(f"{name}: {error}") from error
    check_lengths(name, parsed)
    return parsed


def check_count(count: int) -> None:
    """Raise StartError if there are more lanes than `MAX_LANES`."""
    if count > MAX_LANES:
        raise StartError(f"more than {MAX_LANES:,} lanes; take fewer values")


def check_lengths(name: str, values: Iterable[Any]) -> None:
    """Raise StartError if values of a setting are lists of different lengths."""
    lengths = sorted({len(value) for value in values if isinstance(value, tuple)})
    if len(lengths) > 1:
        raise StartError(f"{name}: lists of {lengths[0]} and of {lengths[1]} weights; all must have the same number")


def _term_of(name: str) -> str:
    """Return the term of the objective that a setting weighs; "" if it weighs none, or is no lane setting."""
    return LANE_SETTINGS[name].term if name in LANE_SETTINGS else ""


def _weights_of_terms(lane: LaneValues) -> list[float]:
    """Return the weights that the optimiser sees: one for each layer of a term, and for each of its style images."""
    factors: dict[str, list[tuple[float, ...]]] = {}
    for name, setting in LANE_SETTINGS.items():
        if setting.term:
            value = lane.get(name, 1.0)
            factors.setdefault(setting.term, []).append(value if isinstance(value, tuple) else (value,))
    return [math.prod(weights) for term in factors.values() for weights in product(*term)]


def _log_ratios(weights: list[float]) -> list[float]:
    """Return the logarithm of each weight over the first weight that isn't 0; weights of 0 give 0."""
    first = next((w for w in weights if w > 0), 1.0)
    return [math.log(w) - math.log(first) if w > 0 else 0.0 for w in weights]


def _label_equals(values: Sequence[float]) -> list[int]:
    """Return a number for each value, which is the same for values that differ by rounding only."""
    order = sorted(range(len(values)), key=values.__getitem__)
    labels = [0] * len(values)
    for a, b in pairwise(order):
        labels[b] = labels[a] + (values[b] - values[a] > _SAME)
    return labels


def _values_around(lanes: Sequence[LaneValues], front: Sequence[bool], index: int, name: str) -> list[float]:
    """Return the values of a setting that have run, from one neighbour of the picked lane's value to the other."""
    picked = lanes[index][name]
    values = sorted({lane[name] for lane in lanes if lane[name] > 0})
    if picked not in values:
        return []
    on_front = {lane[name] for lane, is_on in zip(lanes, front, strict=True) if is_on}
    i = bisect_left(values, picked)
    low = next((v for v in reversed(values[:i]) if v in on_front), values[max(i - 1, 0)])
    high = next((v for v in values[i + 1 :] if v in on_front), values[min(i + 1, len(values) - 1)])
    return [v for v in values if low <= v <= high]


def _fill_gaps(edges: list[float], count: int) -> list[float]:
    """Return `count` new values between the edges: evenly by ratios within each gap, and more in wider gaps."""
    gaps = list(pairwise(edges))
    counts = [0] * len(gaps)
    for _ in range(count):
        widths = [(math.log(high) - math.log(low)) / (n + 1) for (low, high), n in zip(gaps, counts, strict=True)]
        widest = max(widths) * (1 - 1e-6)  # Rounding must not decide between equal gaps.
        counts[next(i for i, width in enumerate(widths) if width >= widest)] += 1
    new = {between(a, b, k / (n + 1)) for (a, b), n in zip(gaps, counts, strict=True) for k in range(1, n + 1)}
    return sorted(new - set(edges))
