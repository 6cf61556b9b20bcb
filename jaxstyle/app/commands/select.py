"""The commands `jaxstyle select` and `jaxstyle report`, which read a run folder. They need no jax."""

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxstyle.app.commands.cross_validate_run import IMAGES, Columns, cross_validate_run, validation_lines
from jaxstyle.app.commands.options import add_run, as_argument
from jaxstyle.app.commands.run_arguments import add_open
from jaxstyle.app.settings.values import parse_integer, parse_share
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import printable, say, say_done, tell
from jaxstyle.evaluate.metric_names import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from jaxstyle.app.run_folder.stored_run import Lane, StoredRun

_LONGEST_TABLE = 40  # If a pair has more lanes, only those on the front are listed.


def add_report(commands: Any) -> None:
    """Add the parser of `jaxstyle report`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="make report.html of a run folder again",
        description="Make report.html of a run folder again, as far as the run has come.",
    )
    add_run(parser)
    add_open(parser)
    parser.set_defaults(command=_report)


def _report(args: argparse.Namespace) -> Path:
    from jaxstyle.app.report.page import write_report

    page = write_report(Path(args.run))
    say_done(str(page))
    if args.open:
        from jaxstyle.app.system.browser import open_page

        open_page(page)
    return page


def add_select(commands: Any) -> None:
    """Add the parser of `jaxstyle select`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "select",
        help="choose among the lanes of a run",
        description="Show which lanes of a run no other beats in both content and style, and pick one: the knee of "
        "that front, or the closest to a trade-off. Over several pairs of images, cross-validation says whether one "
        "setting fits all.",
    )
    add_run(parser)
    parser.add_argument(
        "--measures",
        nargs=2,
        metavar=("CONTENT", "STYLE"),
        default=("content_loss", "style_loss"),
        help="columns of lanes.csv to compare (default: content_loss style_loss; lpips style_distance are metrics "
        "that did not make the pictures)",
    )
    parser.add_argument(
        "--content-weight",
        type=as_argument(parse_share),
        metavar="W",
        help="pick the lane closest to W times content + (1 - W) times style, each from 0 to 1 (default: the knee)",
    )
    parser.add_argument(
        "--folds",
        type=as_argument(partial(parse_integer, low=2)),
        metavar="N",
        help="number of folds of the cross-validation (default: one for each that is held out)",
    )
    parser.add_argument(
        "--hold-out",
        choices=(*IMAGES, "pair"),
        help="what a fold of the cross-validation leaves out: all pairs of a style image, all of a content image, or "
        "one pair, both of whose images other pairs may have (default: a style, and then a content)",
    )
    parser.add_argument(
        "--best-to", metavar="PATH", help="copy the picked picture to this file; for several pairs, into this folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what --best-to names")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.set_defaults(command=_select)


def _select(args: argparse.Namespace) -> Path | None:
    from jaxstyle.app.run_folder.stored_run import read_stored_run

    run = read_stored_run(Path(args.run))
    if not any(lane.status == "ok" for lane in run.lanes):
        raise StartError(f"the run in {args.run} has no lane that is done, so there is nothing to select")
    for name in args.measures:
        known = [name for kind in ("losses", "layers", "metrics") for name in run.columns(kind)]
        if name not in known or all(math.isnan(_measure(lane, name)) for lane in run.lanes):
            there = [n for n in known if not all(math.isnan(_measure(lane, n)) for lane in run.lanes)]
            raise StartError(f"the run in {args.run} has no column {name!r}; it has {', '.join(there)}")
    pairs: dict[tuple[int, int], list[Lane]] = {}
    for lane in run.lanes:
        pairs.setdefault((lane.content, lane.style), []).append(lane)
    columns = [_columns(lanes, args) for lanes in pairs.values()]
    validation, notes = cross_validate_run(list(pairs.values()), columns, args)
    result = {
        "measures": list(args.measures),
        "content_weight": args.content_weight,
        "pairs": [_pick(run, *one, args) for one in zip(pairs.values(), columns, strict=True)],
        "cross_validation": validation,
    }
    if args.best_to:
        _copy_best(run, result["pairs"], Path(args.best_to), overwrite=args.overwrite)
    written = Path(args.best_to) if args.best_to else None
    for note in notes:
        tell(f"note: {note}")
    if args.json:
        say(json.dumps(result, indent=2))
        return written
    for (_, lanes), pair in zip(pairs.items(), result["pairs"], strict=True):
        say("\n".join([*map(printable, _describe_pair(lanes, pair, args.measures)), ""]))
    if validation:
        say("\n".join(map(printable, validation_lines(validation))))
    return written


