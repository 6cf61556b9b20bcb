"""Finds the pictures of a run for its report, and makes small ones that the page holds in itself."""

import base64
import io
import math
from collections.abc import Callable
from urllib.parse import quote

from PIL import Image

from jaxstyle.app.run_folder.stored_run import StoredRun

_THUMBNAILS = ((100, 320), (300, 224), (math.inf, 160))  # (most lanes, longest side in pixels)

Show = Callable[[str, int], tuple[str | None, str | None]]
"""Takes a path in the run folder and a size in pixels; returns the address of that picture and a small one as data, or
None where there is none."""


def longest_side(count: int) -> int:
    """Return the longest side, in pixels, of small pictures on a page that holds so many."""
    return next(side for most, side in _THUMBNAILS if count <= most)


def stored_picture(run: StoredRun, name: str, side: int) -> tuple[str | None, str | None]:
    """Find a picture that the run folder holds, as `Show` says."""
    picture = run.picture(name)
    if picture is None:
        return None, None
    buffer = io.BytesIO()
    try:
        with Image.open(run.folder / picture) as image:
            image = image.convert("RGB")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            image.save(buffer, "WEBP", quality=82, method=2)
    except (OSError, ValueError, Image.DecompressionBombError):
        return quote(picture), None
    return quote(picture), data_address("webp", buffer.getvalue())


def data_address(kind: str, data: bytes) -> str:
    """Return the address that holds an image in itself."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
