"""The command `jaxstyle animate`, which shows how a lane came about, from the snapshots of --save-every.

It needs no jax.
"""

import argparse
import io
from pathlib import Path
from typing import Any

from jaxstyle.app.commands.options import add_run, as_argument
from jaxstyle.app.settings.values import parse_integer
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import say_done

_MILLISECONDS = 100  # The duration of a frame.
_LAST_MILLISECONDS = 2000
_LONGEST = 16_383  # Pixels on a side that WebP can hold.
_QUALITY = 85


def add_animate(commands: Any) -> None:
    """Add the parser of `jaxstyle animate`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "animate",
        help="an animated WebP of a lane on its way",
        description="Make an animated WebP of a lane on its way, out of the pictures that jaxstyle sweep --save-every "
        "keeps, and its last one.",
    )
    add_run(parser)
    parser.add_argument(
        "--lane", type=as_argument(lambda text: parse_integer(text, 0, 10**6)), default=0, metavar="N", help="lane (0)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the .webp file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.set_defaults(command=_animate)


def _animate(args: argparse.Namespace) -> Path:
    from jaxstyle.app.system.files import check_target, write_or_keep

    output = Path(args.output)
    if output.suffix.lower() != ".webp":
        raise StartError(f"cannot write {output}: an animation is a .webp file")
    check_target(output, overwrite=args.overwrite)
    files = _find_pictures(Path(args.run), args.lane)
    write_or_keep(output, _encode(files), overwrite=args.overwrite)
    say_done(f"{len(files)} pictures: {output}")
    return output


def _find_pictures(run: Path, lane: int) -> list[Path]:
    """Return the snapshots of a lane, and its last picture if the run has finished.

    Raises:
      StartError: if there are no snapshots.
    """
    name = f"images/lane_{lane:04d}"
    snapshots = sorted((run / name).glob("step_*.png"))
    if not snapshots:
        raise StartError(f"{run} holds no pictures of lane {lane} on its way: jaxstyle sweep --save-every N keeps them")
    last = run / f"{name}.png"
    return [*snapshots, last] if last.exists() else snapshots


def _encode(files: list[Path]) -> bytes:
    """Encode pictures as an animated WebP. Those of coarser stages are enlarged to the size of the last one."""
    from PIL import Image

    from jaxstyle.app.image_files.encode import to_image
    from jaxstyle.app.pictures.read_image import read_image

    last = to_image(read_image(files[-1]))
    if max(last.size) > _LONGEST:
        raise StartError(f"a .webp holds no more than {_LONGEST} pixels a side, {files[-1]} has {max(last.size)}")
    frames = [to_image(read_image(file)).resize(last.size, Image.Resampling.BICUBIC) for file in files[:-1]]
    frames.append(last)
    durations = [_MILLISECONDS] * (len(frames) - 1) + [_LAST_MILLISECONDS]
    buffer = io.BytesIO()
    rest = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    frames[0].save(buffer, "WEBP", quality=_QUALITY, method=4, **rest)
    return buffer.getvalue()
