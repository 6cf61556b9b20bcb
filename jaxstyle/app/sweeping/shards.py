"""Runs a sweep in n independent processes that share a run folder: each computes a shard, and merge joins them.

A shard doesn't know how even the lanes of another are, so lanes with strengths keep the betas at which they were
placed. A sweep in one process may run one in five again with another beta.
"""

import re
import shlex
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxstyle.app.checkpoints.checkpoints import FOLDER, Checkpoints, read_record
from jaxstyle.app.checkpoints.saved_file import Saved
from jaxstyle.app.execution import run_job
from jaxstyle.app.execution.job import Job
from jaxstyle.app.execution.outcome import join_outcomes
from jaxstyle.app.run_folder.folder import own_run
from jaxstyle.app.run_folder.recorded_job import check_same_job, load_recorded_job
from jaxstyle.app.run_folder.stored_run import SHARDS
from jaxstyle.app.settings.run_options import RunOptions, with_fixed
from jaxstyle.app.sweeping import sweep_run
from jaxstyle.app.sweeping.placing import has_strengths, with_betas
from jaxstyle.app.system.errors import RunError, StartError, WriteError
from jaxstyle.app.system.screen import command_for, say_done

_DONE = "done"
_NAME = re.compile(r"(\d+)-of-(\d+)")
_SHARD_OPTIONS = ("--shard", "--coordinator", "--process")  # each takes a value
_SAME = ("options", "lanes_sha256", "weights")  # entries of run.json that all shards of a run share


def shard_folder(run: Path, shard: tuple[int, int]) -> Path:
    """Return the folder where a shard stays until it is merged."""
    return run / SHARDS / f"{shard[0]}-of-{shard[1]}"


def take_shard(job: Job, shard: tuple[int, int]) -> tuple[int, Job]:
    """Take shard (i, n) of a job, whose lanes are cut into n pieces of about equal length.

    Returns:
      The number of the shard's first lane, and a job of its lanes.

    Raises:
      StartError: if there are more shards than lanes.
    """
    number, count = shard
    first, end = (len(job.lanes) * i // count for i in (number, number + 1))
    if len(job.lanes) < count:
        raise StartError(f"shard {number} of {count}: there are only {len(job.lanes)} lanes; take fewer shards")
    return first, job._replace(lanes=job.lanes[first:end])


def run_shard(job: Job, folder: Path, record: Mapping[str, Any], options: RunOptions) -> None:
    """Run the lanes of a shard, from their newest checkpoints on if there are any, and keep the outcome in checkpoints.

    Raises:
      RunError: if lanes failed, which it names, or if memory or the disk ran out.
      StoppedError: after a signal.
    """
    assert options.shard is not None
    first, own = take_shard(job, options.shard)
    run = folder.parents[1]
    sweep_run.tell_start(own)
    with sweep_run.advising_resume(folder):
        numbers = range(first, first + len(own.lanes))
        own, record = sweep_run.place(job, folder, record, options, numbers)
        checkpoints = Checkpoints(folder, record, minutes=options.checkpoint_every)
        storage = run_job.RunStorage("lanes", checkpoints, sweep_run.make_snapshot_writer(run), numbers)
        outcome = run_job.run_job(own, options, storage)
        with sweep_run.rescuing_results(own, outcome, record, checkpoints):
            if not checkpoints.complete:
                raise WriteError(f"shard {folder.name} is done, but its checkpoint can't be written")
            checkpoints.insist(_DONE, Saved({}, {}))
    shard, count = options.shard
    say_done(f"shard {shard} of {count} is done; when all are, {command_for('merge', run)}")
    sweep_run.raise_for_failed_lanes(outcome, first)


def merge(run: Path, network: str | None = None) -> None:
    """Write the tables, pictures, sheet and report of a run whose shards are all done, as one process would have done.

    Only uneven lanes are not run again.

    Raises:
      StartError: if there are no shards, they belong to different runs, or one is missing.
      RunError: if a shard is not done, or if lanes failed, which it names.
    """
    folders = _find_shards(run)
    with ExitStack() as stack:
        for folder in (run, *folders):
            stack.enter_context(own_run(folder))
        records = [read_record(folder) for folder in folders]
        for folder, record in zip(folders, records, strict=True):
            if any(record[name] != records[0][name] for name in _SAME):
                raise StartError(f"{folder} and {folders[0]} are not of one run: they were started with other options")
            if not is_done(folder):
                raise RunError(f"shard {folder.name} is not done: {command_for('resume', folder)} goes on with it")
        job = load_recorded_job(run, records[0], "merge", network)
        check_same_job(run, records[0], job)
        outcomes = []
        for number, (folder, record) in enumerate(zip(folders, records, strict=True)):
            storage = run_job.RunStorage("lanes", Checkpoints(folder, record, minutes=0))
            own = take_shard(job, (number, len(folders)))[1]
            outcomes.append(run_job.run_job(own, with_fixed(RunOptions(quiet=True), record["run"]), storage))
        first = records[0]
        if has_strengths(job):
            betas = [beta for record in records for beta in record["betas"]]
            job, first = with_betas(job, betas), {**first, "betas": betas}
        record = {**first, "command": _without_shard(first["command"]), "run": {**first["run"], "shard": None}}
        outcome = join_outcomes(outcomes)
        sweep_run.write_results(job, outcome, run, record)
        shutil.rmtree(run / SHARDS, ignore_errors=True)
        sweep_run.tell_end(outcome, run)


def is_done(folder: Path) -> bool:
    """Return whether all lanes of a shard have come to their end."""
    return any(folder.glob(f"{FOLDER}/{_DONE}.*"))


def _find_shards(run: Path) -> list[Path]:
    """Find the folders of all shards, in their order."""
    found = {path: match for path in run.glob(f"{SHARDS}/*") if (match := _NAME.fullmatch(path.name))}
    counts = {int(match[2]) for match in found.values()}
    if not found:
        raise StartError(f"{run} holds no shards of a run")
    if len(counts) > 1:
        raise StartError(f"{run} holds shards of {' and of '.join(map(str, sorted(counts)))}; remove those of one kind")
    (count,) = counts
    folders = [shard_folder(run, (i, count)) for i in range(count)]
    missing = [folder.name for folder in folders if folder not in found]
    if missing:
        raise StartError(f"{run} lacks shard {', '.join(missing)}: start it with --shard")
    return folders


def _without_shard(command: str) -> str:
    """Drop the options of shards, so that the command is that of one process."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        name, _, value = word.partition("=")
        if name in _SHARD_OPTIONS and not value:
            next(words, None)
        elif name not in (*_SHARD_OPTIONS, "--distributed"):
            kept.append(word)
    return shlex.join(kept)
