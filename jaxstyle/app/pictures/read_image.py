"""Read one picture that an argument names: a file, a sample image of the package, or standard input."""

import io
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ImageColor

from jaxstyle.app.image_files.decode import MAX_PIXELS, WHITE, Decoded, decode
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.screen import printable, tell
from jaxstyle.common.file_kinds import describe_address

SAMPLES = Path(__file__).parents[2] / "samples"
SAMPLE_PREFIX = "sample:"
STDIN = "-"

_METADATA = 2**26  # bytes that a file may hold beside its pixels


def read_image(
    path: str | os.PathLike[str],
    size: int | None = None,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Read a picture as a person sees it (see `decode`).

    Args:
      path: a file, sample:NAME for a sample image of the package, or - for standard input.
      size: if given, longest side in pixels to scale down to; a smaller picture keeps its size.
      background: sRGB colour, in [0, 255], behind what is transparent.
      max_pixels: larger pictures are refused.

    Returns:
      float32 RGB in [0, 1], shape (h, w, 3).

    Raises:
      AppError: if the file isn't there, isn't a whole picture, or has more pixels.
    """
    data = read_bytes(path, max_pixels)
    return decode_image(io.BytesIO(data), name_source(path), size, background=background, max_pixels=max_pixels)


def decode_image(
    data: BinaryIO,
    label: str,
    size: int | None = None,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode a picture from an open file or from bytes in memory; errors and notes on stderr call it `label`."""
    found = decode(_read(data, label, max_pixels), label, size, background=background, max_pixels=max_pixels)
    tell_notes(label, found)
    return found.image


def tell_notes(label: str, found: Decoded) -> None:
    """Print what a person should know about how a picture was read."""
    for note in found.notes:
        tell(f"{label}: {note}")


def read_bytes(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> bytes:
    """Read the bytes of the file that a CONTENT or STYLE argument names, or of standard input for "-".

    Raises:
      AppError: if the file can't be read, changes while it is read, or is larger than pictures of `max_pixels` are.
    """
    if path == STDIN:  # Path(STDIN) is a file, and not equal
        return _read_stdin(max_pixels)
    file = resolve_path(path)
    with open_file(file) as data:
        return _read(data, printable(str(file)), max_pixels)


def open_file(file: Path) -> io.BufferedReader:
    """Open a regular file to read, without waiting for the other end if the name has come to be a pipe.

    Raises:
      AppError: if it can't be opened or is no regular file.
    """
    label = printable(str(file))
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(file, flags)
    except OSError as error:
        raise explain(error, f"cannot read {label}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StartError(f"cannot read {label}: {_NOT_REGULAR}")
    return os.fdopen(descriptor, "rb")


_NOT_REGULAR = "it is not a regular file; to pipe an image in, give -"


def resolve_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of the file that a CONTENT or STYLE argument names.

    Raises:
      StartError: unless it names a regular file.
    """
    text = os.fspath(path)
    if isinstance(path, str) and text.startswith(SAMPLE_PREFIX):
        return _sample(text.removeprefix(SAMPLE_PREFIX))
    if not text:
        raise StartError("an empty name is no image; give an image file")
    if address := describe_address(text):
        raise StartError(f"cannot read {address}")
    label = printable(text)
    try:
        mode = os.stat(text).st_mode  # noqa: PTH116
    except FileNotFoundError as error:
        raise StartError(f"cannot read {label}: no such file") from error
    except (OSError, ValueError) as error:  # the name is too long, a loop of links, or has a NUL in it
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StartError(f"cannot read {label}: {reason.lower()}") from error
    if stat.S_ISDIR(mode):
        raise StartError(f"cannot read {label}: it is a folder; give an image file")
    if not stat.S_ISREG(mode):
        raise StartError(f"cannot read {label}: {_NOT_REGULAR}")
    return Path(text)


def name_source(path: str | os.PathLike[str]) -> str:
    """Return what errors call the picture that an argument names."""
    return "standard input" if path == STDIN else printable(str(resolve_path(path)))


def parse_background(text: str) -> tuple[int, int, int]:
    """Return the sRGB colour, in [0, 255], that a name such as white or #808080 means.

    Raises:
      StartError: if the name means no colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise StartError(f"{text!r} is no colour; give a name such as white, or #rrggbb") from error
    return red, green, blue


def _sample(name: str) -> Path:
    names = sorted(file.stem for file in SAMPLES.glob("*.jpg"))
    if name not in names:
        raise StartError(f"unknown sample image {name!r}; there are {', '.join(names)}")
    return SAMPLES / f"{name}.jpg"


class NothingPipedError(StartError):
    """An image is to be read from standard input, which holds nothing."""


def _read_stdin(max_pixels: int) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise NothingPipedError("cannot read standard input: nothing is piped in; give an image file")
    data = _read(sys.stdin.buffer, "standard input", max_pixels)
    if not data:
        raise NothingPipedError("cannot read standard input: it is empty; it can be read for one image only")
    return data


def _read(data: BinaryIO, label: str, max_pixels: int) -> bytes:
    """Read all bytes at once, so that the picture, its hash and its metadata belong to one state of the file."""
    limit = 16 * max_pixels + _METADATA  # a pixel has at most four channels of 32 bits
    try:
        before = _state(data)
        found = data.read(limit + 1)
        after = _state(data)
    except OSError as error:
        raise explain(error, f"cannot read {label}") from error
    if len(found) > limit:
        raise StartError(f"cannot read {label}: it has more than {limit} bytes; raise the limit with --max-pixels")
    if before != after:
        raise StartError(f"cannot read {label}: it changed while it was read; try again")
    return found


def _state(data: BinaryIO) -> tuple[int, int] | None:
    """Return size and time of change of an open regular file; None if it is none."""
    try:
        status = os.fstat(data.fileno())
    except io.UnsupportedOperation:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
