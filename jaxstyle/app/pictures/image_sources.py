"""Read the pictures that a CONTENT or STYLE argument names: those of a file, a folder, or a split of TFDS."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxstyle.app.image_files.decode import MAX_PIXELS, WHITE, Decoded, decode
from jaxstyle.app.pictures.read_image import STDIN, name_source, read_bytes, resolve_path, tell_notes
from jaxstyle.app.pictures.tfds import PREFIX, open_split
from jaxstyle.app.system.errors import AppError, StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.screen import printable, tell

_MAX_PIXELS = 2**27  # in all pictures of a source: they take 1.5 GiB as float32
_MAX_NAMED = 5
_SLICE = re.compile(r"(.+)\[(-?\d*):(-?\d*)\]")
_COUNTS = re.compile(r"\d+ of its \d+")


class Picture(NamedTuple):
    """A picture to work on.

    Attributes:
      name: what tables show: the file's name, or a name such as oxford_flowers102/train#3.
      image: (h, w, 3) float32 in [0, 1].
      sha256: the sha256 of the encoded file.
      profile: the embedded ICC profile, if the output can be converted to it.
      exif: the part of a photograph's EXIF block that may be copied to the output.
      source: the argument CONTENT or STYLE that names this picture alone.
    """

    name: str
    image: np.ndarray
    sha256: str
    profile: bytes | None = None
    exif: bytes | None = None
    source: str = ""


class Source(NamedTuple):
    """The pictures of a CONTENT or STYLE argument.

    Attributes:
      pictures: one or more; a folder's are sorted by name, and a split's are in its order.
      skipped: {name: reason} for the pictures of a folder or split that can't be used.
    """

    pictures: list[Picture]
    skipped: dict[str, str]


class _Entry(NamedTuple):
    label: str  # what errors call a picture
    name: str
    source: str  # as a command takes it, whatever characters it holds
    get_bytes: Callable[[], bytes]


_Decode = Callable[[bytes, str], Decoded]
_ShowSize = Callable[[int], str]


def load_source(
    text: str,
    size: int,
    *,
    smallest: int = 1,
    option: _ShowSize = "--size {}".format,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Read the pictures that a CONTENT or STYLE argument names.

    A folder's pictures are its files, sorted by name; hidden files and folders inside are left out. FOLDER[2:8] takes a
    slice. What isn't a readable image of at least `smallest` pixels a side is skipped in a folder or split, and one
    line on stderr says so; a single such file is an error. Lines on stderr also say which pictures are smaller than
    `size`, and what else is odd about them.

    Args:
      text: a file, sample:NAME, - for standard input, a folder, or tfds:NAME[/CONFIG][:VERSION]/SPLIT (see
        `open_split`).
      size: longest side in pixels to scale down to; smaller pictures keep their size.
      smallest: shortest side in pixels that the network's layers need.
      option: the function that writes, for errors, the option that asks for a longest side of so many pixels.
      background: sRGB colour, in [0, 255], behind what is transparent.
      max_pixels: pictures with more pixels are refused.

    Raises:
      StartError: if there is no such source, none of its pictures can be used, or they don't fit in memory.
    """
    limit = max(1, _MAX_PIXELS // size**2)
    read: _Decode = partial(decode, size=size, background=background, max_pixels=max_pixels)
    if text.startswith(PREFIX):
        split = open_split(text)
        _check_count(text, len(split.names), limit, split.base, option(size))
        columns = zip(split.names, split.sources, split.images, strict=True)
        entries = (_Entry(name, name, source, lambda data=data: data) for name, source, data in columns)
        return _read_many(text, entries, read, smallest, option, size)
    folder, part = (None, slice(None)) if text == STDIN else _find_folder(text)
    if folder is None:
        label = name_source(text)
        name = "stdin" if text == STDIN else printable(resolve_path(text).name)
        picture, found = _read_picture(_Entry(label, name, text, partial(read_bytes, text, max_pixels)), read)
        if min(picture.image.shape[:2]) < smallest:
            raise StartError(_explain_small(text, found, size, smallest, option))
        tell_notes(label, found)
        _tell_small(label, [found], option, size)
        return Source([picture], {})
    try:
        files = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir())[part]
    except OSError as error:
        raise explain(error, f"cannot read {folder}") from error
    _check_count(text, len(files), limit, str(folder), option(size))
    entries = (_Entry(printable(str(p)), printable(p.name), str(p), partial(read_bytes, p, max_pixels)) for p in files)
    return _read_many(text, entries, read, smallest, option, size)


