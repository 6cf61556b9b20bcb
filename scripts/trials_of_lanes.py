"""Trials of lanes: some fail among others; what chunks, checkpoints and the live report cost; a thousand of them."""

import argparse
import csv
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from trial_runs import FEW_LAYERS, Verdict, finish, start

# Adam within bounds doesn't diverge at any rate: its steps have the rate's size, and pixels are clipped.
_DESCENT = """
from functools import partial
import optax
from jaxstyle.app import cli
from jaxstyle.app.execution import job, optimizer_choice
job.OPTIMIZERS["adam"] = optimizer_choice.OptimizerChoice(optax.inject_hyperparams(optax.sgd), 0.03, 1)
job.make_transfer = partial(job.make_transfer, bounds=None)
cli.main()
"""
_ILL = {2: "3,0,1e37", 5: "6,0,1e6"}  # a loss that is not finite; one that diverges
_HEALTHY = sorted(set(range(8)) - set(_ILL))


def try_lanes(folder: Path, _: argparse.Namespace) -> Verdict:
    """A lane whose loss is not finite and one that diverges among 8, under plain gradient descent without bounds.

    The other 6 must be what they are without them: to the bit; to rounding where lanes that have stopped are left out,
    once that makes a smaller power of two of them.
    """
    rows = {lane: f"{1 + lane},0,0.5" for lane in range(8)}
    for name, lanes in (("well", rows), ("ill", rows | _ILL)):
        (folder / f"{name}.csv").write_text("\n".join(["beta,tv,learning_rate", *lanes.values(), ""]))
    sweep = ["sweep", "sample:cat", "sample:swirls", "--size", "48", *FEW_LAYERS, "--optimizer", "adam"]
    sweep += ["--steps", "60", "--init", "noise"]
    # No lane converges so exactly, but those that have failed may be left out.
    for out, grid, options in (
        ("well", "well.csv", []),
        ("ill", "ill.csv", []),
        ("compacted", "ill.csv", ["--tolerance", "1e-12"]),
    ):
        command = [*sweep, "--grid", grid, *options, "--out", out]
        status, line = finish(start(*command, folder=folder, code=_DESCENT))
        print(f"{out}: {status} {line!r}", flush=True)
    same = all(_lane(folder / "well", lane) == _lane(folder / "ill", lane) for lane in _HEALTHY)
    statuses = [[row["status"] for row in _table(folder / out / "lanes.csv")] for out in ("ill", "compacted")]
    named = all([i for i, status in enumerate(found) if status == "failed"] == list(_ILL) for found in statuses)
    losses, pixels = _distance(folder / "well", folder / "compacted")
    found = f"both named, other 6 {'bit-identical' if same else 'DIFFERENT'}; compaction on: "
    found += f"losses within {losses:.1g}, pictures within {pixels:.2g} of 255 on average"
    return Verdict(same and named and losses < 0.02 and pixels < 1, "a NaN lane and a diverging lane among 8", found)


def _table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def _lane(run: Path, lane: int) -> Any:
    """All that a run says of a lane."""
    history = [row for row in _table(run / "history.csv") if row["lane"] == str(lane)]
    return _table(run / "lanes.csv")[lane], history, _picture(run, lane).tobytes()


def _picture(run: Path, lane: int) -> Any:
    import numpy as np
    from PIL import Image

    with Image.open(run / "images" / f"lane_{lane:04d}.png") as image:
        return np.asarray(image, float)


def _distance(one: Path, other: Path) -> tuple[float, float]:
    """Largest relative difference of a healthy lane's total, and largest mean difference of a picture's values."""
    totals = [[float(row["total"]) for row in _table(run / "lanes.csv")] for run in (one, other)]
    losses = max(abs(totals[1][i] / totals[0][i] - 1) for i in _HEALTHY)
    return losses, max(abs(_picture(one, i) - _picture(other, i)).mean() for i in _HEALTHY)


