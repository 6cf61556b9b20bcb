"""Trials of what a sweep must survive: kills, signals, a full disk, damaged files, lanes that fail; and what it costs.

python scripts/trials.py kill --count 20; python scripts/trials.py --help names them. Each prints a line a trial and
ends with status 1 if one failed. Moments and bytes are drawn from --seed. The sweeps are small, their weights random.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FEW_LAYERS = ["--weights", "random:0", "--content-layers", "relu2_2", "--style-layers", "relu1_1", "relu2_1"]
SWEEP = ["sweep", "sample:cat", "sample:swirls", *FEW_LAYERS]
SWEEP += ["--size", "30", "--beta", "0.1:10:3", "--steps", "300", "--checkpoint-every", "0"]


def jaxstyle(*arguments: str, folder: Path, code: str = "from jaxstyle.app import cli; cli.main()") -> Any:
    """The command, started in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: Any) -> tuple[int, str]:
    """Exit status and the last line on stderr."""
    _, err = process.communicate()
    return process.returncode, (err.strip().splitlines() or [""])[-1]


def results(folder: Path) -> dict[str, bytes]:
    """What a finished run holds but run.json, which says when and where it was."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != "run.json"}


def phase(run: Path) -> str:
    """How far a run is, by the files in its folder."""
    if not list(run.glob("checkpoint/*.ckpt")):
        return "finished" if (run / "report.html").exists() else "before its record"
    for name in ("report.html", "sheet.png", "lanes.csv", "images/lane_0000.png", "images"):
        if (run / name).exists():
            return f"writing, after {name}"
    return "steps" if list(run.glob("checkpoint/lanes*")) else "compiling"


def go_on(folder: Path) -> tuple[int, str]:
    """Resume the run, or start it if it had not begun."""
    begun = list((folder / "run").glob("checkpoint/*.ckpt")) or (folder / "run" / "run.json").exists()
    return finish(jaxstyle(*(("resume", "run") if begun else (*SWEEP, "--out", "run")), folder=folder))


def reference(folder: Path) -> tuple[dict[str, bytes], float]:
    """Results of a run that nothing disturbs, and how long it takes with its programs compiled."""
    for name in ("warm", "whole"):
        (folder / name).mkdir()
        began = time.monotonic()
        status, line = finish(jaxstyle(*SWEEP, "--out", "run", folder=folder / name))
        if status:
            raise SystemExit(f"a run that nothing disturbs failed: {line}")
    return results(folder / "whole" / "run"), time.monotonic() - began


def moments(count: int, duration: float, seed: int) -> list[float]:
    """Random moments of a run, one in each of `count` equal parts of it."""
    rng = random.Random(seed)
    return [0.5 + (i + rng.random()) * duration / count for i in range(count)]


def try_kill(folder: Path, args: argparse.Namespace) -> int:
    """Kill -9 at random moments; resumed, results must be bit-identical."""
    whole, duration = reference(folder)
    failed = 0
    for i, moment in enumerate(moments(args.count, duration, args.seed)):
        own = folder / f"kill{i}"
        own.mkdir()
        process = jaxstyle(*SWEEP, "--out", "run", folder=own)
        time.sleep(moment)
        process.kill()
        process.communicate()
        where = phase(own / "run")
        status, line = go_on(own)
        same = status == 0 and results(own / "run") == whole
        failed += not same
        verdict = "bit-identical" if same else f"FAILED: {status} {line}"
        print(f"kill at {moment:5.1f} s ({where}): {verdict}", flush=True)
    return failed


def try_term(folder: Path, args: argparse.Namespace) -> int:
    """SIGTERM at random moments; the process must end within a chunk and 2 s, and the run be resumable."""
    whole, duration = reference(folder)
    failed = 0
    for i, moment in enumerate(moments(args.count, duration, args.seed)):
        own = folder / f"term{i}"
        own.mkdir()
        process = jaxstyle(*SWEEP, "--out", "run", folder=own)
        time.sleep(moment)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        status, line = finish(process)
        took = time.monotonic() - began
        where = phase(own / "run")
        late = status == 0 and where == "finished"
        again, said = (0, "") if late else go_on(own)
        good = (late or status in (143, -signal.SIGTERM)) and took < 3.5 and again == 0
        good = good and results(own / "run") == whole
        failed += not good
        verdict = "resumed to the same bits" if good else f"FAILED: {again} {said}"
        print(f"SIGTERM at {moment:5.1f} s ({where}): {status} after {took:.1f} s, {line!r}; {verdict}", flush=True)
    return failed


def try_full(folder: Path, args: argparse.Namespace) -> int:
    """A small file system that fills up at different moments; needs the right to mount one."""
    whole, _ = reference(folder)
    disk = folder / "disk"
    disk.mkdir()
    failed = 0
    for kilobytes in args.free:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "trial", str(disk)]).returncode:
            print("no right to mount a tmpfs here")
            return 1
        try:
            status, line = finish(jaxstyle(*SWEEP, "--out", "run", folder=disk))
            where = phase(disk / "run")
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            resumed, said = (0, "") if status == 0 else go_on(disk)
            good = (status == 0 or "the disk is full" in line) and resumed == 0 and results(disk / "run") == whole
            failed += not good
            verdict = "then bit-identical" if good else f"FAILED: {resumed} {said}"
            print(f"disk of {kilobytes} kB ({where}): {status} {line!r}; {verdict}", flush=True)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    return failed


def try_damage(folder: Path, args: argparse.Namespace) -> int:
    """A byte flipped in, or the end cut off, each file that resume reads."""
    sys.path.insert(0, str(ROOT))
    from jaxstyle.app.checkpoint import DamagedError, read_record, read_saved
    from jaxstyle.app.errors import StartError
    from jaxstyle.app.record import check_options

    process = jaxstyle(*SWEEP, "--out", "run", folder=folder)
    while len(list((folder / "run").glob("checkpoint/lanes*"))) != 2 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    rng = random.Random(args.seed)
    run = folder / "run"
    record = read_record(run)
    missed = tried = 0
    for file in (run / "run.json", *sorted((run / "checkpoint").glob("*.ckpt"))):
        data = file.read_bytes()
        for i in range(args.count):
            at = rng.randrange(len(data))
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(flipped) if i % 2 else data[:at])
            tried += 1
            try:
                if file.name == "run.json":
                    with contextlib.redirect_stderr(io.StringIO()):
                        check_options(run, record)
                    missed += file.read_bytes() != data  # damage that it says is written anew
                else:
                    read_saved(file)
                    missed += 1
            except (DamagedError, StartError):
                pass
            file.write_bytes(data)
    print(f"{tried} damaged files, {missed} not noticed")
    return missed


# Adam within bounds doesn't diverge at any rate: its steps have the rate's size, and pixels are clipped.
_DESCENT = """
from functools import partial
import optax
from jaxstyle.app import cli, job
job.OPTIMIZERS["adam"] = job.OptimizerChoice(optax.inject_hyperparams(optax.sgd), 0.03, 1)
job.make_transfer = partial(job.make_transfer, bounds=None)
cli.main()
"""


def try_lanes(folder: Path, _: argparse.Namespace) -> int:
    """A lane whose loss is not finite and one that diverges among 8, under plain gradient descent without bounds.

    The other 6 must be what they are without them, to the bit.
    """
    header = "beta,tv,learning_rate\n"
    well = [f"{1 + i},0,0.5" for i in range(8)]
    ill = list(well)
    ill[2], ill[5] = "3,3e38,0.5", "6,0,1e6"
    sweep = [
        "sweep",
        "sample:cat",
        "sample:swirls",
        "--size",
        "48",
        *FEW_LAYERS,
        "--optimizer",
        "adam",
        "--steps",
        "60",
        "--init",
        "noise",
    ]
    lanes = {}
    for name, rows in (("well", well), ("ill", ill)):
        (folder / f"{name}.csv").write_text(header + "\n".join(rows) + "\n")
        arguments = [*sweep, "--grid", f"{name}.csv", "--out", name]
        status, line = finish(jaxstyle(*arguments, folder=folder, code=_DESCENT))
        lanes[name] = list(csv.DictReader((folder / name / "lanes.csv").read_text().splitlines()))
        print(f"{name}: status {status}; {line}")
    found = {i: lanes["ill"][i]["status"] for i in range(8)}
    history = {
        name: [
            row for row in csv.reader((folder / name / "history.csv").read_text().splitlines()) if row[0] not in "25"
        ]
        for name in lanes
    }
    same = history["well"] == history["ill"]
    for i in set(range(8)) - {2, 5}:
        same = same and lanes["well"][i] == lanes["ill"][i]
        same = same and pixels(folder / "well", i) == pixels(folder / "ill", i)
    print(f"statuses {found}; the other six: {'bit-identical' if same else 'FAILED: they differ'}")
    return int(not same or [found[2], found[5]] != ["failed", "failed"])


def pixels(run: Path, lane: int) -> bytes:
    """Of a lane's picture."""
    from PIL import Image

    with Image.open(run / "images" / f"lane_{lane:04d}.png") as image:
        return image.tobytes()


