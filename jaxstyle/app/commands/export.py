"""The command `jaxstyle export`, which writes a run into another tool's format. It needs no jax.

| `--to` | what it writes for a run | where, without `--out` |
|---|---|---|
| `tensorboard` | a folder of event files a lane: scalars, hyperparameters, the picture | `RUN/exports/tensorboard` |
| `wandb` | a run a lane, on disk: `wandb sync` uploads it, and `WANDB_MODE=online` at once | `RUN/exports/wandb` |
| `trackio` | a run a lane, in the project jaxstyle | Trackio's own store |
| `optuna` | a study a pair of images, a trial a lane, whose values are its two losses | `RUN/exports/optuna.db` |
| `parquet` | lanes.parquet with the pictures in a column, and history.parquet | `RUN/exports/parquet` |

What `--log` of `jaxstyle sweep` writes while a run goes on is one run of the tool, with series such as total/lane_0003:
event files in `RUN/tensorboard`, a run in `RUN/wandb`, or one in Trackio's store.
"""

import argparse
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_run
from jaxstyle.app.exporting.tools import TOOLS, check_tool, load_tool
from jaxstyle.app.run_folder.exports import EXPORTS
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import say_done


def add_export(commands: Any) -> None:
    """Add the parser of `jaxstyle export`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write a finished run into the format of another tool",
        description="Write a finished run into the format of another tool: for each lane a run or a trial, with its "
        "settings, its losses by step, its metrics and its picture.",
    )
    add_run(parser)
    parser.add_argument(
        "--to",
        choices=tuple(TOOLS),
        required=True,
        help="the tool, whose extra of the same name brings its package (artfid needs none)",
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="what to write: a file for optuna, else a folder (default: in RUN/exports; trackio has its own place)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.set_defaults(command=_export)


def _export(args: argparse.Namespace) -> Path | None:
    from jaxstyle.app.exporting.finished_lanes import read_finished_lanes
    from jaxstyle.app.exporting.new_place import new_place

    check_tool(args.to, "--to")
    tool, folder = TOOLS[args.to], Path(args.run)
    if args.out and not tool.output:
        raise StartError(f"--out is not for {args.to}, which has a store of its own; TRACKIO_DIR names its place")
    found = read_finished_lanes(folder)
    lanes = [lane for lane in found if lane.whole] if tool.whole else found
    name = folder.absolute().name
    part = f"{len(lanes)} of " if len(lanes) < len(found) else ""
    count = f"{part}{len(found)} lane{'s' * (len(found) != 1)}"
    if not tool.output:
        load_tool(args.to).export(lanes, name, overwrite=args.overwrite)
        say_done(f"{count}: {args.to} has them")
        return None
    path = Path(args.out) if args.out else folder / EXPORTS / tool.output
    with new_place(path, overwrite=args.overwrite) as place:
        load_tool(args.to).export(lanes, name, place)
    say_done(f"{count}: {path}")
    return path
