"""Options of how a run goes on, whatever it makes. Imports no jax, so that the command's help is quick."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxstyle.app.errors import StartError
from jaxstyle.app.lane_settings import parse_integer, parse_number
from jaxstyle.app.options import as_argument, positive

CHECKPOINT_MINUTES = 5.0


FIXED: tuple[str, ...] = ("refine", "save_every", "shard")
"""The run options that a resumed run has from its start."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its `Settings`, named as the command's.

    refine is a number of lanes; save_every is in steps, None for no snapshots; shard (i, n) is part i, from 0, of n;
    checkpoint_every is in minutes; log_json is a file's name.
    """

    refine: int | None = None
    save_every: int | None = None
    shard: tuple[int, int] | None = None
    checkpoint_every: float = CHECKPOINT_MINUTES
    quiet: bool = False
    log_json: str | None = None


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Add the options that a resumed run may have others of."""
    parser.add_argument(
        "--checkpoint-every",
        type=as_argument(partial(_parse_least, least=0)),
        default=CHECKPOINT_MINUTES,
        metavar="MIN",
        help=f"minutes between checkpoints, 0 for one after each second or so ({CHECKPOINT_MINUTES:g})",
    )
    parser.add_argument("--quiet", action="store_true", help="no lines of progress")
    parser.add_argument("--log-json", metavar="FILE", help="append progress to FILE, a JSON object a line")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep that are about the run."""
    parser.add_argument(
        "--refine", type=positive, metavar="K", help="after the sweep, K lanes more around the knee of each pair"
    )
    parser.add_argument(
        "--save-every",
        type=positive,
        metavar="N",
        help="keep pictures of every Nth step, too, in images/lane_0000",
    )
    parser.add_argument(
        "--shard",
        type=as_argument(_parse_shard),
        metavar="I/N",
        help="only the I-th (from 0) of N parts of the lanes; jaxstyle merge RUN joins them when all are done",
    )
    add_watching(parser)


def add_stages(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how far and through what sizes lanes go."""

    def add(flag: str, help_text: str, **options: Any) -> None:
        parser.add_argument(flag, default=argparse.SUPPRESS, help=help_text, **options)

    add("--min-size", "start at about this longest side, then double it (default: --size)", type=positive, metavar="PX")
    add("--coarse-steps", "steps at each smaller size (default: --steps)", type=positive, metavar="N")
    add(
        "--tolerance",
        "a lane whose total fell by less than this fraction in 25 steps has converged and stops (default: none does)",
        type=as_argument(partial(_parse_least, least=0)),
        metavar="X",
    )


def read_run_options(args: argparse.Namespace) -> RunOptions:
    """The run options that the arguments ask for."""
    return RunOptions(**{name: getattr(args, name) for name in RunOptions.__dataclass_fields__ if hasattr(args, name)})


def check_run_options(options: RunOptions, out: str | None) -> None:
    """Raise StartError for options that don't go together."""
    if options.shard and options.refine:
        raise StartError("--refine looks at all lanes, which no process has with --shard: leave one of them out")
    if options.log_json and not Path(options.log_json).parent.is_dir():
        raise StartError(f"cannot write {options.log_json}: give the name of a file in a folder that exists")
    if options.shard and out is None:
        raise StartError("--shard needs --out: the folder that all shards share")


def fixed_options(options: RunOptions) -> dict[str, Any]:
    """Those that a resumed run has from its start, by name."""
    return {name: getattr(options, name) for name in FIXED}


def with_fixed(options: RunOptions, fixed: Mapping[str, Any]) -> RunOptions:
    """The options with those that run.json says the run was started with."""
    shard = fixed["shard"]
    return replace(options, **{**fixed, "shard": tuple(shard) if shard else None})


def _parse_shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    shard = parse_integer(number, 0, 10**6), parse_integer(count, 1, 10**6)
    if shard[0] >= shard[1]:
        raise StartError(f"{text}: the shards of {count} are numbered from 0 to {shard[1] - 1}")
    return shard


def _parse_least(text: str, least: float) -> float:
    value = parse_number(text)
    if not value >= least or math.isinf(value):
        raise StartError(f"{text} is below {least:g}")
    return value
