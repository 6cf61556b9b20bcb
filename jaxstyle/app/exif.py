"""The EXIF block of photographs: how they were held, and what may be copied to a picture made of them."""

from PIL import Image

_ORIENTATION = 0x0112
_EXIF, _GPS = 0x8769, 0x8825
# What was taken, by whom, when and with what: ImageDescription, Make, Model, DateTime, Artist, Copyright.
_COPIED = (0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x8298)
# Untrue of another picture: MakerNote (full of offsets), ColorSpace, both PixelDimensions, Interoperability.
_LEFT_OUT = (0x927C, 0xA001, 0xA002, 0xA003, 0xA005)
_MAX_BYTES = 65_000  # a JPEG holds no more


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright, which is also said of those unknown."""
    orientation = image.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def copy_exif(image: Image.Image) -> bytes | None:
    """What of a picture's EXIF block is also true of one made of it, place (GPS) included; None if there is nothing."""
    source = image.getexif()
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
