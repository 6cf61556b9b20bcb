"""The commands `jaxstyle transfer` and `jaxstyle texture`. They import jax only once the arguments are read."""

import argparse
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_inputs, add_lane_options, add_shared_options, as_argument, read_settings
from jaxstyle.app.commands.run_arguments import read_run_options
from jaxstyle.app.settings.values import parse_integer
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.screen import say_done, tell
from jaxstyle.objective.weight_defaults import weight_defaults
from jaxstyle.optimise.presets import PRESETS

_INPUTS = ("blend", "content_mask", "style_mask", "init", "weights")


def add_transfer(commands: Any) -> None:
    """Add the parser of `jaxstyle transfer`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "transfer",
        grouped=True,
        usage="%(prog)s [OPTION ...] CONTENT STYLE -o FILE",
        help="one picture",
        description="Make one picture, with one alpha, beta and so on.",
    )
    add_inputs(parser, many=False)
    add_lane_options(parser, many=False)
    add_shared_options(parser)
    _add_output(parser)
    parser.add_argument("--keep-profile", action="store_true", help="convert to the colour profile of CONTENT")
    parser.add_argument("--keep-metadata", action="store_true", help="copy the EXIF data of CONTENT, places included")
    parser.set_defaults(command=_transfer)


def add_texture(commands: Any) -> None:
    """Add the parser of `jaxstyle texture`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "texture",
        grouped=True,
        usage="%(prog)s [OPTION ...] STYLE -o FILE",
        help="a texture like a style image, without a content image",
        description="Make a square texture of the look of a style image, from noise, without a content image (Gatys et "
        "al., arXiv 1505.07376).",
    )
    add_inputs(parser, many=False, content=False)
    add_lane_options(parser, many=False, content=False)
    add_shared_options(parser, content=False)
    _add_output(parser)
    parser.set_defaults(command=_transfer, content=None, alpha=[(0.0,)], content_layers=(), init="noise")
    parser.set_defaults(keep_profile=False, keep_metadata=False)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the .png, .jpg, .webp or .tif file to write"
    )
    parser.add_argument(
        "--quality", type=as_argument(_quality), default=95, metavar="N", help="quality of JPEG and WebP (95)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")


def _transfer(args: argparse.Namespace) -> Path:
    from jaxstyle.app.execution import run_job
    from jaxstyle.app.execution.job import load_job
    from jaxstyle.app.image_files.encode import check_output, encode
    from jaxstyle.app.sweeping import results
    from jaxstyle.app.sweeping.placing import has_strengths, place_betas, with_betas
    from jaxstyle.app.sweeping.sweep_run import tell_start
    from jaxstyle.app.system.files import write_or_keep

    output = Path(args.output)
    suffix = check_output(output, exif=args.keep_metadata)
    _check_output(output, args)
    settings = read_settings(args)
    if settings.lanes["beta"] is None and settings.lanes["strength"] is None:
        settings = settings.with_lanes(beta=(weight_defaults(settings.convention, settings.style_loss).beta,))
    if settings.preset is not None and len(settings.lanes["alpha"]) > 1:  # those of a sweep
        settings = settings.with_lanes(alpha=(PRESETS[settings.preset].alpha,))
    job = load_job(settings)
    if len(job.lanes) != 1:
        raise StartError(f"CONTENT and STYLE hold {len(job.lanes)} pairs of images; transfer makes one picture of one")
    (content,) = job.contents
    if args.keep_profile and content.profile is None:
        tell(f"note: {content.name} has no RGB profile to keep: the picture is sRGB")
    to_file = partial(
        encode,
        suffix=suffix,
        quality=args.quality,
        profile=content.profile if args.keep_profile else None,
        exif=content.exif if args.keep_metadata else None,
    )
    try:
        # What this kind of file can't hold fails here, before the work.
        to_file(content.image, text=results.picture_text(job, job.lanes[0]))
    except (OSError, ValueError) as error:
        raise StartError(f"cannot make {output}: {error}; choose another kind of file") from error
    tell_start(job)
    if has_strengths(job):
        job = with_betas(job, place_betas(job, None, range(1)))
        tell(f"strength {job.lanes[0]['strength']:g} is beta {job.lanes[0]['beta']:g}")
    outcome = run_job.run_job(job, read_run_options(args))
    if not outcome.ok[0]:
        raise RunError(f"{outcome.reason(0)}; take smaller weights or a smaller --learning-rate")
    text = results.picture_text(job, job.lanes[0])  # with the beta that was found for a strength
    write_or_keep(output, to_file(outcome.images[0], text=text), overwrite=args.overwrite)
    of_interest = ("content", "style") if settings.content else ("style",)
    losses = [f"{name} {getattr(outcome.final, name)[0]:.4g}" for name in of_interest]
    say_done(f"{outcome.steps[0]} steps in {outcome.seconds:.0f} s, {', '.join(losses)}: {output}")
    return output


def _quality(text: str) -> int:
    return parse_integer(text, 1, 100)


def _check_output(output: Path, args: argparse.Namespace) -> None:
    """Raise StartError if the output can't be written, or would replace an input."""
    from jaxstyle.app.system.files import check_target

    for name in (args.content, args.style, *(name for option in _INPUTS for name in _listed(args, option))):
        with contextlib.suppress(OSError, ValueError):  # A name that no input can have is reported later.
            if name and output.samefile(name):
                raise StartError(f"{output} is an input; give another file to write")
    check_target(output, overwrite=args.overwrite)


def _listed(args: argparse.Namespace, option: str) -> list[str]:
    """Return the values of an option that takes one or more; none if it is not given."""
    value = getattr(args, option, None) or []
    return [value] if isinstance(value, str) else value
