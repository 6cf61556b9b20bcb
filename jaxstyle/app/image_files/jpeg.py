"""Refuse JPEGs before they are decoded, if Pillow can't read them or they were made to take long."""

from jaxstyle.app.image_files.pixel_values import Unusable

_MAX_SCANS = 64
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, without DHT, JPG and DAC
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)


def check_jpeg(data: bytes) -> None:
    """Raise Unusable if a JPEG hasn't 8 bits a channel, is lossless, or has too many scans.

    A decoder goes over all pixels in each scan, and a scan may take a few bytes only.
    """
    at, scans = 2, 0
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # these are data, or a marker that stands alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        if not scans and marker in _FRAMES and (data[at + 4 : at + 5] not in (b"", b"\x08") or marker in _LOSSLESS):
            raise Unusable("it is a JPEG of more than 8 bits a channel, or a lossless one; save it as PNG or TIFF")
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    if scans > _MAX_SCANS:
        raise Unusable(f"it is a JPEG of more than {_MAX_SCANS} scans, made to take long")
