"""What the trials have in common: runs of the command in processes of their own, what they made, how far they came."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
FEW_LAYERS = ["--weights", "random:0", "--content-layers", "relu2_2", "--style-layers", "relu1_1", "relu2_1"]
SWEEP = ["sweep", "sample:cat", "sample:swirls", *FEW_LAYERS]
SWEEP += ["--size", "30", "--beta", "0.1:10:3", "--steps", "300", "--checkpoint-every", "0", "--out", "run"]
COMMAND = "from jaxstyle.app import cli; cli.main()"


class Verdict(NamedTuple):
    """How a trial ended: a row of the table."""

    passed: bool
    trial: str
    found: str


def start(*arguments: str, folder: Path, code: str = COMMAND) -> Any:
    """The command, started in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def finish(process: Any) -> tuple[int, str]:
    """Exit status and the last line on stderr."""
    _, err = process.communicate()
    return process.returncode, (err.strip().splitlines() or [""])[-1]


def results(run: Path) -> dict[str, bytes]:
    """What a finished run holds but run.json, which says when and where it was."""
    files = (file for file in run.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(run)): file.read_bytes() for file in files if file.name != "run.json"}


def phase(run: Path) -> str:
    """How far a run is, by the files in its folder."""
    if not list(run.glob("checkpoint/*.ckpt")):
        return "finished" if (run / "report.html").exists() else "before its record"
    for name in ("report.html", "sheet.png", "lanes.csv", "images/lane_0000.png", "images/content_0000.png"):
        if (run / name).exists():
            return f"writing, after {name}"
    saved = read_newest(run)
    if not saved:
        return "compiling"
    if saved.about["finished"]:
        return "after the last step"
    return f"step {saved.about['step']}, {len(saved.arrays['members'])} lanes at work"


def read_newest(run: Path) -> Any:
    """The newest checkpoint of a run's lanes, if there is any."""
    from jaxstyle.app.checkpoints.saved_file import read_saved

    files = sorted(run.glob("checkpoint/lanes*.ckpt"))
    return read_saved(files[-1]) if files else None


def go_on(folder: Path, sweep: list[str]) -> tuple[int, str]:
    """Resume the run, or start it if it had not begun."""
    begun = list((folder / "run").glob("checkpoint/*.ckpt")) or (folder / "run" / "run.json").exists()
    return finish(start(*(("resume", "run") if begun else sweep), folder=folder))


def reference(folder: Path, sweep: list[str]) -> tuple[dict[str, bytes], float]:
    """Results of a run that nothing disturbs, and how long it takes with its programs compiled."""
    began = time.monotonic()
    for name in ("warm", "whole"):
        (folder / name).mkdir()
        began = time.monotonic()
        status, line = finish(start(*sweep, folder=folder / name))
        if status:
            raise SystemExit(f"a run that nothing disturbs failed: {line}")
    return results(folder / "whole" / "run"), time.monotonic() - began


def moments(count: int, duration: float, seed: int) -> list[float]:
    """Random moments of a run, one in each of `count` equal parts of it."""
    rng = random.Random(seed)
    return [0.5 + (i + rng.random()) * duration / count for i in range(count)]
