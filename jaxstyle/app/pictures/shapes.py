"""Pairs of pictures, and the few shapes that they are cropped to so that they share compiled programs."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from jaxstyle.app.pictures.sources import Picture
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.screen import tell

PAIRINGS: tuple[str, ...] = ("all", "zip")


_CROPS = (0.02, 0.03, 0.04, 0.05)


_Content = TypeVar("_Content")


_Style = TypeVar("_Style")


Shape = tuple[int, int]


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
