"""Compare a preset with the defaults by held-out judges: the style distance that the default has at a preset's LPIPS.

    python scripts/compare_presets.py                     # gatys; the samples: 2 contents x 3 styles
    python scripts/compare_presets.py --preset johnson --betas 1 10 100 --size 192 --runs runs/

The judges are AlexNet's: LPIPS to the content, and the distance of Gram matrices to the style image; both are in
lanes.csv. Over betas the defaults trace a front of the two, between whose points log style distance is taken for linear
in LPIPS. For each picture of the preset the least style distance of that front at no larger LPIPS is divided by the
picture's own; a table in Markdown has the geometric mean of each pair, below 1 where the defaults are better. A picture
nearer to its content than all of the defaults' is left out. Runs in --runs are kept and not made again. What the
script has no option for goes to both sweeps, such as --weights random:0.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

from jaxstyle.app.cli import call

CONTENTS = ("sample:cat", "sample:coffee")
STYLES = ("sample:swirls", "sample:mosaic", "sample:woodcut")
DEFAULT_BETAS = ("0.03", "0.1", "0.3", "1", "3", "10")


def judge(out: Path, pair: list[str], options: list[str]) -> np.ndarray:
    """LPIPS and style distance, (lanes, 2), of a sweep's pictures."""
    if not (out / "report.html").exists():
        call(["sweep", *pair, *options, "--out", str(out), "--overwrite", "--quiet"])
    with (out / "lanes.csv").open() as file:
        return np.array([[float(row["lpips"]), float(row["style_distance"])] for row in csv.DictReader(file)])


def compare(default: np.ndarray, preset: np.ndarray) -> list[float]:
    """For each picture of the preset that can be compared, the default's style distance over its own."""
    near, far = default[np.argsort(default[:, 0])].T
    ratios = []
    for lpips, distance in preset:
        if lpips >= near[0]:
            at = np.exp(np.interp(lpips, near, np.log(far)))
            ratios.append(min(at, *far[near <= lpips]) / distance)
    return ratios


def main() -> None:
    """Sweep every pair with and without the preset, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="gatys")
    parser.add_argument("--betas", nargs="+", default=["2e4", "6e4", "2e5", "6e5"], help="of the preset")
    parser.add_argument("--contents", nargs="+", default=CONTENTS)
    parser.add_argument("--styles", nargs="+", default=STYLES)
    parser.add_argument("--size", default="128")
    parser.add_argument("--steps", help="default: as many as the command takes")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs")
    args, others = parser.parse_known_args()
    pairs = [[content, style] for content in args.contents for style in args.styles]
    shared, table = ["--size", args.size, *(["--steps", args.steps] if args.steps else []), *others], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.runs or Path(temporary)
        for number, pair in enumerate(pairs):
            default = judge(folder / f"{number}_default", pair, [*shared, "--beta", *DEFAULT_BETAS])
            options = [*shared, "--preset", args.preset, "--beta", *args.betas]
            ratios = compare(default, judge(folder / f"{number}_{args.preset}", pair, options))
            found = f"{np.exp(np.mean(np.log(ratios))):.2f} | {len(ratios)} of {len(args.betas)}" if ratios else "- | 0"
            table.append(f"| {pair[0]}, {pair[1]} | {found} |")
            print(table[-1], flush=True)
    print("\n".join(["| pair | style distance, default / preset | pictures |", "|---|---|---|", *table]))


if __name__ == "__main__":
    main()
