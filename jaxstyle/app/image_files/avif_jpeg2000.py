"""Read from the boxes of AVIF and JPEG 2000 files what Pillow doesn't tell about colours and depth."""

from collections.abc import Iterator

from jaxstyle.app.image_files.colour_encoding import Encoding, from_code_points

_INSIDE = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}  # boxes that hold boxes, which begin after so many bytes
_KNOWN_SPACES = (12, 16, 17, 18)  # CMYK, sRGB, gray and sYCC, which Pillow converts


def read_avif_boxes(data: bytes, has_profile: bool, notes: list[str]) -> Encoding | None:
    """Return the encoding that an AVIF without a profile names by code points; a note tells what can't be used."""
    codes: set[bytes] = set()
    deep = False
    for name, content in _walk(data, 0, len(data)):
        if name == b"colr" and content[:4] == b"nclx" and len(content) >= 11:
            codes.add(content[4:8])
        deep |= name == b"av1C" and len(content) > 2 and bool(content[2] & 0x40)
    if deep:
        notes.append("it has more than 8 bits a channel, of which 8 are kept")
    if not codes or has_profile:  # a profile counts more
        return None
    (first, *others) = sorted(codes)
    encoding = None if others else from_code_points(int.from_bytes(first[:2]), int.from_bytes(first[2:]))
    if encoding is None:
        notes.append("it names colours that aren't known here, such as those of HDR; they are taken as sRGB")
    return encoding


def read_jpeg2000_boxes(data: bytes, notes: list[str]) -> bytes | None:
    """Return the ICC profile in a JPEG 2000 file; a note tells what can't be used."""
    for name, content in _walk(data, 0, len(data)):
        if name != b"colr":
            continue
        if content[:1] in b"\2\3" and len(content) > 3:
            return content[3:]
        if content[:1] == b"\1" and int.from_bytes(content[3:7]) not in _KNOWN_SPACES:
            notes.append("it names colours that aren't known here; they are taken as sRGB")
        break
    return None


def jpeg2000_bits(data: bytes) -> int:
    """Return how many bits a channel has; 8 if the file's header can't be found."""
    at = data.find(b"\xff\x4f\xff\x51")
    return (data[at + 42] & 0x7F) + 1 if 0 <= at < len(data) - 42 else 8


def _walk(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names and contents of the boxes that matter here, also of boxes in other boxes."""
    while at + 8 <= end:
        size, name, head = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        size = size or end - at
        if size < head or at + size > end:
            return
        if name in _INSIDE:
            yield from _walk(data, at + head + _INSIDE[name], at + size)
        elif name in (b"colr", b"av1C"):
            yield name, data[at + head : at + size]
        at += size
