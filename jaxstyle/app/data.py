"""What CONTENT and STYLE name: a file, a folder, a split of TFDS; pairs of them, and the few shapes they share."""

import hashlib
import io
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from jaxstyle.app.errors import AppError, StartError
from jaxstyle.app.files import explain
from jaxstyle.app.images import decode_image, open_file, read_image, resolve_path
from jaxstyle.app.screen import tell
from jaxstyle.app.tfds import PREFIX, open_split

PAIRINGS: tuple[str, ...] = ("all", "zip")

_MAX_PIXELS = 2**27  # of a source's pictures together: 1.5 GiB as float32
_MAX_NAMED = 5
_SLICE = re.compile(r"(.+)\[(-?\d*):(-?\d*)\]")
_CROPS = (0.02, 0.03, 0.04, 0.05)

_Content = TypeVar("_Content")
_Style = TypeVar("_Style")
Shape = tuple[int, int]


class Picture(NamedTuple):
    """A picture to work on.

    Attributes:
      name: what tables show: the file's name, or as oxford_flowers102/train#3.
      image: (h, w, 3) float32 in [0, 1].
      sha256: of the encoded file.
    """

    name: str
    image: np.ndarray
    sha256: str


class Source(NamedTuple):
    """The pictures of a CONTENT or STYLE argument.

    Attributes:
      pictures: one or more, of a folder sorted by name, of a split in its order.
      skipped: {name: reason} of those in a folder or split that can't be used.
    """

    pictures: list[Picture]
    skipped: dict[str, str]


# What errors call it, what tables call it, and how to open it.
_Entry = tuple[str, str, Callable[[], io.BufferedReader | io.BytesIO]]


def load_source(text: str, size: int, *, smallest: int = 1, option: str = "--size") -> Source:
    """Read the pictures that a CONTENT or STYLE argument names.

    A folder's pictures are its files, sorted by name, without hidden ones and those in folders inside; FOLDER[2:8]
    takes a slice. Of a folder or a split, what isn't a readable image of at least `smallest` pixels a side is
    skipped, which one line on stderr says. A single file like that is an error.

    Args:
      text: a file, sample:NAME, a folder, or tfds:NAME[/CONFIG][:VERSION]/SPLIT (see `open_split`).
      size: longest side in pixels to scale down to; smaller pictures keep their size.
      smallest: shortest side in pixels that the network's layers need.
      option: the option that set `size`, for errors.

    Raises:
      StartError: if there is no such source, no picture in it can be used, or it holds more than fit in memory.
    """
    limit = max(1, _MAX_PIXELS // size**2)
    if text.startswith(PREFIX):
        names, images, base = open_split(text)
        _check_count(text, len(names), limit, base, f"{option} {size}")
        entries = ((name, name, partial(io.BytesIO, data)) for name, data in zip(names, images, strict=True))
        return _read_many(text, entries, size, smallest)
    folder, part = _find_folder(text)
    if folder is None:
        file = resolve_path(text)
        picture = _read_picture((str(file), _printable(file.name), partial(open_file, file)), size)
        if min(picture.image.shape[:2]) < smallest:
            raise StartError(_explain_small(text, picture.image.shape, size, smallest, option))
        return Source([picture], {})
    try:
        files = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir())[part]
    except OSError as error:
        raise explain(error, f"cannot read {folder}") from error
    _check_count(text, len(files), limit, str(folder), f"{option} {size}")
    entries = ((str(p), _printable(p.name), lambda p=p: open_file(resolve_path(p))) for p in files)
    return _read_many(text, entries, size, smallest)


def _find_folder(text: str) -> tuple[Path | None, slice]:
    """The folder that FOLDER or FOLDER[2:8] names, if it does, and the slice of its files."""
    path, match = Path(text), _SLICE.fullmatch(text)
    try:
        if text and path.is_dir():
            return path, slice(None)
        if match and not path.exists() and Path(match[1]).is_dir():
            return Path(match[1]), slice(*(int(bound) if bound else None for bound in match.groups()[1:]))
    except (OSError, ValueError):  # no name that a file can have: reading it as one says so
        pass
    return None, slice(None)


def _check_count(text: str, count: int, limit: int, base: str, size: str) -> None:
    if count > limit:
        raise StartError(
            f"{text} holds {count} images, more than the {limit} of {size} that fit in memory; "
            f"take fewer, as {base}[:{limit}], or a smaller size"
        )


def _read_picture(entry: _Entry, size: int) -> Picture:
    label, name, open_entry = entry
    with open_entry() as data:
        image = decode_image(data, label, size)
        data.seek(0)
        return Picture(name, image, hashlib.file_digest(data, "sha256").hexdigest())