def _measure(lane: "Lane", name: str) -> float:
    """Return a column's value for a lane, with a sign such that lower is better."""
    value = lane.values.get(name, math.nan)
    return -value if name in HIGHER_IS_BETTER else value


def _columns(lanes: "list[Lane]", args: argparse.Namespace) -> Columns:
    """Return both measures of each lane, and whether it is done."""
    content, style = ([_measure(lane, name) for lane in lanes] for name in args.measures)
    return content, style, [lane.status == "ok" for lane in lanes]


def _pick(run: "StoredRun", lanes: "list[Lane]", columns: Columns, args: argparse.Namespace) -> dict[str, Any]:
    """Pick one lane of a pair of images, and describe it and the front."""
    from jaxstyle.evaluate.select import closest, knee, pareto_front

    weight = args.content_weight
    index = knee(*columns) if weight is None else closest(columns[0], columns[1], weight, columns[2])
    front = [lane.number for lane, on_front in zip(lanes, pareto_front(*columns), strict=True) if on_front]
    files = {kind: run.inputs(kind) for kind in ("content", "style")}
    found: dict[str, Any] = {kind: files[kind][getattr(lanes[0], kind)]["file"] for kind in files}
    found |= {"front": front, "lane": None, "settings": None, "image": None}
    if index is not None:
        picked = lanes[index]
        found |= {"lane": picked.number, "settings": dict(picked.settings)}
        found["image"] = str(run.folder / f"images/lane_{picked.number:04d}.png")
    return found


def _describe_pair(lanes: "list[Lane]", pair: dict[str, Any], measures: tuple[str, str]) -> list[str]:
    front = set(pair["front"])
    shown = lanes if len(lanes) <= _LONGEST_TABLE else [lane for lane in lanes if lane.number in front]
    names = list(shown[0].settings) if shown else []
    names = [name for name in names if len({lane.settings[name] for lane in lanes}) > 1] or names[:3]
    cells = [["lane", *names, *measures, "", ""]]
    for lane in shown:
        values = [f"{lane.values.get(name, math.nan):.4g}" for name in measures]
        marks = ["front" if lane.number in front else "", "picked" if lane.number == pair["lane"] else ""]
        if lane.status != "ok":
            marks = [lane.status, ""]
        cells.append([str(lane.number), *(lane.settings[name] for name in names), *values, *marks])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    omitted = [] if shown is lanes else [f"({len(lanes) - len(shown)} lanes that are not on the front are left out)"]
    picked = f"picked: {pair['image']}" if pair["image"] else "picked: none, every lane failed"
    return [f"{pair['content']} in the style of {pair['style']}", *lines, *omitted, picked]


def _copy_best(run: "StoredRun", pairs: list[dict[str, Any]], target: Path, *, overwrite: bool) -> None:
    from jaxstyle.app.system.files import explain, follow, write_atomic

    picked = [pair for pair in pairs if pair["image"]]
    if len(pairs) == 1 and target.suffix.lower() != ".png":
        raise StartError(f"{target} does not end in .png")
    try:
        if len(pairs) > 1:
            target.mkdir(exist_ok=True)
        for pair in picked:
            names = [Path(pair[kind]).stem[:50] for kind in ("content", "style")]
            name = f"{names[0]}_{names[1]}_{pair['lane']:04d}.png"
            data = Path(pair["image"]).read_bytes()
            file = target / name if len(pairs) > 1 else target
            write_atomic(follow(file) if overwrite else file, data, overwrite=overwrite)
    except OSError as error:
        raise explain(error, f"cannot copy to {target}") from error
