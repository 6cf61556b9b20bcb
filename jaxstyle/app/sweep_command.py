"""The commands `jaxstyle sweep` and `jaxstyle transfer`. Imports jax only once the arguments are read."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.grids import refine, repeated_ratios
from jaxstyle.app.lane_settings import parse_integer
from jaxstyle.app.options import (
    add_inputs,
    add_job_options,
    add_lane_options,
    as_argument,
    positive,
    read_settings,
)
from jaxstyle.app.screen import tell
from jaxstyle.app.settings import weight_defaults

_MANY_LANES = 2000  # of which a person may not have thought


def add_sweep(commands: Any) -> None:
    """Add the parser of `jaxstyle sweep`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sweep",
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
    parser.add_argument(
        "--refine", type=positive, metavar="K", help="after the sweep, K lanes more around the knee of each pair"
    )
    add_job_options(parser)
    parser.add_argument("--out", metavar="RUN", help="run folder (default: a new numbered one under runs/)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that --out holds")
    parser.set_defaults(command=_sweep)


def add_transfer(commands: Any) -> None:
    """Add the parser of `jaxstyle transfer`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "transfer", help="one picture", description="Make one picture, with one alpha, beta and so on."
    )
    add_inputs(parser, many=False)
    add_lane_options(parser, many=False)
    add_job_options(parser)
    _add_output(parser)
    parser.add_argument("--keep-profile", action="store_true", help="convert to the colour profile of CONTENT")
    parser.add_argument("--keep-metadata", action="store_true", help="copy the EXIF data of CONTENT, places included")
    parser.set_defaults(command=_transfer)


def add_texture(commands: Any) -> None:
    """Add the parser of `jaxstyle texture`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "texture",
        help="a texture like a style image, without a content image",
        description="Make a square texture of the look of a style image, from noise, without a content image (Gatys et "
        "al., arXiv 1505.07376).",
    )
    add_inputs(parser, many=False, content=False)
    add_lane_options(parser, many=False, content=False)
    add_job_options(parser, content=False)
    _add_output(parser)
    parser.set_defaults(command=_transfer, content=None, alpha=[(0.0,)], content_layers=(), init="noise")
    parser.set_defaults(keep_profile=False, keep_metadata=False)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the .png, .jpg, .webp or .tif file to write"
    )
    parser.add_argument("--quality", type=as_argument(_quality), default=95, metavar="N", help="of JPEG and WebP (95)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def _sweep(args: argparse.Namespace) -> None:
    from jaxstyle.app import engine, run
    from jaxstyle.app.job import load_job
    from jaxstyle.app.judge import judge

    job = load_job(read_settings(args))
    _warn(job)
    command = shlex.join(["jaxstyle", *sys.argv[1:]])
    with run.create_run(args.out, overwrite=args.overwrite) as folder:
        run.write_record(folder, job, command)
        _announce(job)
        outcome = engine.run_job(job)
        if args.refine:
            more = _refine(job, outcome, args.refine)
            if more.rows:
                tell(f"{len(more.rows)} lanes more around the knee")
                outcome = engine.join_outcomes(outcome, engine.run_job(more))
                job = job._replace(rows=job.rows + more.rows)
                run.write_record(folder, job, command)
        run.write_run(folder, job, outcome, judge(job, outcome.images))
    count = len(outcome.ok)
    what = f"{count} lane{'s' * (count != 1)}, {job.settings.steps} steps in {outcome.seconds:.0f} s"
    print(f"{what}: {folder / 'report.html'}")
    failed = [str(i) for i, ok in enumerate(outcome.ok) if not ok]
    if failed:
        raise RunError(f"{_lanes(failed)} met a loss or gradient that is not finite and kept the last good image")


def _refine(job: Any, outcome: Any, count: int) -> Any:
    """The job of `count` more lanes for each pair of images, around the knee of its content and style losses."""
    from jaxstyle.select import knee, pareto_front

    rows = []
    for pair in dict.fromkeys((row["content"], row["style"]) for row in job.rows):
        lanes = [i for i, row in enumerate(job.rows) if (row["content"], row["style"]) == pair]
        losses = (outcome.history.content[lanes, -1], outcome.history.style[lanes, -1], outcome.ok[lanes])
        index = knee(*losses)
        if index is not None:
            rows += refine([job.rows[i] for i in lanes], index, pareto_front(*losses), count)
    return job._replace(rows=rows)


def _warn(job: Any) -> None:
    if job.settings.optimizer == "adam":
        repeated = repeated_ratios(job.rows)
        if repeated:
            tell(f"note: {repeated}")
    if len(job.rows) > _MANY_LANES:
        h, w, _ = job.contents[0].image.shape
        tell(f"note: {len(job.rows)} lanes keep {len(job.rows) * h * w * 3 * 4 * 3 / 1e9:.1f} GB of images and moments")


def _transfer(args: argparse.Namespace) -> None:
    from jaxstyle.app import engine, run
    from jaxstyle.app.encode import check_output, encode
    from jaxstyle.app.files import write_atomic
    from jaxstyle.app.job import load_job

    output = Path(args.output)
    suffix = check_output(output, exif=args.keep_metadata)
    _check_output(output, args)
    settings = read_settings(args)
    if settings.beta is None:
        settings = replace(settings, beta=(weight_defaults(settings.convention, settings.style_loss).beta,))
    job = load_job(settings)
    if len(job.rows) != 1:
        raise StartError(f"CONTENT and STYLE hold {len(job.rows)} pairs of images; transfer makes one picture of one")
    _announce(job)
    outcome = engine.run_job(job)
    if not outcome.ok[0]:
        raise RunError("a loss or gradient was not finite; take smaller weights or a smaller --learning-rate")
    (content,) = job.contents
    if args.keep_profile and content.profile is None:
        tell(f"note: {content.name} has no RGB profile to keep: the picture is sRGB")
    data = encode(
        outcome.images[0],
        suffix,
        text=run.picture_text(job, job.rows[0]),
        quality=args.quality,
        profile=content.profile if args.keep_profile else None,
        exif=content.exif if args.keep_metadata else None,
    )
    write_atomic(output, data, overwrite=args.overwrite)
    of_interest = ("content", "style") if settings.content else ("style",)
    losses = [f"{name} {getattr(outcome.history, name)[0, -1]:.4g}" for name in of_interest]
    print(f"{job.settings.steps} steps in {outcome.seconds:.0f} s, {', '.join(losses)}: {output}")


def _quality(text: str) -> int:
    return parse_integer(text, 1, 100)


def _check_output(output: Path, args: argparse.Namespace) -> None:
    from jaxstyle.app.files import explain

    try:
        if output.is_dir() or not output.parent.is_dir():
            raise StartError(f"cannot write {output}: give the name of a file in a folder that exists")
        if output.exists() and not args.overwrite:
            raise StartError(f"{output} exists; give another file, or --overwrite")
        for name in filter(None, (args.content, args.style)):
            if output.exists() and Path(name).exists() and output.samefile(name):
                raise StartError(f"{output} is an input; give another file to write")
    except OSError as error:
        raise explain(error, f"cannot write {output}") from error


def _announce(job: Any) -> None:
    lanes, sizes = len(job.rows), sorted({picture.image.shape[1::-1] for picture in job.contents})
    size = f"{sizes[0][0]}x{sizes[0][1]}" if len(sizes) == 1 else f"{len(sizes)} sizes up to {job.settings.size}"
    what = f"{lanes} lane{'s' * (lanes != 1)} of {size} pixels, {job.settings.steps} steps"
    tell(f"{what}; compiling")


def _lanes(names: list[str]) -> str:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"lane{'s' * (len(names) != 1)} {shown}"
