"""Pictures of every kind from their files' bytes: float32 RGB in [0, 1] of sRGB values, shape (h, w, 3)."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxstyle.app.colour import convert_back, is_srgb, lab_to_srgb, to_srgb
from jaxstyle.app.deep import DEEP_GRAY, Unusable, gray_values, low_bytes, read_float_tiff
from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.exif import copy_exif, read_orientation
from jaxstyle.app.screen import silent_stderr

MAX_PIXELS = 2**26
_MAX_DEEP = 2**24
_MAX_SCANS = 64
WHITE = (255, 255, 255)

# Pillow knows more; those need other programs (EPS starts Ghostscript), have no signature, or hold no photographs.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "GIF", "BMP", "PPM", "JPEG2000")
_SEVERAL = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # an MPO's other frames are previews

# Without a handler, its warnings of odd files would be lines on stderr.
for _name in ("PIL", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Decoded(NamedTuple):
    """A picture from a file.

    Attributes:
      image: (h, w, 3) float32 in [0, 1].
      full_shape: its height and width in the file, as a person sees it, before scaling down.
      notes: what a person should know of how it was read.
      profile: the embedded ICC profile, if sRGB values can be converted back to it.
      exif: the EXIF block of a photograph, upright and without its preview, for `encode`.
    """

    image: np.ndarray
    full_shape: tuple[int, int]
    notes: tuple[str, ...] = ()
    profile: bytes | None = None
    exif: bytes | None = None


def decode(
    data: bytes,
    label: str,
    size: int | None = None,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> Decoded:
    """Decode a picture as a person sees it.

    It is converted to sRGB by its ICC profile (to 8 bits a channel: LittleCMS through Pillow takes no more), scaled
    down by Lanczos's filter on sRGB values, put over a background and turned by its EXIF orientation. 16 bits a channel
    stay 16 up to 17 million pixels and without a profile other than sRGB's; `gray_values` says what range floats have.

    Args:
      data: the file's bytes; what they are is found in them.
      label: what errors call it.
      size: if given, longest side in pixels to scale down to; a smaller picture keeps its size.
      background: sRGB colour, in [0, 255], behind what is transparent.
      max_pixels: larger pictures are refused before they are decoded.

    Raises:
      StartError: if it is no whole picture, has pixels that aren't finite, or too many of them.
      RunError: if memory runs out.
    """
    try:
        # libtiff prints on stderr, of its own, what is said in one line afterwards.
        with _guard(max_pixels), silent_stderr() if data[:2] in (b"II", b"MM") else contextlib.nullcontext():
            return _decode(data, size, background, max_pixels)
    except Image.UnidentifiedImageError as error:
        raise StartError(f"cannot read {label}: {_name_unknown(data)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))
        raise StartError(
            f"cannot read {label}: it has {count[0] if count else 'more'} pixels, over the limit of {max_pixels}; "
            "raise it with --max-pixels"
        ) from error
    except MemoryError as error:
        raise RunError(f"cannot read {label}: there is too little memory for it") from error
    except Unusable as error:
        raise StartError(f"cannot read {label}: {error}") from error
    except OSError as error:
        raise StartError(f"cannot read {label}: the image is truncated or damaged ({_shorten(error)})") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        reason = f"the image is damaged ({_shorten(error)})"
        if "MAX_TEXT" in str(error) or "decompressed data too large" in str(error).lower():
            reason = "it holds more text than is safe to read; save it without metadata"
        raise StartError(f"cannot read {label}: {reason}") from error


@contextlib.contextmanager
def _guard(max_pixels: int) -> Iterator[None]:
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow asks for it in many places, before it takes memory
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but harmless metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open(data: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def _decode(data: bytes, size: int | None, background: tuple[int, int, int], max_pixels: int) -> Decoded:
    notes: list[str] = []
    exif = None
    try:
        with _open(data) as image:
            profile = image.info.get("icc_profile") or None
            picture = _load(image, data, profile, notes)
            turn, exif = _read_exif(image, notes)
    except Image.UnidentifiedImageError:
        found = read_float_tiff(data, max_pixels)
        if found is None:
            raise
        picture, turn, profile = found
        if profile:
            image = Image.fromarray(
                np.round(picture * 255).astype(np.uint8).squeeze(2 if picture.shape[2] == 1 else ())
            )
            picture = _use_profile(image, profile, notes)
    h, w = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
    if turn >= 5:
        h, w = w, h
    kept = profile if profile and convert_back(Image.new("RGB", (1, 1)), profile) else None
    values = _put_over(_shrink(picture, size), background)
    return Decoded(_turn(values, turn), (h, w), tuple(notes), kept, exif)


def _load(image: Image.Image, data: bytes, profile: bytes | None, notes: list[str]) -> Image.Image | np.ndarray:
    """The sRGB picture: of 8 bits an image of mode L, LA, RGB or RGBA, of more values (h, w, 1 to 4) in [0, 1]."""
    if image.format in ("JPEG", "MPO") and _count_scans(data) > _MAX_SCANS:
        raise Unusable(f"it is a JPEG of more than {_MAX_SCANS} scans, made to take long")
    if image.format in _SEVERAL and getattr(image, "is_animated", False):
        notes.append("it has several frames, of which the first is taken")
    low = _open_low(image, data, profile)
    image.load()
    if low is not None:
        return _join(image, low)
    if image.mode == "LAB":
        return lab_to_srgb(image)
    if image.mode in DEEP_GRAY:
        values = gray_values(image)
        if not profile:
            return values[..., None]
        image = Image.fromarray(np.round(values * 255).astype(np.uint8))
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "L" if image.mode == "1" else "RGB")
    if profile:
        image = _use_profile(image, profile, notes)
    return image.convert("RGB") if image.mode == "CMYK" else image


def _use_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    try:
        return to_srgb(image, profile)
    except ValueError as error:
        notes.append(f"its colour profile can't be used and is ignored ({_shorten(error)})")
        return image


def _count_scans(data: bytes) -> int:
    """How many times a JPEG's decoder goes over all pixels; each may take a few bytes only."""
    at, scans = 2, 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # data, or a marker that stands alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return scans


