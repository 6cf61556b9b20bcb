"""The command `jaxstyle`: its subcommands, messages and exit status.

It imports jax only once the arguments are read.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jaxstyle import __version__
from jaxstyle.app.commands.animate import add_animate
from jaxstyle.app.commands.export import add_export
from jaxstyle.app.commands.options import GROUPS, check_addresses
from jaxstyle.app.commands.plan import add_plan
from jaxstyle.app.commands.resume import add_merge, add_resume
from jaxstyle.app.commands.select import add_report, add_select
from jaxstyle.app.commands.sweep import add_sweep
from jaxstyle.app.commands.transfer import add_texture, add_transfer
from jaxstyle.app.commands.weights import add_weights
from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import AppError
from jaxstyle.app.system.screen import drop_output, hold_descriptors, tell


class _Parser(argparse.ArgumentParser):
    """Shows options in groups, if it is `grouped`. A group without options isn't shown."""

    def __init__(self, *, grouped: bool = False, **how: Any) -> None:
        self._group_of: dict[str, argparse._ArgumentGroup] = {}
        super().__init__(**how)
        if grouped:
            for title, names in GROUPS.items():
                group = self.add_argument_group(title)
                self._group_of |= {f"--{name}": group for name in names.split()}
            self._action_groups.append(self._action_groups.pop(1))  # argparse's own group of options comes last

    def add_argument(self, *names: Any, **how: Any) -> argparse.Action:
        group = self._group_of.get(names[-1] if names else "")
        return super().add_argument(*names, **how) if group is None else group.add_argument(*names, **how)

    def parse_known_args(self, *given: Any, **how: Any) -> Any:
        found, unknown = super().parse_known_args(*given, **how)
        if unknown:  # A command that left them to the main parser would lead to its help, which has no such options.
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        tell(f"{self.prog}: {message}; see {self.prog} --help")
        sys.exit(2)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit.

    The exit status is 0 if all is done, 1 if something failed, 2 if nothing could start, and 130 or 143 after a signal.
    A line on stdout about files that were written is no part of the work, so a stdout that can't take it changes
    nothing. A table that stdout can't take is a failure, unless its reader is gone.
    """
    signals.install()
    hold_descriptors()
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    status = 0
    try:
        check_addresses(args)
        args.command(args)
    except Exception as error:
        if args.debug:
            raise
        status, message = _describe(error)
        tell(f"jaxstyle: {message}")
    drop_output()
    sys.exit(status)


def call(arguments: list[str], *, on_chunk: Callable[[Any], object] | None = None) -> Path | None:
    """Run the command from Python. Errors are raised, and signals are left alone.

    Args:
      arguments: the words of the command, such as ["sweep", "photo.jpg", "painting.jpg", "--out", "runs/first"].
      on_chunk: a function that is called after each chunk of steps, every one to five seconds, with a `progress.Chunk`.
        It holds the number of steps, the lanes at work, their losses, and the step at which they had these losses. If
        the function raises an exception, the run stops as it does after a signal: it is saved and can be resumed.

    Returns:
      The path that the command wrote: the run folder, the picture or the file. A command that only prints gives None.

    Raises:
      AppError: with the message that the command would print on stderr.
      SystemExit: if the command doesn't know the arguments.

    Examples:
      >>> from tensorboardX import SummaryWriter  # doctest: +SKIP
      >>> writer = SummaryWriter("tensorboard")  # doctest: +SKIP
      >>> def log(chunk):
      ...     for lane, total in zip(chunk.lanes, chunk.losses.total):
      ...         writer.add_scalar(f"total/lane_{lane:04d}", total, chunk.losses_step)
      >>> call(["sweep", "photo.jpg", "painting.jpg", "--out", "runs/first"], on_chunk=log)  # doctest: +SKIP
      >>> call(["resume", "runs/first"], on_chunk=log)  # goes on, if it was stopped  # doctest: +SKIP
    """
    args = _parse(arguments)
    args.on_chunk = on_chunk
    check_addresses(args)
    return args.command(args)


def _parse(arguments: list[str]) -> argparse.Namespace:
    args = _make_parser().parse_args(arguments)
    args.words = arguments
    return args


def _describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, AppError):
        return error.status, " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return 1, "out of memory: take a smaller --size or fewer lanes"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return 1, f"{text[:500]} (unexpected: --debug shows where it comes from)"


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="jaxstyle",
        description="Paint photographs in the style of paintings, at many settings at once. A first try is: jaxstyle "
        "sweep sample:cat sample:swirls",
    )
    parser.add_argument("--version", action="version", version=f"jaxstyle {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    of_runs = (add_sweep, add_resume, add_merge, add_select, add_report, add_animate, add_export)
    for add in (*of_runs, add_transfer, add_texture, add_plan, add_weights):
        add(commands)
    return parser


if __name__ == "__main__":
    main()
