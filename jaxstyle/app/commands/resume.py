"""The commands `jaxstyle resume` and `jaxstyle merge`. They import jax only once the arguments are read."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_network_again, add_run
from jaxstyle.app.commands.run_arguments import (
    add_distributed,
    add_watching,
    check_distributed,
    check_run_options,
    read_run_options,
)
from jaxstyle.app.settings.run_options import with_fixed
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import command_for, tell


def add_resume(commands: Any) -> None:
    """Add the parser of `jaxstyle resume`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "resume",
        help="go on with a sweep that was stopped",
        description="Go on with a sweep that was stopped or killed, from its newest checkpoint. The images, weights "
        "and options must be what they were.",
    )
    add_run(parser)
    add_network_again(parser)
    add_distributed(parser)
    add_watching(parser)
    parser.set_defaults(command=_resume)


def add_merge(commands: Any) -> None:
    """Add the parser of `jaxstyle merge`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "merge",
        help="join the shards of a sweep",
        description="Join the shards of a sweep that was run with --shard, when all of them are done: write the "
        "pictures, tables, sheet and report.",
    )
    add_run(parser)
    add_network_again(parser)
    parser.set_defaults(command=_merge)


def _resume(args: argparse.Namespace) -> Path:
    check_distributed(args)
    folder = Path(args.run)
    if not args.distributed:
        return _go_on(folder, args)
    from jaxstyle.app.run_folder.stored_run import SHARDS
    from jaxstyle.app.sweeping.hosts import computing_shard, join_processes
    from jaxstyle.app.sweeping.shards import shard_folder

    if not (folder / SHARDS).is_dir():
        raise StartError(f"{folder} holds no shards of a run: there is nothing to resume in several processes")
    shard = join_processes(args.coordinator, args.process)
    with computing_shard(folder, shard, args.network):
        return _go_on(shard_folder(folder, shard), args)


def _go_on(folder: Path, args: argparse.Namespace) -> Path:
    """Resume the run in a folder."""
    from jaxstyle.app.checkpoints.checkpoints import has_checkpoints, read_record
    from jaxstyle.app.exporting.chunk_log import logging_chunks
    from jaxstyle.app.run_folder.folder import holds_run, own_run
    from jaxstyle.app.run_folder.recorded_job import check_same_job, load_recorded_job, restore_run_json
    from jaxstyle.app.sweeping.shards import run_shard
    from jaxstyle.app.sweeping.sweep_run import run_sweep

    if not holds_run(folder):
        raise _explain_no_run(folder)
    with own_run(folder):
        if not has_checkpoints(folder) and (folder / "lanes.csv").is_file():
            tell(f"the run in {folder} has finished: nothing to resume")
            return folder
        record = read_record(folder)
        restore_run_json(folder, record)
        job = load_recorded_job(folder, record, "resume", args.network)
        check_same_job(folder, record, job)
        options = with_fixed(read_run_options(args), record["run"])
        check_run_options(options, args.run, distributed=False)
        with logging_chunks(options.log, folder, record["options"], options.on_chunk) as on_chunk:
            options = replace(options, on_chunk=on_chunk)
            (run_shard if options.shard else run_sweep)(job, folder, record, options)
    return folder


def _explain_no_run(folder: Path) -> StartError:
    from jaxstyle.app.run_folder.folder import holds_run
    from jaxstyle.app.run_folder.stored_run import SHARDS, no_run
    from jaxstyle.app.sweeping.shards import is_done

    error = no_run(folder)
    left = (shard for shard in sorted(folder.glob(f"{SHARDS}/*")) if holds_run(shard) and not is_done(shard))
    first = next(left, None)
    return error if first is None else StartError(f"{error}; {command_for('resume', first)} goes on with one")


def _merge(args: argparse.Namespace) -> Path:
    from jaxstyle.app.sweeping.shards import merge

    folder = Path(args.run)
    merge(folder, args.network)
    return folder
