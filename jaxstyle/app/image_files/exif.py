"""Read from a photograph's EXIF block its orientation, its colours, and what may be copied to other pictures."""

import io
from collections.abc import Callable

from PIL import Image

from jaxstyle.app.image_files.colour_encoding import ADOBE_RGB, Encoding

_ORIENTATION = 0x0112
_EXIF, _GPS, _INTEROPERABILITY = 0x8769, 0x8825, 0xA005
_COLOUR_SPACE, _SRGB, _ADOBE, _UNCALIBRATED = 0xA001, 1, 2, 0xFFFF
# What was taken, by whom, when and with what is said by ImageDescription, Make, Model, DateTime, Artist and Copyright.
_COPIED = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
# These tags would be wrong in another picture: MakerNote (full of offsets), ColorSpace, both PixelDimensions,
# Interoperability.
_LEFT_OUT = (0x927C, _COLOUR_SPACE, 0xA002, 0xA003, _INTEROPERABILITY)
_MAX_BYTES = 65_000  # a JPEG's block holds no more


def read_exif(load: Callable[[], Image.Exif], notes: list[str]) -> tuple[int, bytes | None, Encoding | str | None]:
    """Read what a picture's EXIF block says.

    Args:
      load: the function that gives the block.
      notes: where a note is added if the block is damaged.

    Returns:
      The orientation, 1 to 8; what may be copied (see `copy_exif`); and if the colours aren't sRGB, their encoding, or
      a note if the block doesn't tell it.
    """
    try:
        exif = load()
        return read_orientation(exif), copy_exif(exif), _find_colours(exif)
    except Exception:  # however the block is damaged, the picture is still one
        notes.append("its EXIF block is damaged and is ignored")
        return 1, None, None


def encoding_or_note(said: Encoding | str | None, notes: list[str]) -> Encoding | None:
    """Return the encoding that `read_exif` found; if it found a note instead, add that to the notes and return None."""
    if isinstance(said, str):
        notes.append(said)
        return None
    return said


def load_tiff_exif(data: bytes) -> Image.Exif:
    """Load the tags of a TIFF as an EXIF block, which stays empty for a BigTIFF."""
    exif = Image.Exif()
    if 43 not in data[2:4]:
        exif.load_from_fp(io.BytesIO(data))
    return exif


def read_orientation(exif: Image.Exif) -> int:
    """Return the EXIF orientation, 1 to 8. An unknown one counts as 1, which is upright."""
    orientation = exif.get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def copy_exif(source: Image.Exif) -> bytes | None:
    """Copy what stays true for a picture made from this one, the place (GPS) included; None if nothing does."""
    copied = Image.Exif()
    for tag in _COPIED:
        if tag in source:
            copied[tag] = source[tag]
    for tag in (_EXIF, _GPS):
        block = {key: value for key, value in source.get_ifd(tag).items() if key not in _LEFT_OUT}
        if block:
            copied[tag] = block
    data = copied.tobytes() if len(copied) else b""
    return data if 0 < len(data) <= _MAX_BYTES else None


def _find_colours(exif: Image.Exif) -> Encoding | str | None:
    """Return Adobe RGB if the block says so, by "uncalibrated" with the index R03 (DCF 2.0) or by 2; or a note."""
    space = exif.get_ifd(_EXIF).get(_COLOUR_SPACE, _SRGB)
    if space == _ADOBE or (space == _UNCALIBRATED and _interoperability(exif) == "R03"):
        return ADOBE_RGB
    if space == _SRGB:
        return None
    return "its EXIF block says that its colours aren't sRGB, but not what they are; they are taken as sRGB"


def _interoperability(exif: Image.Exif) -> str:
    try:
        return str(exif.get_ifd(_INTEROPERABILITY).get(1, "")).strip("\0 ")
    except KeyError:  # older Pillows raise it if there is no such block
        return ""
