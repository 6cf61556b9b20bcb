"""Options of how a run goes on, whatever it makes. Imports no jax, so that the command's help is quick."""

import argparse
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxstyle.app.errors import StartError
from jaxstyle.app.lane_settings import parse_number
from jaxstyle.app.options import as_argument, positive

CHECKPOINT_MINUTES = 5.0


FIXED: tuple[str, ...] = ("refine", "save_every")
"""The run options that a resumed run has from its start."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its `Settings`, named as the command's.

    refine is a number of lanes; save_every is in steps, None for no snapshots; checkpoint_every is in minutes; log_json
    is a file's name.
    """

    refine: int | None = None
    save_every: int | None = None
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


def fixed_options(options: RunOptions) -> dict[str, Any]:
    """Those that a resumed run has from its start, by name."""
    return {name: getattr(options, name) for name in FIXED}


def _parse_least(text: str, least: float) -> float:
    value = parse_number(text)
    if not value >= least or math.isinf(value):
        raise StartError(f"{text} is below {least:g}")
    return value
