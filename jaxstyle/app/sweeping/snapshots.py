"""Writes pictures of lanes on their way, such as images/lane_0000/step_000025.png."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxstyle.app.image_files.encode import encode_png, to_image
from jaxstyle.app.system.files import explain, write_atomic


def write_snapshots(folder: Path, step: int, lanes: Sequence[int], images: np.ndarray) -> None:
    """Write the images (lanes, h, w, 3) that lanes have after so many steps into their run folder.

    Raises:
      RunError: if the disk is full, or writing failed.
    """
    for lane, image in zip(lanes, images, strict=True):
        path = folder / "images" / f"lane_{lane:04d}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, f"cannot make {path}") from error
        write_atomic(path / f"step_{step:06d}.png", encode_png(to_image(image), {}))
