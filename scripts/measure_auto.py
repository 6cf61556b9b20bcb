"""Measures how evenly `--beta auto` places the lanes of pairs of images, beside a logarithmic grid.

    python scripts/measure_auto.py sample:cat,sample:swirls photo.jpg,painting.jpg --out build/auto

Each pair is swept twice: with auto, and with a beta in each of the eight decades around the default and those of the
logarithmic grid. A sweep that the folder --out holds already is read, not run again. For each pair it prints:

- even: the largest step of LPIPS between neighbouring lanes over the mean step, of auto, and of the grid;
- first: LPIPS of the first lane to the photograph;
- style: style distance of the last lane over the lowest of all betas;
- extra: lane-steps beyond those of the finished lanes, counted by pixels, over those of the finished lanes;
- half: LPIPS of the lane in the middle; and, over all pairs, how far it spreads beside that of each beta of the grid.
"""

import argparse
from pathlib import Path

import numpy as np

from jaxstyle.app.cli import call
from jaxstyle.app.run_folder.finished_run import Run, load_run
from jaxstyle.app.run_folder.recorded_job import load_recorded_job
from jaxstyle.app.settings.settings import DEFAULT_SIZE
from jaxstyle.app.sweeping.placing import extra_work
from jaxstyle.evaluate.even_levels import unevenness
from jaxstyle.objective.weight_defaults import default_style_loss, weight_defaults

DEFAULT = weight_defaults("mean", default_style_loss("mean")).beta
GRID = (0.1, 10**-0.5, 1.0, 10**0.5, 10.0)  # betas of the logarithmic grid over the default
WIDE = sorted({10.0**k for k in range(-4, 5)} | set(GRID))


def main() -> None:
    """Measure the pairs on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="CONTENT,STYLE", help="pairs of images")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help=f"longest side ({DEFAULT_SIZE})")
    parser.add_argument("--lanes", type=int, default=5, help="lanes of auto (5)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run folders")
    args = parser.parse_args()
    rows: list[dict[str, float]] = []
    halves, grids = [], []
    for pair in args.pairs:
        content, style = pair.split(",")
        found, half, of_grid = measure_pair(content, style, args.size, args.lanes, args.out)
        print(f"{Path(pair).name:40s} " + " ".join(f"{name} {value:.3f}" for name, value in found.items()), flush=True)
        rows.append(found)
        halves.append(half)
        grids.append(of_grid)
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        print(f"{name}: median {np.median(values):.3f}, from {values.min():.3f} to {values.max():.3f}")
    if len(rows) > 1:
        spread = ", ".join(f"{DEFAULT * r:.3g}: {s:.3f}" for r, s in zip(GRID, np.std(grids, axis=0), strict=True))
        print(f"standard deviation of LPIPS over pairs: strength 0.5: {np.std(halves):.3f}; beta {spread}")


def measure_pair(
    content: str, style: str, size: int, lanes: int, out: Path
) -> tuple[dict[str, float], float, np.ndarray]:
    """Return the measures of a pair, LPIPS of the lane in the middle, and those of the grid's lanes."""
    name = f"{Path(content.split(':')[-1]).stem}_{Path(style.split(':')[-1]).stem}_{size}"
    auto = sweep(out / f"auto{lanes}_{name}", content, style, size, [f"auto:{lanes}"])
    wide = sweep(out / f"wide_{name}", content, style, size, [f"{DEFAULT * ratio:.4g}" for ratio in WIDE])
    job = load_recorded_job(out, auto.settings, "measure")
    lpips = column(auto, "lpips")
    betas, of_wide = column(wide, "beta"), column(wide, "lpips")
    of_grid = np.array([of_wide[np.abs(np.log(betas / (DEFAULT * ratio))).argmin()] for ratio in GRID])
    found = {
        "even": unevenness(column(auto, "strength"), lpips),
        "grid": unevenness(np.linspace(0, 1, len(GRID)), of_grid),
        "first": lpips[0],
        "style": column(auto, "style_distance")[-1] / column(wide, "style_distance").min(),
        "extra": extra_work(job, auto.settings),
    }
    return found, float(np.interp(0.5, column(auto, "strength"), lpips)), of_grid


def sweep(folder: Path, content: str, style: str, size: int, betas: list[str]) -> Run:
    """Return a run that is in the folder already, or run it."""
    if not (folder / "report.html").is_file():
        call(["sweep", content, style, "--size", str(size), "--beta", *betas, "--out", str(folder), "--quiet"])
    return load_run(folder)


def column(run: Run, name: str) -> np.ndarray:
    """Return a column of lanes.csv."""
    return np.array([float(lane[name]) for lane in run.lanes])


if __name__ == "__main__":
    main()
