"""The command `jaxstyle sweep`. It imports jax only once the arguments are read."""

import argparse
import contextlib
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_inputs, add_lane_options, add_shared_options, read_settings
from jaxstyle.app.commands.run_arguments import (
    add_run_options,
    check_distributed,
    check_run_options,
    read_run_options,
)
from jaxstyle.app.settings.grids import repeated_ratios
from jaxstyle.app.settings.lane_settings import AUTO
from jaxstyle.app.settings.run_options import RunOptions, fixed_options
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import tell
from jaxstyle.optimise.presets import PRESETS

_MANY_LANES = 2000  # A grid of more may be larger than its author thinks.


def add_sweep(commands: Any) -> None:
    """Add the parser of `jaxstyle sweep`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sweep",
        grouped=True,
        usage="%(prog)s [OPTION ...] CONTENT STYLE",
        help="one picture for each combination of alpha, beta and more, into a run folder",
        description="Make one picture for each combination of the values given, for each pair of images, all in one "
        "vmapped loop, and write them with their losses and metrics, a labelled sheet and a report into a run folder. "
        "A list is values (0.1 1 10) or a logarithmic range (0.1:100:4: four values from 0.1 to 100).",
    )
    add_inputs(parser, many=True)
    parser.add_argument(
        "--pair", choices=("all", "zip"), default="all", help="each content with all styles, or one by one (all)"
    )
    add_lane_options(parser, many=True)
    parser.add_argument("--grid", metavar="FILE", help="lanes from a TOML or CSV file, times the lists given beside it")
    add_shared_options(parser)
    add_run_options(parser)
    parser.add_argument("--out", metavar="RUN", help="run folder (default: a new numbered one under runs/)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that --out holds")
    parser.set_defaults(command=_sweep)


def _sweep(args: argparse.Namespace) -> Path:
    options = read_run_options(args)
    check_distributed(args)
    check_run_options(options, args.out, distributed=args.distributed)
    processes: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if args.distributed:
        from jaxstyle.app.sweeping.hosts import computing_shard, join_processes

        shard = join_processes(args.coordinator, args.process)
        options = replace(options, shard=shard)
        processes = computing_shard(Path(args.out), shard, getattr(args, "network", None))
    with processes:
        return _carry_out(args, options)


def _carry_out(args: argparse.Namespace, options: RunOptions) -> Path:
    from jaxstyle.app.execution.job import load_job
    from jaxstyle.app.exporting.chunk_log import logging_chunks
    from jaxstyle.app.run_folder.folder import create_run, holds_run
    from jaxstyle.app.run_folder.run_json import make_record
    from jaxstyle.app.sweeping.shards import run_shard, shard_folder, take_shard
    from jaxstyle.app.sweeping.sweep_run import record_start, run_sweep

    _place_by_default(args)
    job = load_job(read_settings(args))
    _warn(job)
    record = make_record(job, shlex.join(["jaxstyle", *args.words]), fixed_options(options))
    out = args.out
    if options.shard:
        take_shard(job, options.shard)
        if holds_run(Path(args.out)):
            raise StartError(f"{args.out} holds a run of one process; give another folder with --out")
        out = str(shard_folder(Path(args.out), options.shard))
    with create_run(out, overwrite=args.overwrite) as folder:
        record_start(folder, record)
        with logging_chunks(options.log, folder, record["options"], options.on_chunk) as on_chunk:
            options = replace(options, on_chunk=on_chunk)
            (run_shard if options.shard else run_sweep)(job, folder, record, options)
    return folder


def _place_by_default(args: argparse.Namespace) -> None:
    """Have the lanes placed evenly to the eye, where the arguments name no weights of content and style."""
    named = {"alpha", "beta", "strength"} & vars(args).keys() or args.grid is not None
    preset = PRESETS[args.preset].beta if getattr(args, "preset", None) else None
    if not named and preset is None:
        args.beta = [(AUTO,)]


def _warn(job: Any) -> None:
    """Print notes about lanes that repeat each other, and about very many lanes."""
    from jaxstyle.app.execution.optimizer_choice import OPTIMIZERS
    from jaxstyle.optimise.initial_images import NOISY_STARTS

    repeated = repeated_ratios(job.lanes, noisy=job.settings.init in NOISY_STARTS)
    if repeated:
        tell(f"note: {repeated}")
    if len(job.lanes) > _MANY_LANES:
        h, w, _ = job.contents[0].image.shape
        size = len(job.lanes) * h * w * 3 * 4 * OPTIMIZERS[job.settings.optimizer].images / 1e9
        tell(f"note: {len(job.lanes)} lanes keep {size:.1f} GB of images and what {job.settings.optimizer} remembers")