def try_thousand(folder: Path, args: argparse.Namespace) -> Verdict:
    """1,000 lanes of 64 pixels, 30 steps, within 4 GB of memory."""
    sweep = ["sweep", "sample:cat", "sample:swirls", "--size", "64", "--steps", "30"]
    sweep += [*(FEW_LAYERS if args.few_layers else []), "--beta", f"0.01:100:{args.lanes}"]
    began = time.monotonic()
    status, line = finish(start(*sweep, "--log-json", "log", "--out", "run", folder=folder))
    minutes = (time.monotonic() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    entries = [json.loads(text) for text in (folder / "log").read_text().splitlines()]
    points = [(entry["seconds"], entry["steps_done"] * args.lanes) for entry in entries]
    middle = points[len(points) // 2]  # the first chunk brings the compilation with it
    halves = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in ((points[0], middle), (middle, points[-1]))]
    print(f"{status} {line!r}")
    found = f"{peak:.2f} GB, {minutes:.0f} min, {halves[0]:.1f} lane-steps/s in its first half, {halves[1]:.1f} after"
    return Verdict(status == 0 and peak <= 4, f"{args.lanes} lanes of 64 px, 30 steps", found)


def try_overhead(folder: Path, args: argparse.Namespace) -> Verdict:
    """Processor time of chunks and checkpoints against that of one bare scan, of 8 lanes of 128 pixels, in turns.

    Both run the same step: it is the loop around it that is measured, without compilation.
    """
    import numpy as np

    chunks, scan = _chunks_and_scan(folder, args)
    times: dict[Callable[[], None], list[tuple[float, float]]] = {scan: [], chunks: []}
    for _ in range(args.count):
        for function, taken in times.items():
            began = time.process_time(), time.monotonic()
            function()
            taken.append((time.process_time() - began[0], time.monotonic() - began[1]))
    (cpu, wall), (cpu_scan, wall_scan) = (np.min(times[function], axis=0) for function in (chunks, scan))
    found = f"{cpu / cpu_scan - 1:+.1%} of processor time ({cpu_scan:.1f} s), {wall / wall_scan - 1:+.1%} of the clock"
    trial = f"chunks and checkpoints against one bare scan, 8 lanes 128 px {args.steps} steps, least of {args.count}"
    return Verdict(bool(cpu <= 1.02 * cpu_scan), trial, found)


def _eight_lanes(args: argparse.Namespace) -> Any:
    """The job of 8 lanes of 128 pixels."""
    import numpy as np

    from jaxstyle.app.execution.job import load_job
    from jaxstyle.app.settings.settings import Settings, from_options

    layers = (("relu2_2",), ("relu1_1", "relu2_1")) if args.few_layers else (("relu4_2",), ("relu1_1", "relu2_1"))
    options = {"content": "sample:cat", "style": "sample:swirls", "size": 128, "min_size": None}
    options |= {"content_layers": layers[0], "style_layers": layers[1], "style_loss": "wasserstein"}
    options |= {"weights": "random:0", "steps": args.steps, "beta": tuple(np.logspace(-2, 2, 8).tolist())}
    return load_job(Settings(**from_options(options)))


def try_live(folder: Path, args: argparse.Namespace) -> Verdict:
    """Time that the report takes from the steps that it shows, of 8 lanes of 128 pixels: with and without it, in turns.

    Taken is the time between the first chunk and the last one, which is without compilation.
    """
    import numpy as np

    from jaxstyle.app.checkpoints.checkpoints import Checkpoints
    from jaxstyle.app.execution.run_job import RunStorage, run_job
    from jaxstyle.app.run_folder.run_json import make_record
    from jaxstyle.app.settings.run_options import RunOptions
    from jaxstyle.app.sweeping.live_report import live_report

    job = _eight_lanes(args)
    record = make_record(job, "", {})
    times: dict[bool, list[list[float]]] = {True: [], False: []}
    for turn in range(args.count):
        for live in sorted(times, reverse=turn % 2 == 0):
            place, stamps = folder / f"{turn}-{live}", []
            place.mkdir()
            options = RunOptions(
                quiet=True, on_chunk=lambda _, s=stamps: s.append((time.process_time(), time.monotonic()))
            )
            checkpoints = Checkpoints(place, record, minutes=60)
            checkpoints.start()
            with live_report(place, record, opened=False) as report:
                report.begin(job)
                report.rest()
                run_job(job, options, RunStorage("lanes", checkpoints, viewer=report.viewer if live else None))
                report.rest()
            times[live].append(np.subtract(stamps[-1], stamps[0]).tolist())
            print(f"{'with' if live else 'without'}: {times[live][-1]}", flush=True)
    medians = {live: np.median(found, axis=0) for live, found in times.items()}
    cpu, wall = medians[True] / medians[False] - 1
    found = f"{cpu:+.2%} of processor time, {wall:+.2%} of the clock ({medians[False][1]:.0f} s)"
    trial = f"a live report, 8 lanes 128 px {args.steps} steps, {args.count} turns, ratios of medians"
    return Verdict(bool(cpu <= 0.01 and wall <= 0.01), trial, found)


def _chunks_and_scan(folder: Path, args: argparse.Namespace) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same steps, in chunks with checkpoints every 6 seconds, and in one scan; both compiled."""
    import jax
    import numpy as np

    from jaxstyle.app.checkpoints.checkpoints import Checkpoints
    from jaxstyle.app.checkpoints.saved_file import Saved
    from jaxstyle.app.execution.batches import make_batch
    from jaxstyle.app.execution.chunk_loop import take_steps
    from jaxstyle.app.execution.compiled_lanes import CompiledLanes
    from jaxstyle.network.vgg import prepare
    from jaxstyle.optimise.stopping import make_stopping
    from jaxstyle.optimise.transfer import run
    from jaxstyle.parallel.lanes import make_lanes

    job = _eight_lanes(args)
    params, group = prepare(job.network.params), job.settings.microbatch or 1
    batch = make_batch(job, params, list(range(8)))
    lanes = CompiledLanes(job, params, batch, group=group, mesh=None)
    limits = np.full(8, np.inf, np.float32)
    program = lanes.compile(lanes.start(limits))
    bare = make_lanes(make_stopping(job.transfer), batch.weights, microbatch=group)
    whole = jax.jit(partial(run, bare, num_steps=args.steps), donate_argnums=0)
    whole = whole.lower(bare.init(batch.starts), params, batch.targets, batch.weights).compile()
    checkpoints = Checkpoints(folder, {}, minutes=0.1)
    checkpoints.start()

    def save(_: int, state: Any) -> bool:
        leaves = {str(i): np.array(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        checkpoints.save("lanes", Saved({}, leaves))
        return False

    def chunks() -> None:
        take_steps(
            program,
            lanes.start(limits),
            start=0,
            steps=args.steps,
            strides=[],
            report=lambda *_: None,
            wants_state=lambda _: checkpoints.due(),
            show_state=save,
        )
        checkpoints.wait()

    def scan() -> None:
        state = bare.init(jax.numpy.copy(batch.starts))  # whose memory is used up
        jax.block_until_ready(whole(state, params, batch.targets, batch.weights))

    return chunks, scan
