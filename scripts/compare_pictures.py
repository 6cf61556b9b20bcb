"""Compare two settings of the sweep, or another program's pictures, at equal content kept, by judges of no side.

    python scripts/compare_pictures.py "" "--preset gram-mean" --contents photos/*.jpg --styles paintings/*.jpg
    python scripts/compare_pictures.py "" folder:theirs --size 256 --runs runs/ --sheet blind.png --json table.json

A setting is the options of `jaxstyle sweep` as one word, an empty one the defaults; it should have several betas, and
the two equal work, which is printed for a lane, with its share of placing betas. `folder:DIR` is pictures of another
program, of the size of ours, in `DIR/CONTENT_STYLE/*.png`, after the names of the images. Each content goes with each
style.

Over its lanes a setting traces a front of content kept and style reached: the least distance from the style at no more
than a distance from the content, log distances taken for linear between lanes. Two fronts are compared where both
reach: geometric means of the first distance over the second, below 1 where the first is better. picture_judges.py
says who judges. With --sheet, two pictures of each pair at one LPIPS go into a sheet in random order, for an eye that
doesn't know which is which; the key goes into a text file beside it. Runs in --runs are kept, and not made again.
"""

import argparse
import json
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from picture_judges import CONTENT_JUDGES, STYLE_JUDGES, Judgement, checkerboard, frame, judge
from PIL import Image

import jaxstyle as js
from jaxstyle.app.cli import call
from jaxstyle.app.run_folder.recorded_job import load_recorded_job
from jaxstyle.app.settings.stages import pixel_steps, plan_stages
from jaxstyle.app.sweeping.placing import extra_work

CONTENTS = ("sample:cat", "sample:coffee")
STYLES = ("sample:swirls", "sample:mosaic", "sample:woodcut")
POINTS = 9  # of both fronts that are compared
GAP = 8  # pixels between pictures of a sheet
ALIKE = 0.005  # of the logarithm, within which a ratio has no sign


class Pictures(NamedTuple):
    """A setting's pictures of one pair, what the judges say of each, and the work of one in steps of the full size."""

    images: list[np.ndarray]
    judgements: list[Judgement]
    work: float


def name_of(image: str) -> str:
    """The name of an image without folder and suffix."""
    return Path(image.removeprefix("sample:")).stem


def sweep(setting: str, pair: Sequence[str], size: int, folder: Path) -> tuple[list[np.ndarray], float]:
    """The pictures of a pair by a setting, from its run folder if it is there, and the work of a lane."""
    options = re.sub(r"[^\w.]+", "_", setting).strip("_") or "default"
    out = folder / f"{name_of(pair[0])}_{name_of(pair[1])}_{size}" / options
    if not (out / "report.html").exists():
        words = ["--size", str(size), *shlex.split(setting)]
        call(["sweep", *pair, *words, "--out", str(out), "--overwrite", "--quiet"])
    run = js.load_run(out)
    job = load_recorded_job(out, run.settings, "compare")
    shape = run.images[0].shape[:2]
    stages = plan_stages(job.settings, shape, job.network.smallest_side)
    work = pixel_steps(stages) / math.prod(shape)
    return list(run.images), work * (1 + extra_work(job, run.settings))


def gather(setting: str, pair: Sequence[str], args: argparse.Namespace, judges: Any) -> Pictures:
    """A setting's pictures of a pair, judged."""
    content, style = (js.read_image(name, args.size) for name in pair)
    if setting.startswith("folder:"):
        folder = Path(setting.removeprefix("folder:")) / f"{name_of(pair[0])}_{name_of(pair[1])}"
        images, work = [js.read_image(str(path), args.size) for path in sorted(folder.glob("*.png"))], math.nan
    else:
        images, work = sweep(setting, pair, args.size, args.runs)
    return Pictures(images, [judge(judges, image, content, style) for image in images], work)


