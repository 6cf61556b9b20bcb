"""Carries a sweep out in its run folder, from its record to its report; the same whether it is new or resumed."""

import contextlib
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstyle.app.execution import run_job
from jaxstyle.app.execution.checkpoint import Checkpoints, has_checkpoints
from jaxstyle.app.execution.job import Job, with_smaller_rate
from jaxstyle.app.execution.lane_metrics import judge
from jaxstyle.app.execution.outcome import Outcome, join_outcomes
from jaxstyle.app.run_folder.folder import check_places
from jaxstyle.app.run_folder.run_json import write_record
from jaxstyle.app.settings.grids import refine
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.settings.stages import plan_stages
from jaxstyle.app.sweeping import results
from jaxstyle.app.sweeping.snapshots import write_snapshots
from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import AppError, RunError, WriteError
from jaxstyle.app.system.files import places
from jaxstyle.app.system.screen import say_done, tell
from jaxstyle.evaluate.select import knee, pareto_front


def begin(folder: Path, record: Mapping[str, Any]) -> None:
    """Write down what the run is, so that it can be resumed from now on."""
    Checkpoints(folder, record, minutes=0).start()
    write_record(folder, record)


def carry_out(job: Job, folder: Path, record: Mapping[str, Any], options: RunOptions) -> None:
    """Take all lanes to their end, from their checkpoints on if there are any, and write what came out.

    Raises:
      RunError: naming the lanes that failed, or if memory or the disk run out.
      StoppedError: after a signal.
    """
    checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
    check_places(folder)
    with advising(folder):
        job, outcome = _run_all(job, folder, options, checkpoints)
        with keeping(job, outcome, record, checkpoints):
            write_results(job, outcome, folder, record)
        _remove(checkpoints, folder)
    conclude(job, outcome, folder)


def _remove(checkpoints: Checkpoints, folder: Path) -> None:
    try:
        checkpoints.remove()
    except AppError as error:
        raise RunError(f"all is in {folder / 'report.html'}, but {error}; remove it by hand") from error


def _run_all(job: Job, folder: Path, options: RunOptions, checkpoints: Checkpoints) -> tuple[Job, Outcome]:
    """The job with the lanes that refining adds, and its outcome."""
    announce(job)
    outcome = run_job.run_job(job, options, run_job.Keeping("lanes", checkpoints, snapshots_into(folder)))
    if options.refine:
        more = _refine(job, outcome, options.refine)
        if more.lanes:
            tell(f"{len(more.lanes)} lanes more around the knee")
            keeping = run_job.Keeping("refined", checkpoints, snapshots_into(folder), len(job.lanes))
            outcome = join_outcomes([outcome, run_job.run_job(more, options, keeping)])
            job = job._replace(lanes=job.lanes + more.lanes)
    return job, outcome


@contextlib.contextmanager
def advising(folder: Path) -> Iterator[None]:
    """Have signals, and errors in writing, say how to go on."""
    advice = f"; jaxstyle resume {folder} goes on"
    signals.advise(advice)
    try:
        yield
    except WriteError as error:
        if not has_checkpoints(folder):
            raise
        raise WriteError(f"{error}{advice}") from error


@contextlib.contextmanager
def keeping(job: Job, outcome: Outcome, record: Mapping[str, Any], checkpoints: Checkpoints) -> Iterator[None]:
    """Lose nothing to an error in writing: what no checkpoint holds is written elsewhere.

    Raises:
      WriteError: for the error, which says where.
    """
    try:
        yield
    except AppError as error:
        if checkpoints.whole():
            raise WriteError(str(error)) from error
        kept = _keep(job, outcome, record)
        where = f"the results are in {kept} instead" if kept else "nor can they be kept anywhere else"
        raise WriteError(f"{error}; {where}") from error


def _keep(job: Job, outcome: Outcome, record: Mapping[str, Any]) -> Path | None:
    """Write the results into a new folder where one can be made; None if none can."""
    for place in places():
        folder = None
        try:
            folder = Path(tempfile.mkdtemp(prefix="jaxstyle-run-", dir=place))
            write_results(job, outcome, folder, record)
            return folder
        except (OSError, AppError):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
    return None


def write_results(job: Job, outcome: Outcome, folder: Path, record: Mapping[str, Any]) -> None:
    """Judge the pictures, and write all files of a run; of a lane that was retried, with its last learning rate."""
    write_record(folder, {**record, "lanes": len(job.lanes)})
    job = job._replace(lanes=[with_smaller_rate(*lane) for lane in zip(job.lanes, outcome.retries, strict=True)])
    results.write_run(folder, job, outcome, judge(job, outcome.images))


def snapshots_into(folder: Path) -> run_job.Snapshot:
    """Writes snapshots of lanes into a run folder; if they can't be written, a line says so, and the run goes on."""
    failed: list[AppError] = []

    def write(step: int, lanes: Sequence[int], images: Any) -> None:
        try:
            write_snapshots(folder, step, lanes, images)
        except AppError as error:
            if not failed:
                tell(f"{error}; going on without it")
            failed.append(error)

    return write


def _refine(job: Job, outcome: Outcome, count: int) -> Job:
    """The job of `count` more lanes for each pair of images, around the knee of its content and style losses."""
    rows = []
    for pair in dict.fromkeys((row["content"], row["style"]) for row in job.lanes):
        lanes = [i for i, row in enumerate(job.lanes) if (row["content"], row["style"]) == pair]
        losses = (outcome.final.content[lanes], outcome.final.style[lanes], outcome.ok[lanes])
        index = knee(*losses)
        if index is not None:
            rows += refine([job.lanes[i] for i in lanes], index, pareto_front(*losses), count)
    return job._replace(lanes=rows)


def announce(job: Job) -> None:
    """Say what is about to be computed."""
    lanes, settings = len(job.lanes), job.settings
    shapes = sorted({(picture.image.shape[0], picture.image.shape[1]) for picture in job.contents}, key=math.prod)
    h, w = shapes[-1]
    size = f"{w}x{h}" if len(shapes) == 1 else f"{len(shapes)} sizes up to {settings.size}"
    *coarse, last = plan_stages(settings, shapes[-1])
    steps = f"{last.steps} steps"
    if coarse:
        sides = [str(max(stage.shape)) for stage in coarse]
        steps = f"{coarse[0].steps} steps at {' and '.join(sides)} pixels, {last.steps} at {max(last.shape)}"
    style = f"{settings.style_loss} distance of styles"
    if settings.preset is None and settings.style_loss != "gram":
        style += " (--preset gram-mean compares Gram matrices, at one size)"
    tell(f"{lanes} lane{'s' * (lanes != 1)} of {size} pixels, {style}, {steps}; compiling")


def conclude(job: Job, outcome: Outcome, folder: Path) -> None:
    """Say where the report is; raises RunError naming the lanes that failed."""
    count = len(outcome.ok)
    what = f"{count} lane{'s' * (count != 1)}, {max(outcome.steps)} steps in {outcome.seconds:.0f} s"
    say_done(f"{what}: {folder / 'report.html'}")
    report_failures(outcome, 0)


def report_failures(outcome: Outcome, first: int) -> None:
    """Raise RunError if lanes failed, naming them; the first lane is number `first`."""
    failed = [f"{first + i} ({outcome.reason(i)})" for i, ok in enumerate(outcome.ok) if not ok]
    if failed:
        shown = ", ".join(failed[:10]) + (f" and {len(failed) - 10} more" if len(failed) > 10 else "")
        raise RunError(f"lane{'s' * (len(failed) != 1)} {shown} failed and kept the last good image")
