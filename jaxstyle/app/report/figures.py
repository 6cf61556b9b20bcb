"""Makes the plots of a report: content against style with the Pareto fronts, and the curves of the losses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.report import plots
from jaxstyle.app.report.axes import Axis
from jaxstyle.app.report.sheet import even_sample
from jaxstyle.app.run_folder.stored_run import Lane, StoredRun
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.evaluate.select import knee, pareto_front

LAYERS_TITLE = "Style loss of each layer"
_CURVES = dict(zip(LOSSES, ("Content loss", "Style loss", "Total variation", "Total"), strict=True))
_MAX_CURVES = 64
_MAX_POINTS = 200
_PLANES = (
    ("losses", "content_loss", "style_loss", "What was optimised"),
    ("judges", "lpips", "style_distance", "Judged by a network that was not optimised"),
)


class Plane(NamedTuple):
    """A plot of content against style.

    Attributes:
      title: heading of the plot.
      plane: the plot without its points.
      front: indices, into the lanes shown, of the lanes on a Pareto front.
      knees: indices of the lanes at the knee of a front.
    """

    title: str
    plane: plots.Plane
    front: frozenset[int]
    knees: frozenset[int]


def find_planes(lanes: Sequence[Lane]) -> list[Plane]:
    """Draw the planes that the lanes have numbers for; each pair of images has its own front and knee."""
    found = []
    for name, x, y, title in _PLANES:
        values = np.array([[lane.values.get(x, math.nan), lane.values.get(y, math.nan)] for lane in lanes])
        if not np.isfinite(values).any():
            continue
        ok = np.array([lane.status != "failed" for lane in lanes])
        fronts, knees = {}, []
        for pair in dict.fromkeys((lane.content, lane.style) for lane in lanes):
            members = np.array([i for i, lane in enumerate(lanes) if (lane.content, lane.style) == pair])
            subset = values[members, 0], values[members, 1], ok[members]
            fronts["-".join(map(str, pair))] = members[pareto_front(*subset)].tolist()
            if (best := knee(*subset)) is not None:
                knees.append(int(members[best]))
        labels = (x.replace("_", " "), y.replace("_", " "))
        plane = plots.draw_plane(name, labels, values, fronts)
        if plane:
            front = frozenset(i for members in fronts.values() for i in members)
            found.append(Plane(title, plane, front, frozenset(knees)))
    return found


def place_points(plane: Plane, lanes: Sequence[Lane], labels: Sequence[str], axes: Sequence[Axis]) -> dict[str, Any]:
    """Describe a plane with its points for the template; marked points come last, so that they lie over the others."""
    points = [
        {
            "index": i,
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
            "colour": colour_of(axes, axes[0].rank(lane) if axes else 0),
            "name": f"Lane {lane.number}: {label}",
            "kind": "knee" if i in plane.knees else "front" if i in plane.front else "",
            "failed": lane.status == "failed",
        }
        for i, (lane, label, (x, y)) in enumerate(zip(lanes, labels, plane.plane.points, strict=True))
        if math.isfinite(x)
    ]
    points.sort(key=lambda point: ("", "front", "knee").index(point["kind"]))
    return {"title": plane.title, "svg": plane.plane.svg, "points": points}


def draw_curves(run: StoredRun, lanes: Sequence[Lane], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Draw the losses over the steps, and the style loss over the layers."""
    index = {lane.number: i for i, lane in enumerate(lanes)}
    colours = [colour_of(axes, axes[0].rank(lane) if axes else 0) for lane in lanes]
    history = run.history
    points = even_sample(len(history.steps), _MAX_POINTS)
    found = []
    for name, title in _CURVES.items():
        losses = history.losses.get(name, np.zeros((0, 0)))[:, points]
        curves = {
            index[lane]: of_lane for lane, of_lane in zip(history.lanes.tolist(), losses, strict=True) if lane in index
        }
        svg = _draw_sample(f"curve-{name}", "step", history.steps[points], curves, colours)
        found.append({"title": title, "svg": svg, "drawn": min(len(curves), _MAX_CURVES), "of": len(curves)})
    layers = [name for name in run.columns("layers") if any(name in lane.values for lane in lanes)]
    curves = {i: np.array([lane.values.get(name, math.nan) for name in layers]) for i, lane in enumerate(lanes)}
    svg = _draw_sample(
        "layers", "layer", [name.removeprefix("style_") for name in layers], curves if layers else {}, colours
    )
    found.append({"title": LAYERS_TITLE, "svg": svg, "drawn": min(len(curves), _MAX_CURVES), "of": len(curves)})
    return [curve for curve in found if curve["svg"]]


def _draw_sample(name: str, label: str, x: Any, curves: Mapping[int, np.ndarray], colours: Sequence[str]) -> str | None:
    if not curves:
        return None
    keys = list(curves)
    lines = {keys[i]: (curves[keys[i]], colours[keys[i]]) for i in even_sample(len(keys), _MAX_CURVES)}
    everything = np.array(list(curves.values())) if len(curves) > len(lines) else None
    return plots.draw_lines(name, label, x, lines, everything)


def colour_of(axes: Sequence[Axis], rank: int) -> str:
    """Return the colour of the value of the first axis that has this rank."""
    return plots.scale_colour(rank / max(len(axes[0].values) - 1, 1) if axes else 0)