def _open_low(image: Image.Image, data: bytes, profile: bytes | None) -> Image.Image | None:
    """A second image of the low bytes, if `image` is one of 16 bits a colour channel that needs no conversion."""
    if image.format not in ("PNG", "TIFF") or image.mode not in ("RGB", "RGBA") or "transparency" in image.info:
        return None
    low = _open(data)
    if image.width * image.height > _MAX_DEEP or not low_bytes(low) or (profile and not is_srgb(profile)):
        return None
    low.load()
    return low


def _join(high: Image.Image, low: Image.Image) -> np.ndarray:
    """Values in [0, 1] of the two bytes of each channel."""
    values = np.asarray(high, np.float32)
    values *= 256
    values += np.asarray(low)
    values /= 65535
    return values


def _read_exif(image: Image.Image, notes: list[str]) -> tuple[int, bytes | None]:
    try:
        return read_orientation(image), copy_exif(image)
    except Exception:  # damaged in any way, it is still a picture
        notes.append("its EXIF block is damaged and is ignored")
        return 1, None


def _shrink(picture: Image.Image | np.ndarray, size: int | None) -> np.ndarray:
    """Values (h, w, 1 to 4) in [0, 1] of a picture scaled down, colours premultiplied by alpha."""
    if isinstance(picture, Image.Image):  # which premultiplies by itself meanwhile
        return _premultiply(np.asarray(_resize(picture, size), np.float32) / 255)
    values = _premultiply(picture)
    bands = (np.ascontiguousarray(values[..., i]) for i in range(values.shape[-1]))
    return np.dstack([np.asarray(_resize(Image.fromarray(band), size)) for band in bands])


def _resize(image: Image.Image, size: int | None) -> Image.Image:
    if size is None or max(image.size) <= size:
        return image
    scale = size / max(image.size)
    return image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )


def _premultiply(values: np.ndarray) -> np.ndarray:
    values = np.atleast_3d(values)
    if values.shape[-1] in (2, 4):
        values[..., :-1] *= values[..., -1:]
    return values


def _put_over(values: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Colours (h, w, 3) of values (h, w, 1 to 4), premultiplied by their alpha if they have one, over a background."""
    if values.shape[-1] in (2, 4):
        behind = np.asarray(background, np.float32) / 255
        values = values[..., :-1] + behind * (1 - values[..., -1:])
    return np.clip(values if values.shape[-1] == 3 else np.repeat(values, 3, axis=2), 0, 1)


def _turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, what was stored in one of EXIF's eight orientations."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _name_unknown(data: bytes) -> str:
    if not data:
        return "it is empty, not an image"
    if data[4:8] == b"ftyp":
        return "it is not an image that Pillow knows here (HEIC or AVIF?); save it as JPEG or PNG"
    return "it is not an image that Pillow knows"


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
