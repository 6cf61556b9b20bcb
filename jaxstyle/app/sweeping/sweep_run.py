"""Runs a sweep in its run folder, from run.json to the report; a new sweep and a resumed one go the same way."""

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstyle.app.checkpoints.checkpoints import Checkpoints, has_checkpoints
from jaxstyle.app.execution import run_job
from jaxstyle.app.execution.job import Job, with_smaller_rate
from jaxstyle.app.execution.lanes_of_shape import SnapshotWriter
from jaxstyle.app.execution.outcome import Outcome, join_outcomes, replace_lanes, take_lanes
from jaxstyle.app.run_folder.folder import check_places
from jaxstyle.app.run_folder.run_json import write_record
from jaxstyle.app.settings.grids import refine
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.settings.stages import plan_stages
from jaxstyle.app.sweeping import placing, results
from jaxstyle.app.sweeping.lane_metrics import measure_lanes
from jaxstyle.app.sweeping.live_report import LiveReport, live_report
from jaxstyle.app.sweeping.snapshots import write_snapshots
from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import AppError, RunError, WriteError
from jaxstyle.app.system.files import places
from jaxstyle.app.system.screen import command_for, say_done, tell
from jaxstyle.evaluate.select import knee, pareto_front


def record_start(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the first checkpoint and run.json; from now on, the run can be resumed."""
    Checkpoints(folder, record, minutes=0).start()
    write_record(folder, record)


def run_sweep(job: Job, folder: Path, record: Mapping[str, Any], options: RunOptions) -> None:
    """Run all lanes, from their newest checkpoints on if there are any, and write the results.

    Raises:
      RunError: if lanes failed, which it names, or if memory or the disk ran out.
      StoppedError: after a signal.
    """
    check_places(folder)
    tell_start(job)
    with advising_resume(folder):
        with live_report(folder, record, opened=options.open) as report:
            report.begin(job)
            started = time.monotonic()
            job, record = place(job, folder, record, options, range(len(job.lanes)))
            before = time.monotonic() - started
            if placing.has_strengths(job):
                report.begin(job)
            checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
            writer = make_snapshot_writer(folder)
            outcome = run_job.run_job(
                job, options, run_job.RunStorage("lanes", checkpoints, writer, viewer=report.viewer)
            )
            if placing.has_strengths(job):
                outcome = outcome._replace(seconds=outcome.seconds + before)
                job, outcome, record = _correct(job, outcome, folder, record, options, report)
                checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
            if options.refine:
                job, outcome = _add_refined(job, outcome, folder, options, checkpoints, report)
            report.rest()
            with rescuing_results(job, outcome, record, checkpoints):
                write_results(job, outcome, folder, record)
        _remove_checkpoints(checkpoints, folder)
    tell_end(outcome, folder)


def place(
    job: Job, folder: Path, record: Mapping[str, Any], options: RunOptions, numbers: range
) -> tuple[Job, Mapping[str, Any]]:
    """Place the betas of lanes that have strengths, if the record doesn't hold them yet, and record them.

    Args:
      job: the whole job.
      folder: the run folder, or that of a shard.
      record: contents of run.json.
      options: options of the run.
      numbers: numbers of the lanes that are wanted.

    Returns:
      A job of these lanes, and the record with their betas.
    """
    own = job._replace(lanes=[job.lanes[number] for number in numbers])
    if not placing.has_strengths(job):
        return own, record
    if "betas" not in record:
        checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
        record = {**record, "betas": placing.place_betas(job, checkpoints, numbers)}
        record_start(folder, record)
    return placing.with_betas(own, record["betas"]), record


def _correct(
    job: Job, outcome: Outcome, folder: Path, record: Mapping[str, Any], options: RunOptions, report: LiveReport
) -> tuple[Job, Outcome, Mapping[str, Any]]:
    """Run lanes with strengths again, with other betas, where the result is uneven; record these betas first."""
    if "corrected" not in record:
        lpips = measure_lanes(job, outcome.images).get("lpips")
        moved = {} if lpips is None else placing.correct_betas(job, lpips, outcome.ok)
        record = {**record, "corrected": {str(number): beta for number, beta in moved.items()}}
        record_start(folder, record)
    moved = {int(number): beta for number, beta in record["corrected"].items()}
    if not moved:
        return job, outcome, record
    tell(f"{len(moved)} of {len(job.lanes)} lanes again, with another beta: their steps were uneven")
    corrected = _with_moved(job, moved)
    again = job._replace(lanes=[corrected.lanes[number] for number in moved])
    checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
    report.begin(corrected)
    storage = run_job.RunStorage("corrected", checkpoints, make_snapshot_writer(folder), list(moved), report.viewer)
    result = run_job.run_job(again, options, storage)
    # A lane that fails now keeps its first picture and beta.
    moved = {number: beta for (number, beta), ok in zip(moved.items(), result.ok, strict=True) if ok}
    good = take_lanes(result, result.ok.nonzero()[0])
    return _with_moved(job, moved), replace_lanes(outcome, list(moved), good), record


def _with_moved(job: Job, moved: Mapping[int, float]) -> Job:
    """Return the job with other betas for the lanes with these numbers."""
    return placing.with_betas(job, [moved.get(number, lane["beta"]) for number, lane in enumerate(job.lanes)])


def _remove_checkpoints(checkpoints: Checkpoints, folder: Path) -> None:
    try:
        checkpoints.remove()
    except AppError as error:
        raise RunError(f"all is in {folder / 'report.html'}, but {error}; remove it by hand") from error


def _add_refined(
    job: Job, outcome: Outcome, folder: Path, options: RunOptions, checkpoints: Checkpoints, report: LiveReport
) -> tuple[Job, Outcome]:
    """Run the lanes that --refine adds; returns the job with all lanes, and its outcome."""
    more = _refine(job, outcome, options.refine or 0)
    if not more.lanes:
        return job, outcome
    tell(f"{len(more.lanes)} lanes more around the knee")
    numbers = range(len(job.lanes), len(job.lanes) + len(more.lanes))
    storage = run_job.RunStorage("refined", checkpoints, make_snapshot_writer(folder), numbers, report.viewer)
    job = job._replace(lanes=job.lanes + more.lanes)
    report.begin(job)
    return job, join_outcomes([outcome, run_job.run_job(more, options, storage)])


@contextlib.contextmanager
def advising_resume(folder: Path) -> Iterator[None]:
    """Let messages of signals and of failed writing name the command that resumes the run."""
    advice = f"; {command_for('resume', folder)} goes on"
    signals.advise(advice)
    try:
        yield
    except WriteError as error:
        if not has_checkpoints(folder):
            raise
        raise WriteError(f"{error}{advice}") from error


@contextlib.contextmanager
def rescuing_results(job: Job, outcome: Outcome, record: Mapping[str, Any], checkpoints: Checkpoints) -> Iterator[None]:
    """If the results can't be written and no checkpoint holds them, write them into another folder.

    Raises:
      WriteError: if the results can't be written; it says where they are instead.
    """
    try:
        yield
    except AppError as error:
        if checkpoints.whole():
            raise WriteError(str(error)) from error
        kept = _write_elsewhere(job, outcome, record)
        where = f"the results are in {kept} instead" if kept else "nor can they be kept anywhere else"
        raise WriteError(f"{error}; {where}") from error


def _write_elsewhere(job: Job, outcome: Outcome, record: Mapping[str, Any]) -> Path | None:
    """Write the results into a new folder where one can be made; returns None if none can be."""
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
    """Measure the pictures, and write all files of a run; retried lanes are written with their last learning rates."""
    write_record(folder, {**record, "lanes": len(job.lanes)})
    job = job._replace(lanes=[with_smaller_rate(*lane) for lane in zip(job.lanes, outcome.retries, strict=True)])
    results.write_run(folder, job, outcome, measure_lanes(job, outcome.images))


def make_snapshot_writer(folder: Path) -> SnapshotWriter:
    """Make a writer of snapshots into a run folder; if one can't be written, a line says so, and the run goes on."""
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
    """Make a job of `count` more lanes for each pair of images, around the knee of its content and style losses."""
    more = []
    for pair in dict.fromkeys((lane["content"], lane["style"]) for lane in job.lanes):
        numbers = [i for i, lane in enumerate(job.lanes) if (lane["content"], lane["style"]) == pair]
        losses = (outcome.final.content[numbers], outcome.final.style[numbers], outcome.ok[numbers])
        index = knee(*losses)
        if index is not None:
            more += refine([job.lanes[i] for i in numbers], index, pareto_front(*losses), count)
    return job._replace(lanes=more)


def tell_start(job: Job) -> None:
    """Tell what is about to be computed."""
    lanes, settings = len(job.lanes), job.settings
    shapes = sorted({(picture.image.shape[0], picture.image.shape[1]) for picture in job.contents}, key=math.prod)
    h, w = shapes[-1]
    size = f"{w}x{h}" if len(shapes) == 1 else f"{len(shapes)} sizes up to {settings.size}"
    *coarse, last = plan_stages(settings, shapes[-1], job.network.smallest_side)
    steps = f"{last.steps} steps"
    if coarse:
        sides = [str(max(stage.shape)) for stage in coarse]
        steps = f"{coarse[0].steps} steps at {' and '.join(sides)} pixels and {last.steps} at {max(last.shape)}"
    style = f"styles are compared by {settings.style_loss}"
    if settings.preset is None and settings.style_loss != "gram":
        style += " (--preset gram-mean compares Gram matrices, at one size)"
    whole = f"{lanes} lanes of {size} pixels take" if lanes != 1 else f"1 lane of {size} pixels takes"
    tell(f"{whole} {steps}; {style}; compiling")


def tell_end(outcome: Outcome, folder: Path) -> None:
    """Say on stdout where the report is.

    Raises:
      RunError: if lanes failed, which it names.
    """
    count = len(outcome.ok)
    what = f"{count} lane{'s' * (count != 1)}, {max(outcome.steps)} steps in {outcome.seconds:.0f} s"
    say_done(f"{what}: {folder / 'report.html'}")
    raise_for_failed_lanes(outcome)


def raise_for_failed_lanes(outcome: Outcome, first_lane: int = 0) -> None:
    """Name the lanes that failed in an error; `first_lane` is the number of the outcome's first lane.

    Raises:
      RunError: if any lane failed.
    """
    failed = [f"{first_lane + i} ({outcome.reason(i)})" for i, ok in enumerate(outcome.ok) if not ok]
    if failed:
        shown = ", ".join(failed[:10]) + (f" and {len(failed) - 10} more" if len(failed) > 10 else "")
        raise RunError(f"lane{'s' * (len(failed) != 1)} {shown} failed and kept the last good image")
