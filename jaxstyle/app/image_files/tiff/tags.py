"""Read the tags of a TIFF's first picture, and the layout of its samples that they describe."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.image_files.pixel_values import Unusable
from jaxstyle.app.image_files.tiff.samples import FLOATING, HORIZONTAL, NONE, Layout

SAVE = "save it as RGB of 8 or 16 bits a channel"

_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # SampleFormat; 4 is undefined
_DEPTHS: dict[str, tuple[int, ...]] = {"u": (*range(1, 17), 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
_RATIONAL = (5, 10)  # types of tags whose numerators and denominators tifffile gives in turn


class Tags(NamedTuple):
    """The values of a picture's tags.

    Attributes:
      values: {number of the tag: a number, a tuple of numbers, or bytes}.
      order: the order of bytes: < or >.
      several: whether another picture follows.
    """

    values: dict[int, Any]
    order: str
    several: bool

    def one(self, tag: int, default: int) -> int:
        """Return a tag's first number, or `default`."""
        value = self.many(tag)
        return int(value[0]) if value else default

    def many(self, tag: int, default: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return all numbers of a tag, or `default`."""
        value = self.values.get(tag, default)
        return tuple(value) if isinstance(value, tuple | list) else (value,)


def read_tags(data: bytes) -> Tags:
    """Read the tags of the first picture.

    Raises:
      Unusable: if the tags are damaged.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages.first
            values = {int(tag.code): _plain(tag) for tag in reversed(list(page.tags))}  # the first of equal tags counts
            return Tags(values, file.byteorder, _has_second(file.pages))
    except MemoryError:
        raise
    except tifffile.TiffFileError as error:
        reason = " ".join(str(error).split())[:160]
        raise Unusable(f"the TIFF is damaged ({reason})") from error
    except Exception as error:  # damaged tags raise errors of any kind
        raise Unusable("the TIFF is truncated or damaged: its tags can't be read") from error


def _has_second(pages: Any) -> bool:
    try:
        return bool(pages[1])
    except IndexError:
        return False


def _plain(tag: Any) -> Any:
    value = tag.value
    if isinstance(value, np.ndarray):
        return tuple(value.reshape(-1).tolist())
    if int(tag.dtype) in _RATIONAL and isinstance(value, tuple):
        return tuple(a / b if b else float("nan") for a, b in zip(value[::2], value[1::2], strict=False))
    if isinstance(value, tuple):
        return tuple(int(v) if isinstance(v, int) else v for v in value)  # no members of enumerations
    return int(value) if isinstance(value, int) else value


def find_layout(tags: Tags, size: tuple[int, int]) -> Layout:
    """Return how the samples of a picture (h, w) lie in the file.

    Raises:
      Unusable: if the samples are of a rare kind, or the file has no place for them.
    """
    h, w = size
    samples, bits, formats = tags.one(277, 1), set(tags.many(258, (1,))), set(tags.many(339, (1,)))
    kind = _KINDS.get(min(formats), "") if len(formats) == 1 else ""
    if len(bits) != 1 or min(bits) not in _DEPTHS.get(kind, ()) or not 1 <= samples <= 65535:
        raise Unusable(f"it is a TIFF of rare numbers (bits {sorted(bits)}, format {sorted(formats)}); {SAVE}")
    (depth,), compression = bits, tags.one(259, 1)
    predictor = 1 if compression == NONE else tags.one(317, 1)
    good = {1: True, HORIZONTAL: depth in (8, 16, 32, 64), FLOATING: kind == "f"}
    if not good.get(predictor):
        raise Unusable(f"it is a TIFF of a rare predictor ({predictor}); {SAVE}")
    tiled = 322 in tags.values
    part = (tags.one(323, 0), tags.one(322, 0)) if tiled else (min(h, tags.one(278, h)), w)
    if min(part) < 1:
        raise Unusable("the TIFF is damaged: its strips or tiles have no pixels")
    return Layout(
        shape=(h, w, samples),
        part=part,
        tiled=tiled,
        separate=tags.one(284, 1) == 2 and samples > 1,
        bits=depth,
        kind=kind,
        order=tags.order,
        reversed_bits=tags.one(266, 1) == 2,
        compression=compression,
        predictor=predictor,
        offsets=tags.many(324) or tags.many(273),
        counts=tags.many(325) or tags.many(279),
    )
