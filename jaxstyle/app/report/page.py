"""Writes report.html: one self-contained page that shows a run, finished or not."""

import functools
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from jaxstyle.app.report import figures
from jaxstyle.app.report.axes import (
    Axis,
    find_axes,
    given_settings,
    grid_table,
    inputs_of_lane,
    sweep_options,
    transfer_command,
)
from jaxstyle.app.report.pictures import Show, longest_side, stored_picture
from jaxstyle.app.report.sheet import even_sample
from jaxstyle.app.run_folder.stored_run import Lane, StoredRun, read_stored_run
from jaxstyle.app.system.files import write_atomic

MAX_LANES = 1000
_MAX_COLUMNS = 10
_ONE_PAGE, _PAGE = 100, 60  # up to 100 cards stand on one page, more in pages of 60


class Following(NamedTuple):
    """What a page says that is written while its run goes on.

    Attributes:
      where: how far the run is, in words.
      written: when the page was written, in seconds since 1970.
      every: after so many seconds, the page loads itself anew.
    """

    where: str
    written: float
    every: float


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder, from what the folder holds; equal runs give equal reports.

    Returns:
      Path of report.html.

    Raises:
      StartError: if it isn't a run folder, or one of its files is damaged.
      RunError: if the file can't be written.
    """
    run = read_stored_run(folder)
    planes = figures.find_planes(_shown(run))
    return write_page(run, partial(stored_picture, run), planes=planes)


def write_page(
    run: StoredRun, show: Show, *, planes: Sequence[figures.Plane] = (), following: Following | None = None
) -> Path:
    """Write report.html of a run.

    Args:
      run: the run, as far as it is known.
      show: finds its pictures.
      planes: plots of content against style, of the lanes that the page shows.
      following: what the page says while the run goes on; None for a page that stays as it is.

    Returns:
      Path of report.html.

    Raises:
      RunError: if the file can't be written.
    """
    described = _describe(run, show, planes) | {"following": following and following._asdict()}
    page = _environment().get_template("report.html").render(described)
    # A command may name files whose bytes are not text.
    write_atomic(run.folder / "report.html", page.encode("utf-8", "backslashreplace"))
    return run.folder / "report.html"


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxstyle.app.report"),
        autoescape=True,  # names of files and commands may hold anything
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "words": _words}
    return environment


def _shown(run: StoredRun) -> list[Lane]:
    return [run.lanes[i] for i in even_sample(len(run.lanes), MAX_LANES)]


def _describe(run: StoredRun, show: Show, planes: Sequence[figures.Plane]) -> dict[str, Any]:
    """Describe a run for the template."""
    total, lanes = len(run.lanes), _shown(run)
    axes = find_axes(lanes, run.columns("settings"))
    contents, styles = (_inputs(run, kind, show) for kind in ("content", "style"))
    labels = [_label(lane, axes, contents, styles) for lane in lanes]
    cards = _cards(lanes, labels, planes, show)
    if not any(card["thumbnail"] or card["lane"].settings for card in cards):
        cards = []  # the run has only begun, and there is nothing to pick from
    order, columns = _arrange(lanes, axes)
    kinds = {"Losses": "losses", "Metrics": "metrics", figures.LAYERS_TITLE: "layers"}
    return {
        "title": _title(contents, styles),
        "facts": _facts(run, total),
        "run": run,
        "record": run.record,
        "total": total,
        "shown": len(lanes),
        "failed": [card for card in cards if card["failed"]],
        "contents": contents,
        "styles": styles,
        "axes": axes,
        "fixed": _fixed(lanes, run.columns("settings"), axes),
        "cards": cards and [cards[i] for i in order],
        "columns": columns,
        "planes": [figures.place_points(plane, lanes, labels, axes) for plane in planes],
        "curves": figures.draw_curves(run, lanes, axes),
        "colours": [(value, figures.colour_of(axes, i)) for i, value in enumerate(axes[0].values)] if axes else [],
        "groups": [
            (title, [name for name in run.columns(kind) if any(name in lane.values for lane in lanes)])
            for title, kind in kinds.items()
        ],
        "data": {
            "lanes": [_entry(run, card, axes) for card in cards],
            "axes": [axis.values for axis in axes],
            "content": contents,
            "style": styles,
            "start": min(planes[0].knees, default=0) if planes else 0,
            "page": _ONE_PAGE if len(cards) <= _ONE_PAGE else _PAGE // (columns or 1) * (columns or 1),
            "sweep": sweep_options(run.record, lanes[0].settings if lanes else {}),
            "run": str(run.record.get("lanes_sha256", "")),
        },
    }


def _entry(run: StoredRun, card: Mapping[str, Any], axes: Sequence[Axis]) -> dict[str, Any]:
    """Describe a lane for the page's script."""
    lane = card["lane"]
    return {
        "lane": lane.number,
        "content": lane.content,
        "style": lane.style,
        "label": card["label"],
        "ranks": [axis.rank(lane) for axis in axes],
        "picture": card["picture"],
        "alt": card["alt"],
        "command": transfer_command(run.record, lane),
        "inputs": shlex.join(inputs_of_lane(run.record, lane)),
        "settings": given_settings(lane),
        "grid": grid_table(lane),
    }