def try_many(folder: Path, args: argparse.Namespace) -> int:
    """1,000 lanes of 64 pixels, 30 steps, within 4 GB of memory."""
    sweep = ["sweep", "sample:cat", "sample:swirls", "--size", "64", "--steps", "30"]
    layers = FEW_LAYERS if args.few_layers else []
    sweep += [*layers, "--beta", f"0.01:100:{args.lanes}", "--log-json", "log", "--out", "run"]
    began = time.monotonic()
    status, line = finish(jaxstyle(*sweep, folder=folder))
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    entries = [json.loads(text) for text in (folder / "log").read_text().splitlines()]
    paces = [entry["lane_steps_per_second"] for entry in entries if entry["lane_steps_per_second"]]
    print(f"status {status} {line}; {seconds:.0f} s, at most {peak:.2f} GB; lane-steps a second: {paces[::8]}")
    return int(status != 0 or peak > 4)


def try_overhead(folder: Path, args: argparse.Namespace) -> int:
    """Processor time of chunks and checkpoints against that of one bare scan, of 8 lanes of 128 pixels, in turns.

    Both run the same step: it is the loop around it that is measured, without compilation.
    """
    from functools import partial

    import jax
    import numpy as np

    sys.path.insert(0, str(ROOT))
    from jaxstyle.app.checkpoint import Checkpoints, Saved
    from jaxstyle.app.engine import _make_batch
    from jaxstyle.app.job import load_job
    from jaxstyle.app.lane_program import Lanes
    from jaxstyle.app.loop import take_steps
    from jaxstyle.app.settings import Settings
    from jaxstyle.lanes import make_lanes
    from jaxstyle.stopping import make_stopping
    from jaxstyle.transfer import run
    from jaxstyle.vgg import prepare

    layers = (("relu2_2",), ("relu1_1", "relu2_1")) if args.few_layers else (("relu4_2",), ("relu1_1", "relu2_1"))
    settings = Settings("sample:cat", "sample:swirls", size=128, weights="random:0", steps=args.steps)
    settings = replace(settings, content_layers=layers[0], style_layers=layers[1], beta=tuple(np.logspace(-2, 2, 8)))
    job = load_job(settings)
    params, group = prepare(job.params), job.settings.microbatch or 1
    batch = _make_batch(job, params, list(range(8)))
    lanes = Lanes(job, params, batch, group=group, mesh=None)
    program = lanes.compile(lanes.start(np.full(8, np.inf, np.float32)))
    bare = make_lanes(make_stopping(job.transfer), batch.weights, microbatch=group)
    scan = jax.jit(partial(run, bare, num_steps=args.steps), donate_argnums=0)
    scan = scan.lower(bare.init(batch.starts), params, batch.targets, batch.weights).compile()
    checkpoints = Checkpoints(folder, {}, minutes=0.1)
    checkpoints.start()

    def chunks() -> None:
        def save(_: int, state: Any) -> bool:
            leaves = {str(i): np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
            checkpoints.save("lanes", Saved({}, leaves))
            return False

        state = lanes.start(np.full(8, np.inf, np.float32))
        take_steps(
            program,
            state,
            start=0,
            steps=args.steps,
            strides=[],
            report=lambda *_: None,
            wanted=lambda _: checkpoints.due(),
            rest=save,
        )
        checkpoints.wait()

    def one_scan() -> None:
        jax.block_until_ready(scan(bare.init(batch.starts), params, batch.targets, batch.weights))

    times: dict[str, list[tuple[float, float]]] = {"chunks": [], "scan": []}
    for _ in range(args.count):
        for name, function in (("scan", one_scan), ("chunks", chunks)):
            began = time.process_time(), time.monotonic()
            function()
            times[name].append((time.process_time() - began[0], time.monotonic() - began[1]))
    (cpu, wall), (cpu_scan, wall_scan) = (np.min(times[name], axis=0) for name in ("chunks", "scan"))
    print(f"{args.steps} steps: scan {cpu_scan:.2f} s of processor time ({wall_scan:.2f} s of the clock), ", end="")
    print(f"chunks {cpu:.2f} ({wall:.2f}): {cpu / cpu_scan - 1:+.2%} ({wall / wall_scan - 1:+.2%})")
    return int(cpu > 1.02 * cpu_scan)


TRIALS: dict[str, Callable[[Path, argparse.Namespace], int]] = {
    "kill": try_kill,
    "term": try_term,
    "full": try_full,
    "damage": try_damage,
    "lanes": try_lanes,
    "many": try_many,
    "overhead": try_overhead,
}


def main() -> None:
    """Run one kind of trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=TRIALS)
    parser.add_argument("--count", type=int, default=20, help="moments, or damages of each file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--free", type=int, nargs="+", default=[64, 300, 600, 1000, 1300, 1600], help="kB of the disk")
    parser.add_argument("--lanes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--few-layers", action="store_true", help="of a small network, which takes less time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXSTYLE_CACHE"] = str(Path(folder) / "cache")
        work = Path(folder) / "trials"
        work.mkdir()
        failed = TRIALS[args.trial](work, args)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
