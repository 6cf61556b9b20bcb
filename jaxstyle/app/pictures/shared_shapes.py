"""Crop pictures to a few shapes, so that many pictures share one compiled program."""

from collections.abc import Sequence

import numpy as np

from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.system.screen import tell
from jaxstyle.optimise.pyramid_sizes import Shape

_CROPS = (0.02, 0.03, 0.04, 0.05)


def share_shapes(pictures: Sequence[Picture], max_buckets: int = 4) -> list[Picture]:
    """Crop pictures around their middle to the shapes of `bucket_shapes`, and tell how many lost how much."""
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
    """Choose few shapes that images can be cropped to, so that images of one shape run as one compiled program.

    An image is cropped to the shape of another one; it is never enlarged, padded or resampled. It loses at most 5 % of
    its area, and only 2, 3 or 4 % where that already leaves at most `max_buckets` shapes. Pictures of very different
    aspect ratios keep more shapes than that. Equal shapes stay as they are.

    Args:
      shapes: (h, w) of each image.
      max_buckets: how many shapes to aim at.

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
    """Map each shape to the largest chosen one that fits into it and leaves out at most the fraction `crop`, or itself.

    The choice begins with the smallest shape. For images of one longest side, no smaller choice among their shapes
    exists.
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
    """Return the middle (h, w) of an image (h', w', 3) that is at least as large."""
    top, left = ((have - want) // 2 for have, want in zip(image.shape[:2], shape, strict=True))
    return image[top : top + shape[0], left : left + shape[1]]
