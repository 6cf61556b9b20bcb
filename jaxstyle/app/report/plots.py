"""Draws the plots of a report as inline SVG in the page's own colours; matplotlib is imported by calls alone."""

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

# These colours stand for CSS variables: the page is light or dark, but the figure is drawn once.
_INK, _FAINT, _GRID, _BAND = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {_INK: "var(--ink)", _FAINT: "var(--faint)", _GRID: "var(--line)", _BAND: "var(--band)"}
_SCALE = np.array([(0x2A, 0x7D, 0xC9), (0x86, 0x62, 0xCE), (0xD0, 0x52, 0x8A), (0xDC, 0x72, 0x1A)])
_LOG_RATIO = 20
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxstyle",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _FAINT,
    "axes.labelsize": 9,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _FAINT,
    "ytick.labelcolor": _FAINT,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify_threshold": 0.5,
}


class Plane(NamedTuple):
    """A scatter plot without its points, which the page draws so that they can be clicked.

    Attributes:
      svg: the figure without its closing tag.
      points: (lanes, 2) places of the points in the figure's units; NaN for lanes without numbers.
    """

    svg: str
    points: np.ndarray


def scale_colour(position: float) -> str:
    """Return the colour of a position from 0 to 1 on a setting's scale; it can be read on white and on black."""
    x = position * (len(_SCALE) - 1)
    i = min(int(x), len(_SCALE) - 2)
    red, green, blue = np.round(_SCALE[i] + (x - i) * (_SCALE[i + 1] - _SCALE[i])).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def draw_plane(
    name: str, labels: tuple[str, str], values: np.ndarray, fronts: Mapping[str, Sequence[int]]
) -> Plane | None:
    """Draw axes for values, and a line along each front.

    Args:
      name: prefix of the ids in the SVG.
      labels: labels of the x and the y axis.
      values: (lanes, 2) x and y of each lane.
      fronts: {key: lanes on this front}; the key becomes data-pair of the line's group.

    Returns:
      The plane; None if there is nothing to draw.
    """
    finite = np.isfinite(values).all(axis=1)
    if not finite.any():
        return None
    with _figure((5.4, 3.7)) as (figure, axes):
        for set_label, set_scale, label, column in (
            (axes.set_xlabel, axes.set_xscale, labels[0], values[finite, 0]),
            (axes.set_ylabel, axes.set_yscale, labels[1], values[finite, 1]),
        ):
            set_label(label)
            if _is_logarithmic(column):
                set_scale("log")
        axes.plot(values[finite, 0], values[finite, 1], linestyle="none")  # sets the limits
        axes.margins(0.08)
        for key, lanes in fronts.items():
            if not lanes:
                continue
            order = sorted(lanes, key=lambda lane: values[lane, 0])
            (line,) = axes.plot(*values[order].T, color=_FAINT, linewidth=1.2, zorder=1)
            line.set_gid(f"front-{key}")
        _label_ticks(axes)
        svg = _save(figure, name)
        points = np.full(values.shape, np.nan)
        points[finite] = axes.transData.transform(values[finite])
        points[:, 1] = figure.bbox.height - points[:, 1]
    return Plane(svg.removesuffix("</svg>"), points)


def draw_lines(
    name: str,
    label: str,
    x: Sequence[float] | Sequence[str] | np.ndarray,
    lines: Mapping[int, tuple[np.ndarray, str]],
    everything: np.ndarray | None = None,
) -> str | None:
    """Draw a line for each lane.

    Args:
      name: prefix of the ids in the SVG.
      label: label of the x axis.
      x: numbers of the points, or names of points that stand side by side.
      lines: {index: (values, colour)}; the index becomes data-index of the line's group.
      everything: (lanes, points) of all lanes, if `lines` is a sample: its median is drawn, and a band from 5 to 95 %.

    Returns:
      The SVG; None if there is nothing to draw.
    """
    shown = np.array([values for values, _ in lines.values()] if everything is None else everything)
    finite = np.isfinite(shown)
    if not finite.any():
        return None
    with _figure((3.6, 2.5)) as (figure, axes):
        axes.set_xlabel(label)
        positions = range(len(x)) if isinstance(x[0], str) else x
        if everything is not None:
            use = finite.any(axis=0)
            low, middle, high = np.nanquantile(everything[:, use], (0.05, 0.5, 0.95), axis=0)
            axes.fill_between(np.asarray(positions)[use], low, high, color=_BAND, linewidth=0)
            axes.plot(np.asarray(positions)[use], middle, color=_INK, linewidth=1.5, linestyle=(0, (4, 2)), zorder=3)
        for index, (values, colour) in lines.items():
            (line,) = axes.plot(positions, values, color=colour, linewidth=1.3)
            line.set_gid(f"lane-{index}")
        # The first steps may start from a loss of 0, which would squeeze the rest into a corner.
        late = shown[:, len(x) // 20 :] if not isinstance(x[0], str) else shown
        late = late[np.isfinite(late)]
        if late.size and _is_logarithmic(late):
            axes.set_yscale("log")
            axes.set_ylim(late.min() / 1.3, shown[finite].max() * 1.3)
        if isinstance(x[0], str):
            axes.set_xticks(list(positions), list(map(str, x)))
        _label_ticks(axes)
        return _save(figure, name)


def _is_logarithmic(values: np.ndarray) -> bool:
    return bool(values.min() > 0 and values.max() > _LOG_RATIO * values.min())


@contextmanager
def _figure(size: tuple[float, float]) -> Iterator[tuple[Any, Any]]:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it tells about its caches
    with warnings.catch_warnings():
        # matplotlib warns of what it calls itself, and of glyphs that its font lacks; the browser draws the text.
        warnings.simplefilter("ignore")
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context():
            matplotlib.rcdefaults()  # the user's own style would change the report
            matplotlib.rcParams.update(_STYLE.items())
            figure = Figure(size, dpi=72, layout="constrained")
            yield figure, figure.add_subplot()


def _label_ticks(axes: Any) -> None:
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0), numticks=7))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        elif isinstance(axis.get_major_locator(), AutoLocator):  # names of layers have another locator
            axis.set_major_locator(MaxNLocator(5))


def _save(figure: Any, name: str) -> str:
    """Save the figure as an <svg> element without a size, whose ids begin with `name`, in the page's colours."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" class="plot">', svg, count=1)
    svg = re.sub(r'id="lane-(\d+)"', r'class="line" data-index="\1"', svg)
    svg = re.sub(r'id="front-([\d-]+)"', r'class="front" data-pair="\1"', svg)
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", svg).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg
