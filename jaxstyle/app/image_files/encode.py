"""Encode pictures as files; the same picture and settings always give the same bytes."""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from jaxstyle.app.image_files.icc_profiles import convert_back
from jaxstyle.app.system.errors import StartError

QUALITY = 95

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}
_RELATIVE_COLORIMETRIC = b"\1"


def check_output(path: str | os.PathLike[str], *, exif: bool = False) -> str:
    """Check, before work starts, that a file of this name can be written; return its suffix, for `encode`.

    Args:
      path: the file, whose suffix says its format.
      exif: whether the file shall hold an EXIF block.

    Raises:
      StartError: if the format can't be written, or can't hold EXIF.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _KINDS:
        raise StartError(f"cannot write {os.fspath(path)}: unknown suffix {suffix!r}; valid: {', '.join(_KINDS)}")
    if exif and _KINDS[suffix] == "TIFF":
        raise StartError(f"cannot write {os.fspath(path)}: metadata is not copied to TIFF; choose .png, .jpg or .webp")
    return suffix


def encode(
    image: np.ndarray,
    suffix: str,
    *,
    text: Mapping[str, str] | None = None,
    quality: int = QUALITY,
    profile: bytes | None = None,
    exif: bytes | None = None,
) -> bytes:
    """Encode a picture.

    Without a profile, a PNG is tagged as sRGB, and the other formats stay untagged, which also means sRGB; a TIFF has
    16 bits a channel. With a profile, colours are converted to it at 8 bits a channel, also in a TIFF, and the profile
    is embedded.

    Args:
      image: float (h, w, 3), sRGB in [0, 1]; values outside are clipped.
      suffix: .png, .jpg, .jpeg, .webp, .tif or .tiff.
      text: {key: value} for a PNG's text chunks; the other formats hold none.
      quality: 1 to 100, for JPEG and WebP.
      profile: `Decoded.profile` of the content, if the output shall have its colour profile.
      exif: `Decoded.exif` of the content, if it shall be copied; not for TIFF.

    Returns:
      The file's bytes.

    Raises:
      StartError: if the suffix is unknown, a TIFF shall hold EXIF, the quality is out of range, or the picture is too
        large for its format.
    """
    kind = _KINDS[check_output(f"image{suffix}", exif=exif is not None)]
    if not 1 <= quality <= 100:
        raise StartError(f"quality must be from 1 to 100, not {quality}")
    if max(image.shape[:2]) > _LONGEST.get(kind, 2**31):
        raise StartError(f"a {suffix} holds no more than {_LONGEST[kind]} pixels a side; choose .png")
    if kind == "TIFF" and profile is None:
        return _encode_tiff(np.round(np.clip(image, 0, 1) * 65535).astype(np.uint16), None)
    pixels = to_image(image)
    if profile is not None:
        converted = convert_back(pixels, profile)
        pixels, profile = (converted, profile) if converted else (pixels, None)
    if kind == "PNG":
        return encode_png(pixels, text or {}, profile=profile, exif=exif)
    if kind == "TIFF":
        return _encode_tiff(np.asarray(pixels), profile)
    options = {"icc_profile": profile} if profile else {}
    if exif:
        options["exif"] = exif
    buffer = io.BytesIO()
    if kind == "JPEG":
        pixels.save(buffer, kind, quality=quality, subsampling=0, optimize=True, **options)
    else:
        pixels.save(buffer, kind, quality=quality, method=4, **options)
    return buffer.getvalue()


def encode_png(
    image: Image.Image, text: Mapping[str, str], *, profile: bytes | None = None, exif: bytes | None = None
) -> bytes:
    """Encode an image as a PNG with `text` as its text chunks, tagged as sRGB unless a profile is given."""
    info = PngImagePlugin.PngInfo()
    if profile is None:
        info.add(b"sRGB", _RELATIVE_COLORIMETRIC)
    for key, value in text.items():
        info.add_text(key, value)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, icc_profile=profile, exif=exif)
    return buffer.getvalue()


def to_image(array: np.ndarray) -> Image.Image:
    """Make a Pillow image of a float array (h, w, 3), which is clipped to [0, 1] and rounded to 8 bits."""
    return Image.fromarray(np.round(np.clip(array, 0, 1) * 255).astype(np.uint8))


def _encode_tiff(pixels: np.ndarray, profile: bytes | None) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        pixels,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        metadata=None,
        software="jaxstyle",
        iccprofile=profile,
    )
    return buffer.getvalue()