def _read_many(text: str, entries: Iterable[_Entry], size: int, smallest: int) -> Source:
    pictures: list[Picture] = []
    skipped: dict[str, str] = {}
    for entry in entries:
        label, name, _ = entry
        try:
            picture = _read_picture(entry, size)
        except AppError as error:
            skipped[name] = " ".join(str(error).removeprefix(f"cannot read {label}: ").split())
            continue
        h, w, _ = picture.image.shape
        if min(h, w) < smallest:
            skipped[name] = f"{w}x{h} pixels, fewer than the {smallest} a side that the layers need"
        else:
            pictures.append(picture)
    named = ", ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:_MAX_NAMED])
    if len(skipped) > _MAX_NAMED:
        named += f" and {len(skipped) - _MAX_NAMED} more"
    if not pictures:
        raise StartError(f"{text} holds no image that can be used" + (f": {named}" if named else ""))
    if skipped:
        tell(f"skipped {len(skipped)} of {len(pictures) + len(skipped)} in {text}: {named}")
    return Source(pictures, skipped)


def _explain_small(text: str, shape: Sequence[int], size: int, smallest: int, option: str) -> str:
    full_h, full_w, _ = read_image(text).shape
    if min(full_h, full_w) < smallest:
        return (
            f"{text} has {full_w}x{full_h} pixels, too few for the layers asked for: they need at least "
            f"{smallest} on each side; give a larger image"
        )
    aspect = min(full_h, full_w) / max(full_h, full_w)
    enough = next(s for s in range(smallest, max(full_h, full_w) + 1) if round(s * aspect) >= smallest)
    return (
        f"{option} {size} makes {text} {shape[1]}x{shape[0]} pixels, too few for the layers asked for: they need at "
        f"least {smallest} on each side; the smallest that works is {option} {enough}"
    )


def _printable(name: str) -> str:
    """A file's name without line ends and bytes that no table can hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def make_pairs(contents: Sequence[_Content], styles: Sequence[_Style], mode: str) -> list[tuple[_Content, _Style]]:
    """Pair contents with styles.

    Args:
      contents: pictures, or their numbers, or anything else.
      styles: the same.
      mode: "all" for every content with every style, content by content; "zip" for the first with the first and so on,
        where a single one on either side goes with all of the other.

    Raises:
      StartError: for another mode, and in "zip" for numbers that differ.
    """
    if mode not in PAIRINGS:
        raise StartError(f"unknown pairing {mode!r}; valid: {', '.join(PAIRINGS)}")
    if mode == "all" or 1 in (len(contents), len(styles)):
        return [(content, style) for content in contents for style in styles]
    if len(contents) != len(styles):
        raise StartError(f"to pair one by one, there are {len(contents)} content but {len(styles)} style images")
    return list(zip(contents, styles, strict=True))


def share_shapes(pictures: Sequence[Picture], max_buckets: int = 4) -> list[Picture]:
    """Crop pictures as `bucket_shapes` says, around their middle, and tell how many were and by how much."""
    shapes = [(picture.image.shape[0], picture.image.shape[1]) for picture in pictures]
    buckets = bucket_shapes(shapes, max_buckets)
    lost = [1 - bh * bw / (h * w) for (h, w), (bh, bw) in zip(shapes, buckets, strict=True)]
    if any(lost):
        tell(
            f"cropped {sum(map(bool, lost))} of {len(pictures)} images, by {max(lost):.1%} at most, "
            f"so that they share {len(set(buckets))} shapes"
        )
    return [p._replace(image=crop_center(p.image, bucket)) for p, bucket in zip(pictures, buckets, strict=True)]


def bucket_shapes(shapes: Sequence[Shape], max_buckets: int = 4) -> list[Shape]:
    """Choose few shapes that images can be cropped to, so that those of one shape run as one compiled program.

    An image is cropped to the shape of another one, never enlarged, padded or resampled, and loses at most 5 % of its
    area; less (2, 3 or 4 %) where that leaves at most `max_buckets`. Pictures of very different aspects stay more.
    Equal shapes stay as they are.

    Args:
      shapes: (h, w) of each image.
      max_buckets: how many to aim at.

    Returns:
      For each image, the (h, w) to crop it to.
    """
    buckets: dict[Shape, Shape] = {}
    for crop in _CROPS:
        buckets = _cover(shapes, crop)
        if len(set(buckets.values())) <= max_buckets:
            break
    return [buckets[shape] for shape in shapes]


def _cover(shapes: Sequence[Shape], crop: float) -> dict[Shape, Shape]:
    """For each shape, the largest chosen one that fits into it and leaves out at most the fraction `crop`, or itself.

    From the smallest on: for images of one longest side, no choice of shapes among theirs is fewer.
    """
    chosen: list[Shape] = []
    buckets: dict[Shape, Shape] = {}
    for h, w in sorted(set(shapes), key=lambda shape: (shape[0] * shape[1], shape)):
        fits = [(ch, cw) for ch, cw in chosen if ch <= h and cw <= w and ch * cw >= (1 - crop) * h * w]
        if not fits:
            chosen.append((h, w))
        buckets[h, w] = max(fits, key=lambda shape: shape[0] * shape[1], default=(h, w))
    return buckets


def crop_center(image: np.ndarray, shape: Shape) -> np.ndarray:
    """The middle (h, w) of an image (h', w', 3) that is at least as large."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[:2], shape, strict=True))
    return image[top : top + shape[0], left : left + shape[1]]