def _title(contents: Sequence[Mapping[str, Any]], styles: Sequence[Mapping[str, Any]]) -> str:
    return " × ".join(
        one[0]["name"] if len(one) == 1 else f"{len(one)} {what}"
        for one, what in ((contents, "contents"), (styles, "styles"))
    )


def _facts(run: StoredRun, total: int) -> list[str]:
    options = run.record.get("options", {})
    sizes = {f"{one['width']} × {one['height']} pixels" for one in run.inputs("content") if "width" in one}
    total = max(total, int(run.record.get("lanes", 0)))
    facts = [f"{total:,} lane{'s' * (total != 1)}", *(sizes if len(sizes) == 1 else ())]
    if "steps" in options:
        where = " at full size" if options.get("min_size") else ""
        facts.append(f"{options['steps']} steps of {options.get('optimizer', 'the optimiser')}{where}")
    if "style_loss" in options:
        facts.append(f"style loss {options['style_loss']}")
    if "convention" in options:
        facts.append(f"convention {options['convention']}")
    return facts


def _inputs(run: StoredRun, kind: str, show: Show) -> list[dict[str, Any]]:
    found = []
    side = longest_side(len(run.inputs(kind)))
    for one in run.inputs(kind):
        picture, thumbnail = show(str(one.get("image") or ""), side)
        found.append(
            {
                "name": PurePath(str(one["file"])).stem or str(one["file"]),
                "file": str(one["file"]),
                "picture": picture,
                "thumbnail": thumbnail,
                "size": f"{one['width']} × {one['height']}" if "width" in one else "",
                "sha256": str(one.get("sha256", "")),
            }
        )
    return found


def _label(lane: Lane, axes: Sequence[Axis], contents: list[Any], styles: list[Any]) -> str:
    names = [axis.name for axis in axes] + ["beta"] * any(axis.name == "strength" for axis in axes)
    settings = ", ".join(f"{name} {lane.settings[name]}" for name in names if name in lane.settings)
    many = len(contents) * len(styles) > 1
    pair = f"{contents[lane.content]['name']} × {styles[lane.style]['name']}" if many else ""
    return ", ".join(part for part in (pair, settings) if part) or f"lane {lane.number}"


def _cards(
    lanes: Sequence[Lane], labels: Sequence[str], planes: Sequence[figures.Plane], show: Show
) -> list[dict[str, Any]]:
    side = longest_side(len(lanes))
    cards = []
    for i, (lane, label) in enumerate(zip(lanes, labels, strict=True)):
        picture, thumbnail = show(f"images/lane_{lane.number:04d}.png", side)
        cards.append(
            {
                "index": i,
                "lane": lane,
                "label": label,
                "alt": f"Result of lane {lane.number}: {label}",
                "picture": picture,
                "thumbnail": thumbnail,
                "failed": lane.status == "failed",
                "front": bool(planes) and i in planes[0].front,
                "knee": bool(planes) and i in planes[0].knees,
            }
        )
    return cards


def _arrange(lanes: Sequence[Lane], axes: Sequence[Axis]) -> tuple[list[int], int]:
    """Arrange the cards as a table with the first axis across.

    Returns:
      The order of the cards, and the number of columns; 0 if the cards make no table.
    """
    if not axes or len(axes[0].values) > _MAX_COLUMNS:
        return list(range(len(lanes))), 0

    def row(lane: Lane) -> tuple[int, ...]:
        return lane.content, lane.style, *(axis.rank(lane) for axis in axes[:0:-1])

    order = sorted(range(len(lanes)), key=lambda i: (*row(lanes[i]), axes[0].rank(lanes[i])))
    cells = [(row(lanes[i]), axes[0].rank(lanes[i])) for i in order]
    columns = len(axes[0].values)
    complete = [(key, rank) for key in dict.fromkeys(key for key, _ in cells) for rank in range(columns)]
    return (order, columns) if cells == complete else (list(range(len(lanes))), 0)


def _fixed(lanes: Sequence[Lane], names: Sequence[str], axes: Sequence[Axis]) -> list[tuple[str, str]]:
    varying = {axis.name for axis in axes}
    return [(name, lanes[0].settings[name]) for name in names if lanes and name in lanes[0].settings.keys() - varying]


def _words(name: str) -> str:
    """Write the name of a column in words; relu1_1 stays as it is."""
    return re.sub(r"_(?!\d)", " ", name)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
