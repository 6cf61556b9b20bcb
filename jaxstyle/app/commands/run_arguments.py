"""Options of how a run proceeds, whatever it makes. It imports no jax, so that the command's help is quick."""

import argparse
from functools import partial
from pathlib import Path

from jaxstyle.app.commands.options import as_argument, positive
from jaxstyle.app.exporting.tools import TOOLS, check_tool
from jaxstyle.app.settings.run_options import CHECKPOINT_MINUTES, RunOptions
from jaxstyle.app.settings.values import parse_integer, parse_least
from jaxstyle.app.system.errors import StartError


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Add the options that may change when a run is resumed."""
    parser.add_argument(
        "--checkpoint-every",
        type=as_argument(parse_least),
        default=CHECKPOINT_MINUTES,
        metavar="MIN",
        help=f"minutes between checkpoints, 0 for one after each second or so ({CHECKPOINT_MINUTES:g})",
    )
    parser.add_argument("--quiet", action="store_true", help="print no lines of progress")
    parser.add_argument("--log-json", metavar="FILE", help="append progress to FILE, a JSON object a line")
    parser.add_argument(
        "--log",
        choices=[name for name, tool in TOOLS.items() if tool.logs],
        help="log the losses of every lane while they go on; jaxstyle export adds metrics and pictures afterwards",
    )
    add_open(parser)


def add_open(parser: argparse.ArgumentParser) -> None:
    """Add --open, of a command that writes a report."""
    parser.add_argument("--open", action="store_true", help="open report.html in the browser")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a sweep that are about its run."""
    parser.add_argument(
        "--refine", type=positive, metavar="K", help="after the sweep, K lanes more around the knee of each pair"
    )
    parser.add_argument(
        "--retry",
        type=as_argument(partial(parse_integer, low=0, high=9)),
        default=0,
        metavar="N",
        help="start lanes that fail again, up to N times, after the others are done: each time with a tenth of the "
        "learning rate, or of the longest step of lbfgs (0)",
    )
    parser.add_argument(
        "--save-every",
        type=positive,
        metavar="N",
        help="keep pictures of every Nth step, too, in images/lane_0000",
    )
    parser.add_argument(
        "--shard",
        type=as_argument(partial(_parse_part, what="shards")),
        metavar="I/N",
        help="only the I-th (from 0) of N parts of the lanes; jaxstyle merge RUN joins them when all are done",
    )
    add_distributed(parser)
    add_watching(parser)


def add_distributed(parser: argparse.ArgumentParser) -> None:
    """Add the options for processes that share a run and start together."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes, started together on hosts that share RUN, that compute a shard each; they find "
        "each other on a TPU slice or under Slurm",
    )
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="elsewhere: the address at which process 0 listens")
    parser.add_argument(
        "--process",
        type=as_argument(partial(_parse_part, what="processes")),
        metavar="I/N",
        help="elsewhere: this is process I (from 0) of N",
    )


def read_run_options(args: argparse.Namespace) -> RunOptions:
    """Return the run options that the arguments ask for."""
    return RunOptions(**{name: getattr(args, name) for name in RunOptions.__dataclass_fields__ if hasattr(args, name)})


def check_run_options(options: RunOptions, out: str | None, *, distributed: bool) -> None:
    """Raise StartError if options don't go together."""
    flag = "--distributed" if distributed else "--shard"
    if distributed and options.shard:
        raise StartError("--distributed gives each process its own shard: leave --shard out")
    if (distributed or options.shard) and options.refine:
        raise StartError(f"--refine looks at all lanes, which no process has with {flag}: leave one of them out")
    if (distributed or options.shard) and (options.open or options.log):
        what = "--open shows a report" if options.open else "--log writes a log"
        raise StartError(f"{what} of all lanes, which no process has with {flag}: leave one of them out")
    if options.log:
        check_tool(options.log, "--log")
    if options.log_json and not Path(options.log_json).parent.is_dir():
        raise StartError(f"cannot write {options.log_json}: give the name of a file in a folder that exists")
    if (distributed or options.shard) and out is None:
        raise StartError(f"{flag} needs --out: the folder that all shards share")


def check_distributed(args: argparse.Namespace) -> None:
    """Raise StartError if options of `add_distributed` don't go together."""
    if (args.coordinator is None) != (args.process is None):
        raise StartError("--coordinator and --process go together: give both, or neither")
    if args.coordinator is not None and not args.distributed:
        raise StartError("--coordinator and --process are for --distributed")
    if args.coordinator is not None and not args.coordinator.rpartition(":")[2].isdecimal():
        raise StartError(f"--coordinator {args.coordinator}: give HOST:PORT, as node0:8476")


def _parse_part(text: str, what: str) -> tuple[int, int]:
    """Read I/N, part I of N `what`, counted from 0."""
    number, _, count = text.partition("/")
    part = parse_integer(number, 0, 10**6), parse_integer(count, 1, 10**6)
    if part[0] >= part[1]:
        raise StartError(f"{text}: the {what} of {count} are numbered from 0 to {part[1] - 1}")
    return part
