"""The commands `jaxstyle sweep` and `jaxstyle transfer`. Imports jax only once the arguments are read."""

import argparse
import contextlib
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.grids import repeated_ratios
from jaxstyle.app.lane_settings import parse_integer
from jaxstyle.app.options import (
    add_inputs,
    add_job_options,
    add_lane_options,
    as_argument,
    read_settings,
)
from jaxstyle.app.run_options import (
    RunOptions,
    add_run_options,
    add_stages,
    check_distributed,
    check_run_options,
    fixed_options,
    read_run_options,
)
from jaxstyle.app.screen import say_done, tell
from jaxstyle.app.settings import weight_defaults

_INPUTS = ("blend", "content_mask", "style_mask", "init", "weights")
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
    add_job_options(parser)
    add_stages(parser)
    add_run_options(parser)
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
    add_stages(parser)
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
    add_stages(parser)
    _add_output(parser)
    parser.set_defaults(command=_transfer, content=None, alpha=[(0.0,)], content_layers=(), init="noise")
    parser.set_defaults(keep_profile=False, keep_metadata=False)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the .png, .jpg, .webp or .tif file to write"
    )
    parser.add_argument("--quality", type=as_argument(_quality), default=95, metavar="N", help="of JPEG and WebP (95)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def _sweep(args: argparse.Namespace) -> Path:
    options = read_run_options(args)
    check_distributed(args)
    check_run_options(options, args.out, distributed=args.distributed)
    processes: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if args.distributed:
        from jaxstyle.app.hosts import join, together

        shard = join(args.coordinator, args.process)
        options = replace(options, shard=shard)
        processes = together(Path(args.out), shard)
    with processes:
        return _carry_out(args, options)


def _carry_out(args: argparse.Namespace, options: RunOptions) -> Path:
    from jaxstyle.app.conduct import begin, carry_out
    from jaxstyle.app.folder import create_run, holds_run
    from jaxstyle.app.job import load_job
    from jaxstyle.app.record import make_record
    from jaxstyle.app.shards import carry_out_shard, shard_folder, take_shard

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
        begin(folder, record)
        (carry_out_shard if options.shard else carry_out)(job, folder, record, options)
    return folder


def _warn(job: Any) -> None:
    from jaxstyle.app.job import OPTIMIZERS

    repeated = repeated_ratios(job.rows)
    if repeated:
        tell(f"note: {repeated}")
    if len(job.rows) > _MANY_LANES:
        h, w, _ = job.contents[0].image.shape
        size = len(job.rows) * h * w * 3 * 4 * OPTIMIZERS[job.settings.optimizer].images / 1e9
        tell(f"note: {len(job.rows)} lanes keep {size:.1f} GB of images and what {job.settings.optimizer} remembers")


def _transfer(args: argparse.Namespace) -> Path:
    from jaxstyle.app import engine, run
    from jaxstyle.app.conduct import announce
    from jaxstyle.app.encode import check_output, encode
    from jaxstyle.app.files import write_or_keep
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
    (content,) = job.contents
    if args.keep_profile and content.profile is None:
        tell(f"note: {content.name} has no RGB profile to keep: the picture is sRGB")
    to_file = partial(
        encode,
        suffix=suffix,
        text=run.picture_text(job, job.rows[0]),
        quality=args.quality,
        profile=content.profile if args.keep_profile else None,
        exif=content.exif if args.keep_metadata else None,
    )
    try:
        to_file(content.image)  # what the kind of file can't hold shows before the work
    except (OSError, ValueError) as error:
        raise StartError(f"cannot make {output}: {error}; choose another kind of file") from error
    announce(job)
    outcome = engine.run_job(job, read_run_options(args))
    if not outcome.ok[0]:
        raise RunError(f"{outcome.reason(0)}; take smaller weights or a smaller --learning-rate")
    write_or_keep(output, to_file(outcome.images[0]), overwrite=args.overwrite)
    of_interest = ("content", "style") if settings.content else ("style",)
    losses = [f"{name} {getattr(outcome.final, name)[0]:.4g}" for name in of_interest]
    say_done(f"{outcome.steps[0]} steps in {outcome.seconds:.0f} s, {', '.join(losses)}: {output}")
    return output


def _quality(text: str) -> int:
    return parse_integer(text, 1, 100)


def _check_output(output: Path, args: argparse.Namespace) -> None:
    from jaxstyle.app.files import check_target

    for name in (args.content, args.style, *(name for option in _INPUTS for name in _listed(args, option))):
        with contextlib.suppress(OSError, ValueError):  # what can't be an input's name is said later
            if name and output.samefile(name):
                raise StartError(f"{output} is an input; give another file to write")
    check_target(output, overwrite=args.overwrite)


def _listed(args: argparse.Namespace, option: str) -> list[str]:
    """The values of an option that takes one or more, if it is given."""
    value = getattr(args, option, None) or []
    return [value] if isinstance(value, str) else value
