"""Reading and writing pictures with Pillow; arrays are float32 RGB in [0, 1], shape (h, w, 3)."""

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from jaxstyle.app.errors import StartError
from jaxstyle.app.files import explain

SAMPLES = Path(__file__).parent.parent / "samples"
SAMPLE_PREFIX = "sample:"

_DEEP_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")


def read_image(path: str | os.PathLike[str], size: int | None = None) -> np.ndarray:
    """Read a picture as a person sees it: turned by its EXIF orientation, transparency over white.

    Args:
      path: a file that Pillow can read, or sample:NAME for one of the package's sample images.
      size: if given, longest side in pixels to scale down to (Lanczos, on sRGB values); a smaller picture
        keeps its size.

    Returns:
      float32 RGB in [0, 1], shape (h, w, 3).

    Raises:
      StartError: for a file that isn't there or isn't a whole picture of a size that Pillow deems safe.
    """
    file = resolve_path(path)
    with open_file(file) as data:
        return decode_image(data, str(file), size)


def open_file(file: Path) -> io.BufferedReader:
    """Open a file to read.

    Raises:
      AppError: if it can't be opened.
    """
    try:
        return file.open("rb")
    except OSError as error:
        raise explain(error, f"cannot read {file}") from error


def decode_image(data: BinaryIO, label: str, size: int | None = None) -> np.ndarray:
    """Like `read_image`, of an open file or of bytes in memory; errors call it `label`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but harmless metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(data) as image:
                array = _to_array(_shrink(_to_rgb_or_float(ImageOps.exif_transpose(image)), size))
    except Image.UnidentifiedImageError as error:
        raise StartError(f"cannot read {label}: it is not an image that Pillow knows") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise StartError(f"cannot read {label}: it has more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except OSError as error:
        if error.errno is not None:
            raise explain(error, f"cannot read {label}") from error
        raise StartError(f"cannot read {label}: the image is truncated or damaged ({error})") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise StartError(f"cannot read {label}: the image is damaged ({error})") from error
    if not np.isfinite(array).all():
        raise StartError(f"cannot read {label}: it has pixels that are not finite")
    return array


def resolve_path(path: str | os.PathLike[str]) -> Path:
    """The file that a CONTENT or STYLE argument names.

    Raises:
      StartError: unless it names a regular file.
    """
    text = os.fspath(path)
    if text.startswith(SAMPLE_PREFIX):
        return _sample(text.removeprefix(SAMPLE_PREFIX))
    if not text:
        raise StartError("an empty name is no image; give an image file")
    file = Path(text)
    try:
        if file.is_dir():
            raise StartError(f"cannot read {file}: it is a folder; give an image file")
        if not file.exists():
            raise StartError(f"cannot read {file}: no such file")
        if not file.is_file():
            raise StartError(f"cannot read {file}: it is not a regular file")
    except (OSError, ValueError) as error:  # a name too long, a NUL in it
        raise StartError(f"cannot read {text!r}: {error}") from error
    return file


def _sample(name: str) -> Path:
    names = sorted(file.stem for file in SAMPLES.glob("*.jpg"))
    if name not in names:
        raise StartError(f"unknown sample image {name!r}; there are {', '.join(names)}")
    return SAMPLES / f"{name}.jpg"


def _to_rgb_or_float(image: Image.Image) -> Image.Image:
    """An RGB image, or one float channel in [0, 255] for gray images of more than 8 bits."""
    if image.mode in _DEEP_GRAY:
        values = np.asarray(image, np.float32)
        # Pillow keeps no bit depth: 16 bits unless it is float, in [0, 1] or [0, 255] by custom.
        scale = 1 / 257 if image.mode != "F" else 255 if values.max() <= 1 else 1
        return Image.fromarray(np.clip(values * np.float32(scale), 0, 255))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _shrink(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or max(image.size) <= size:
        return image
    scale = size / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )


def _to_array(image: Image.Image) -> np.ndarray:
    array = np.clip(np.asarray(image, np.float32) / 255, 0, 1)
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def to_image(array: np.ndarray) -> Image.Image:
    """Pillow image of a float array (h, w, 3), clipped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(np.round(np.clip(array, 0, 1) * 255).astype(np.uint8))


def encode_png(image: Image.Image, text: Mapping[str, str]) -> bytes:
    """PNG file of an image, with `text` as its text chunks: equal input gives equal bytes."""
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
