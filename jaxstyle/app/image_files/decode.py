"""Decode image files of every kind to float32 sRGB values in [0, 1], shape (h, w, 3)."""

import contextlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from jaxstyle.app.image_files.avif_jpeg2000 import jpeg2000_bits, read_avif_boxes, read_jpeg2000_boxes
from jaxstyle.app.image_files.colour_encoding import encode_srgb, is_plain
from jaxstyle.app.image_files.exif import encoding_or_note, read_exif
from jaxstyle.app.image_files.icc_profiles import convert_back, is_srgb, to_srgb
from jaxstyle.app.image_files.jpeg import check_jpeg
from jaxstyle.app.image_files.pixel_values import NO_INKS, SEVERAL, Stored, Unusable, as_floats, to_eight_bits, to_image
from jaxstyle.app.image_files.png import read_png
from jaxstyle.app.image_files.pnm import is_pnm, read_pnm
from jaxstyle.app.image_files.tiff.reader import MAGIC, read_tiff
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.screen import silent_stderr
from jaxstyle.common.file_kinds import recognise

MAX_PIXELS = 2**26
WHITE = (255, 255, 255)

# Pillow knows more formats, but those need other programs (EPS starts Ghostscript), have no signature, or hold no
# photographs. `read_tiff` reads TIFF, and `read_pnm` reads some kinds of PPM.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "BMP", "PPM", "JPEG2000")
_GRAY_16_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_LOCK = threading.RLock()  # Pillow's limit, the filters of warnings and stderr belong to the whole process
_SEVERAL = ("GIF", "PNG", "WEBP", "AVIF")  # the other frames of an MPO are previews

