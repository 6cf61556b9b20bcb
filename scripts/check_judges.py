"""Check the judges of compare_pictures.py on comparisons whose order is plain to see.

    python scripts/check_judges.py --size 160 --runs runs/

On five pairs: coarse to fine against one size, enough steps against too few, the pictures as they are against the same
with noise, and against the same with a dark frame. The table says in how many of the five each judge names the better
side; of a frame, the judge of frames is asked, of noise that of checkerboards, too.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from compare_pictures import Pictures, compare, gather
from picture_judges import FRAME, STYLE_JUDGES, judge

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image

PAIRS = (
    ("sample:portrait", "sample:swirls"),
    ("sample:temple", "sample:swirls"),
    ("sample:temple", "sample:mosaic"),
    ("sample:cat", "sample:woodcut"),
    ("sample:coffee", "sample:mosaic"),
)
BETAS = "--beta 1 5 25"
BETTER, ONE_SIZE, FEW = BETAS, f"{BETAS} --min-size 10000 --steps 60", f"{BETAS} --min-size 10000 --steps 6"
NOISE = 0.06


def with_noise(image: np.ndarray) -> np.ndarray:
    """The image with normal noise."""
    return np.clip(image + np.random.default_rng(0).normal(0, NOISE, image.shape), 0, 1).astype(np.float32)


def with_frame(image: np.ndarray) -> np.ndarray:
    """The image with a darker frame."""
    framed = image * np.float32(0.6)
    framed[FRAME:-FRAME, FRAME:-FRAME] = image[FRAME:-FRAME, FRAME:-FRAME]
    return framed


def changed(pictures: Pictures, change: Callable[[np.ndarray], np.ndarray], inputs: Any, judges: Any) -> Pictures:
    """The pictures, all changed, and judged again."""
    images = [change(image) for image in pictures.images]
    return pictures._replace(images=images, judgements=[judge(judges, image, *inputs) for image in images])


def verdicts(better: Pictures, worse: Pictures) -> dict[str, bool]:
    """Which judges name the better side: of styles at equal LPIPS, of artefacts over all pictures."""
    found = {name: compare(better.judgements, worse.judgements, "lpips", name) for name in STYLE_JUDGES}
    for name in ("frame", "checkerboard"):
        sums = [sum(getattr(p, name) for p in side.judgements) for side in (better, worse)]
        found[name] = sums[0] / sums[1]
    return {name: not math.isnan(ratio) and ratio < 1 for name, ratio in found.items()}


def main() -> None:
    """Make the pictures, ask the judges, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--runs", type=Path, default=Path("runs/compared"), help="folder that keeps the runs")
    args = parser.parse_args()
    judges, right = js.load_lpips("alex"), {}
    for pair in PAIRS:
        inputs = [read_image(name, args.size) for name in pair]
        better, one_size, few = (gather(setting, pair, args, judges) for setting in (BETTER, ONE_SIZE, FEW))
        noisy, framed = (changed(better, change, inputs, judges) for change in (with_noise, with_frame))
        for kind, sides in {
            "coarse to fine, one size": (better, one_size),
            "enough steps, too few": (one_size, few),
            "as it is, with noise": (better, noisy),
            "as it is, with a frame": (better, framed),
        }.items():
            right.setdefault(kind, []).append(verdicts(*sides))
            print(pair, kind, right[kind][-1], flush=True)
    names = list(next(iter(right.values()))[0])
    print("\n".join(["| better, worse | " + " | ".join(names) + " |", "|---" * (1 + len(names)) + "|"]))
    for kind, rows in right.items():
        print(f"| {kind} | " + " | ".join(f"{sum(row[name] for row in rows)} of {len(rows)}" for name in names) + " |")


if __name__ == "__main__":
    main()