def _find_folder(text: str) -> tuple[Path | None, slice]:
    """Return the folder that FOLDER or FOLDER[2:8] names, or None, and the slice of its files."""
    path, match = Path(text), _SLICE.fullmatch(text)
    try:
        if text and path.is_dir():
            return path, slice(None)
        if match and not path.exists() and Path(match[1]).is_dir():
            return Path(match[1]), slice(*(int(bound) if bound else None for bound in match.groups()[1:]))
    except (OSError, ValueError):  # no file can have this name: reading it says so
        pass
    return None, slice(None)


def _check_count(text: str, count: int, limit: int, base: str, size: str) -> None:
    if count > limit:
        raise StartError(
            f"{text} holds {count} images, more than the {limit} of {size} that fit in memory; "
            f"take fewer, as {base}[:{limit}], or a smaller size"
        )


def _read_picture(entry: _Entry, read: _Decode) -> tuple[Picture, Decoded]:
    data = entry.get_bytes()
    found = read(data, entry.label)
    digest = hashlib.sha256(data).hexdigest()
    return Picture(entry.name, found.image, digest, found.profile, found.exif, entry.source), found


def _read_many(
    text: str, entries: Iterable[_Entry], read: _Decode, smallest: int, option: _ShowSize, size: int
) -> Source:
    pictures: list[Picture] = []
    skipped: dict[str, str] = {}
    used: list[Decoded] = []
    for entry in entries:
        try:
            picture, found = _read_picture(entry, read)
        except AppError as error:
            skipped[entry.name] = " ".join(str(error).removeprefix(f"cannot read {entry.label}: ").split())
            continue
        h, w, _ = picture.image.shape
        if min(h, w) < smallest:
            skipped[entry.name] = f"{w}x{h} pixels, fewer than the {smallest} a side that the layers need"
        else:
            pictures.append(picture)
            used.append(found._replace(image=np.empty(0)))
    named = ", ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:_MAX_NAMED])
    if len(skipped) > _MAX_NAMED:
        named += f" and {len(skipped) - _MAX_NAMED} more"
    if not pictures:
        raise StartError(f"{text} holds no image that can be used" + (f": {named}" if named else ""))
    if skipped:
        tell(f"skipped {len(skipped)} of {len(pictures) + len(skipped)} in {text}: {named}")
    _tell_notes(text, used)
    _tell_small(text, used, option, size)
    return Source(pictures, skipped)


def _tell_notes(text: str, used: Sequence[Decoded]) -> None:
    """Print one line for each note; notes that differ only in their counts share a line with the first one's counts."""
    kinds: dict[str, list[str]] = {}
    for note in (note for found in used for note in found.notes):
        kinds.setdefault(_COUNTS.sub("", note), []).append(note)
    for notes in kinds.values():
        more = " (of the first; others have other numbers)" if len(set(notes)) > 1 else ""
        tell(f"{len(notes)} of {len(used)} images in {text}: {notes[0]}{more}")


def _tell_small(text: str, used: Sequence[Decoded], option: _ShowSize, size: int) -> None:
    small = [found.full_shape for found in used if max(found.full_shape) < size]
    if small and len(used) == 1:
        tell(f"{text} has {small[0][1]}x{small[0][0]} pixels, fewer than {option(size)}: it keeps its size")
    elif small:
        tell(f"{len(small)} of {len(used)} images in {text} are smaller than {option(size)}: they keep their size")


def _explain_small(text: str, found: Decoded, size: int, smallest: int, option: _ShowSize) -> str:
    full_h, full_w = found.full_shape
    shape = found.image.shape
    if min(full_h, full_w) < smallest:
        return (
            f"{text} has {full_w}x{full_h} pixels, too few for the layers asked for: they need at least "
            f"{smallest} on each side; give a larger image"
        )
    aspect = min(full_h, full_w) / max(full_h, full_w)
    enough = next(s for s in range(smallest, max(full_h, full_w) + 1) if round(s * aspect) >= smallest)
    return (
        f"{option(size)} makes {text} {shape[1]}x{shape[0]} pixels, too few for the layers asked for: they need at "
        f"least {smallest} on each side; the smallest that works is {option(enough)}"
    )