# Without a handler, warnings about odd files would become lines on stderr.
for _name in ("PIL", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes:
      image: (h, w, 3) float32 in [0, 1].
      full_shape: height and width as a person sees the picture, before it is scaled down.
      notes: what a person should know about how the file was read.
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

    The picture is converted to sRGB by its ICC profile, or by what else the file says about its colours. A profile
    reduces it to 8 bits a channel, since LittleCMS through Pillow takes no more. Then it is scaled down by Lanczos's
    filter on sRGB values, put over a background, and turned by its EXIF orientation. 16 bits a channel stay 16 bits in
    pictures of up to 17 million pixels that have no profile but sRGB's. `to_unit_range` says which range floats have.
    A note tells what was guessed or ignored.

    Args:
      data: the file's bytes, which tell the format.
      label: what errors call the picture.
      size: if given, longest side in pixels to scale down to; a smaller picture keeps its size.
      background: sRGB colour, in [0, 255], behind what is transparent.
      max_pixels: larger pictures are refused before they are decoded.

    Raises:
      StartError: if the data isn't a whole picture, or has pixels that aren't finite, or too many pixels.
      RunError: if memory runs out.
    """
    try:
        # libtiff prints on stderr by itself, and one line says the same afterwards.
        with _LOCK, _guard(max_pixels), silent_stderr() if data[:2] in (b"II", b"MM") else contextlib.nullcontext():
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
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow checks it in many places, before it takes memory
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about odd but harmless metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _open(data: bytes) -> Image.Image:
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def _decode(data: bytes, size: int | None, background: tuple[int, int, int], max_pixels: int) -> Decoded:
    notes: list[str] = []
    if data[:4] in MAGIC:
        stored = read_tiff(data, max_pixels, notes)
    elif is_pnm(data):
        stored = read_pnm(data, max_pixels, notes)
    else:
        stored = _read_by_pillow(data, notes)
    picture, premultiplied = _to_srgb(stored, notes)
    h, w = picture.shape[:2] if isinstance(picture, np.ndarray) else (picture.height, picture.width)
    if stored.turn >= 5:
        h, w = w, h
    profile = stored.profile
    kept = profile if profile and convert_back(Image.new("RGB", (1, 1)), profile) else None
    values = _put_over(_shrink(picture, size, premultiplied), background, notes)
    return Decoded(_turn(values, stored.turn), (h, w), tuple(notes), kept, stored.exif)


def _read_by_pillow(data: bytes, notes: list[str]) -> Stored:
    if data[:2] == b"\xff\xd8":
        check_jpeg(data)
    with _open(data) as image:
        if image.format in _SEVERAL and getattr(image, "is_animated", False):
            notes.append(SEVERAL)
        if image.format == "PNG":
            stored = read_png(data, image, _open, notes)
        else:
            stored = Stored(_load(image, data, notes), image.info.get("icc_profile") or None)
        if image.format == "AVIF":
            stored = stored._replace(encoding=read_avif_boxes(data, bool(stored.profile), notes))
        elif image.format == "JPEG2000":
            stored = stored._replace(profile=stored.profile or read_jpeg2000_boxes(data, notes))
        turn, exif, said = read_exif(image.getexif, notes)
    if not stored.profile and not stored.encoding:  # both count more than EXIF
        stored = stored._replace(encoding=encoding_or_note(said, notes))
    return stored._replace(turn=turn, exif=exif)


def _load(image: Image.Image, data: bytes, notes: list[str]) -> Image.Image | np.ndarray:
    """Load an image of mode L, LA, RGB, RGBA or CMYK, or gray values (h, w, 1) in [0, 1] if it has more than 8 bits."""
    image.load()
    if image.format == "JPEG2000" and jpeg2000_bits(data) > 8 and image.mode not in _GRAY_16_BITS:
        notes.append("it has more than 8 bits a channel, of which 8 are kept")
    if image.mode in _GRAY_16_BITS:
        return np.asarray(image, np.float32)[..., None] / np.float32(65535)
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow takes all CMYK for Adobe's, which is inverted
    if image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK") or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "L" if image.mode == "1" else "RGB")
    return image


def _to_srgb(stored: Stored, notes: list[str]) -> tuple[Image.Image | np.ndarray, bool]:
    """Return the picture in sRGB, as values or an image of mode L, LA, RGB or RGBA, and whether it is premultiplied."""
    picture, profile, encoding = stored.picture, stored.profile, stored.encoding
    if encoding and is_plain(encoding):
        encoding = None
    if profile and isinstance(picture, np.ndarray) and is_srgb(profile):
        profile = None
    premultiplied = stored.premultiplied
    if premultiplied:
        picture = as_floats(_values(picture))
    if premultiplied and (profile or encoding):
        picture, premultiplied = _divide(_values(picture)), False
    if profile:
        image = picture if isinstance(picture, Image.Image) else to_image(to_eight_bits(picture))
        image, used = _use_profile(image, profile, notes)
        picture = image if used else picture
    if isinstance(picture, Image.Image) and picture.mode == "CMYK":
        notes.append(NO_INKS)
        return picture.convert("RGB"), False
    if encoding:
        values = encode_srgb(_values(picture), encoding)
        picture = to_image(values) if values.dtype == np.uint8 else values
    return picture, premultiplied


def _values(picture: Image.Image | np.ndarray) -> np.ndarray:
    return np.atleast_3d(np.asarray(picture))


def _use_profile(image: Image.Image, profile: bytes, notes: list[str]) -> tuple[Image.Image, bool]:
    """Return the picture in sRGB, and whether the profile could be used."""
    try:
        return to_srgb(image, profile), True
    except ValueError as error:
        notes.append(f"its colour profile can't be used and is ignored ({_shorten(error)})")
        return image, False


def _divide(values: np.ndarray) -> np.ndarray:
    """Divide premultiplied colours by their alpha."""
    alpha = values[..., -1:]
    colours = np.divide(values[..., :-1], alpha, out=np.zeros_like(values[..., :-1]), where=alpha > 0)
    return np.concatenate([np.minimum(colours, 1), alpha], -1)


def _shrink(picture: Image.Image | np.ndarray, size: int | None, premultiplied: bool) -> np.ndarray:
    """Scale a picture down; return values (h, w, 1 to 4) in [0, 1], with colours premultiplied by alpha."""
    if isinstance(picture, Image.Image):  # Pillow premultiplies by itself while it resizes
        return _premultiply(np.asarray(_resize(picture, size), np.float32) / 255)
    values = picture if premultiplied else _premultiply(picture)
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


def _put_over(values: np.ndarray, background: tuple[int, int, int], notes: list[str]) -> np.ndarray:
    """Put values (h, w, 1 to 4), premultiplied if they have alpha, over a background; return colours (h, w, 3)."""
    if values.shape[-1] in (2, 4):
        if not values[..., -1].any():
            notes.append("it is transparent everywhere, so that only the background is seen")
        behind = np.asarray(background, np.float32) / 255
        values = values[..., :-1] + behind * (1 - values[..., -1:])
    return np.clip(values if values.shape[-1] == 3 else np.repeat(values, 3, axis=2), 0, 1)


def _turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn upright what was stored in one of EXIF's eight orientations."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _name_unknown(data: bytes) -> str:
    kind = recognise(data)
    if kind is None or kind.image:
        return "it is not an image that Pillow knows"
    if not data:
        return "it is empty, not an image"
    return str(kind) if kind.advice else f"it is not an image, but {kind.name}"


def _shorten(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:160]}..."