def front(pictures: Sequence[Judgement], content: str, style: str) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the content, rising, and the logarithm of the least distance from the style up to each."""
    found = sorted((getattr(p, content), getattr(p, style)) for p in pictures)
    near, far = (np.array(column) for column in zip(*found, strict=True))
    return near, np.minimum.accumulate(np.log(far))


def compare(first: Sequence[Judgement], second: Sequence[Judgement], content: str, style: str) -> float:
    """The first's distance from the style over the second's, at equal distances from the content; NaN: none is."""
    (near_1, far_1), (near_2, far_2) = (front(side, content, style) for side in (first, second))
    low, high = max(near_1[0], near_2[0]), min(near_1[-1], near_2[-1])
    if not low < high:
        return math.nan
    at = np.linspace(low, high, POINTS)
    return math.exp((np.interp(at, near_1, far_1) - np.interp(at, near_2, far_2)).mean())


def at_equal_content(first: Sequence[Judgement], second: Sequence[Judgement]) -> tuple[int, int]:
    """A picture of each, nearest to the middle of the LPIPS that both reach."""
    lpips = [np.array([p.lpips for p in side]) for side in (first, second)]
    low, high = max(x.min() for x in lpips), min(x.max() for x in lpips)
    places = [int(np.abs(x - (low + high) / 2).argmin()) for x in lpips]
    return places[0], places[1]


class Comparison(NamedTuple):
    """Two settings on one pair: ratios by judge, and the artefacts of two pictures beside those of the inputs."""

    ratios: dict[str, float]
    artefacts: dict[str, tuple[float, float, float]]
    lpips: tuple[list[float], list[float]]


def compare_pair(first: Pictures, second: Pictures, images: Sequence[np.ndarray]) -> Comparison:
    """All ratios of a pair; of artefacts the first's, the second's, and the larger of content's and style's."""
    sides = first.judgements, second.judgements
    ratios = {f"{s}|{c}": compare(*sides, c, s) for c in CONTENT_JUDGES for s in (*STYLE_JUDGES, "colours")}
    artefacts = {}
    for name, measure in (("frame", frame), ("checkerboard", checkerboard)):
        worst = [max(getattr(p, name) for p in side) for side in sides]
        artefacts[name] = (worst[0], worst[1], max(float(measure(image)) for image in images))
    return Comparison(ratios, artefacts, ([p.lpips for p in sides[0]], [p.lpips for p in sides[1]]))


def table(rows: dict[str, Comparison]) -> str:
    """The table in Markdown: a pair a row, ratios with the sign of the first; at the end means and what was won."""
    keys = list(next(iter(rows.values())).ratios)
    head = ["pair", *(f"{key.replace('|', ' at equal ')}" for key in keys), "LPIPS reached", "frame", "checkerboard"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in rows.items():
        reached = f"{max(row.lpips[0]):.2f}, {max(row.lpips[1]):.2f}"
        artefacts = [f"{a:.3f}, {b:.3f} ({inputs:.3f})" for a, b, inputs in row.artefacts.values()]
        cells = [name, *(show(row.ratios[key]) for key in keys), reached, *artefacts]
        lines.append("| " + " | ".join(cells) + " |")
    means, won, worst = [], [], []
    for key in keys:
        values = np.array([row.ratios[key] for row in rows.values() if not math.isnan(row.ratios[key])])
        means.append(f"{np.exp(np.log(values).mean()):.3f}" if len(values) else "-")
        won.append(f"{int((np.log(values) < -ALIKE).sum())} of {len(values)}")
        worst.append(f"{values.max():.3f}" if len(values) else "-")
    for name, cells in (("geometric mean", means), ("better on", won), ("worst", worst)):
        lines.append("| " + " | ".join([name, *cells, "", "", ""]) + " |")
    return "\n".join(lines)


def show(ratio: float) -> str:
    """A ratio with a sign: + where the first is better, - where the second is."""
    if math.isnan(ratio):
        return "-"
    sign = "=" if abs(math.log(ratio)) <= ALIKE else "+" if ratio < 1 else "−"
    return f"{ratio:.3f} {sign}"


def blind_sheet(path: Path, rows: list[tuple[str, list[np.ndarray]]]) -> None:
    """Content, style, and the two pictures of each pair in random order; the key goes into a text file beside it."""
    order = np.random.default_rng().integers(0, 2, len(rows))
    shown = [
        [*images[:2], images[2 + first], images[3 - first]] for (_, images), first in zip(rows, order, strict=True)
    ]
    height, width = (max(image.shape[axis] for row in shown for image in row) for axis in (0, 1))
    page = Image.new("RGB", (4 * (width + GAP), len(shown) * (height + GAP)), "white")
    for i, row in enumerate(shown):
        for j, image in enumerate(row):
            tile = Image.fromarray(np.round(image * 255).astype(np.uint8))
            page.paste(tile, (j * (width + GAP), i * (height + GAP)))
    page.save(path)
    key = [
        f"{name}: {'second, first' if swapped else 'first, second'}"
        for (name, _), swapped in zip(rows, order, strict=True)
    ]
    path.with_suffix(".txt").write_text("\n".join(key) + "\n")


def main() -> None:
    """Make or read both settings' pictures of every pair, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", help="options of jaxstyle sweep as one word, or folder:DIR")
    parser.add_argument("second", help="likewise")
    parser.add_argument("--contents", nargs="+", default=CONTENTS)
    parser.add_argument("--styles", nargs="+", default=STYLES)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runs", type=Path, default=Path("runs/compared"), help="folder that keeps the runs")
    parser.add_argument("--sheet", type=Path, help="PNG of pictures in random order")
    parser.add_argument("--json", type=Path, help="file for what the table has")
    args = parser.parse_args()
    judges, rows, pictures = js.load_lpips("alex"), {}, []
    for pair in [(content, style) for content in args.contents for style in args.styles]:
        first, second = (gather(setting, pair, args, judges) for setting in (args.first, args.second))
        inputs = [js.read_image(name, args.size) for name in pair]
        name = f"{name_of(pair[0])} x {name_of(pair[1])}"
        rows[name] = compare_pair(first, second, inputs)
        chosen = at_equal_content(first.judgements, second.judgements)
        pictures.append((name, [*inputs, first.images[chosen[0]], second.images[chosen[1]]]))
        print(f"{name}: work {first.work:.0f}, {second.work:.0f}; {rows[name].ratios}", flush=True)
    print(table(rows))
    if args.sheet:
        blind_sheet(args.sheet, pictures)
    if args.json:
        args.json.write_text(json.dumps({name: row._asdict() for name, row in rows.items()}, indent=1))


if __name__ == "__main__":
    main()
