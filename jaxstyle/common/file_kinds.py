"""Recognise a file by its first bytes, and a URL that was given as a file's name, so that errors can say what they are.

This is plain Python, and imports no jax.
"""

import codecs
import re
from typing import NamedTuple

HEAD_BYTES = 512
"""The number of first bytes that tell what a file is."""

HDF5_START = b"\x89HDF\r\n\x1a\n"

TORCH_LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a file that torch.save wrote before torch 1.6."""


class FileKind(NamedTuple):
    """What a file is.

    Attributes:
      name: the kind with its article, such as "a web page".
      advice: what to do about it, whatever the file was wanted for; "" if that depends on the purpose.
      weights: whether it may hold weights, which `jaxstyle weights port` reads.
      image: whether it is an image that jaxstyle reads.
    """

    name: str
    advice: str = ""
    weights: bool = False
    image: bool = False

    def __str__(self) -> str:
        return f"it is {self.name}{'; ' * bool(self.advice)}{self.advice}"


_LFS = FileKind("a Git LFS pointer, which stands for a file", "git lfs pull brings the file itself")
_ANNEX = FileKind("a git-annex pointer, which stands for a file", "git annex get brings the file itself")
_PAGE = FileKind("a web page", "the download went wrong: download the file itself")
_OFFICE = FileKind("a document of Excel or Word", "save what it holds as CSV, or as PNG")
_STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"version https://git-lfs.github.com/", _LFS),
    (b"version https://hawser.github.com/", _LFS),
    (b"/annex/objects/", _ANNEX),
    (TORCH_LEGACY_START, FileKind("a file of torch.save", weights=True)),
    (b"\x80\x02", FileKind("a pickle of Python", weights=True)),
    (b"\x80\x03", FileKind("a pickle of Python", weights=True)),
    (b"\x80\x04", FileKind("a pickle of Python", weights=True)),
    (b"\x80\x05", FileKind("a pickle of Python", weights=True)),
    (HDF5_START, FileKind("an HDF5 file, as Keras writes", weights=True)),
    (b"MATLAB 5.0", FileKind("a MATLAB file", weights=True)),
    (b"MATLAB 7.3", FileKind("a MATLAB 7.3 file", "save it with save -v7", weights=True)),
    (b"\x93NUMPY", FileKind("an .npy file of NumPy")),
    (b"\xff\xd8\xff", FileKind("a JPEG image", image=True)),
    (b"\x89PNG\r\n\x1a\n", FileKind("a PNG image", image=True)),
    (b"GIF8", FileKind("a GIF image", image=True)),
    (b"II*\0", FileKind("a TIFF image", image=True)),
    (b"MM\0*", FileKind("a TIFF image", image=True)),
    (b"8BPS", FileKind("a Photoshop file", "save it as PNG")),
    (b"\xff\x0a", FileKind("a JPEG XL image", "save it as PNG")),
    (b"\0\0\0\x0cJXL ", FileKind("a JPEG XL image", "save it as PNG")),
    (b"\x76\x2f\x31\x01", FileKind("an OpenEXR image", "save it as PNG")),
    (b"%PDF-", FileKind("a PDF document", "save the picture in it as PNG")),
    (b"%!PS", FileKind("a PostScript document", "save it as PNG")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _OFFICE),
    (b"\x1f\x8b", FileKind("a gzip archive", "unpack it")),
    (b"BZh", FileKind("a bzip2 archive", "unpack it")),
    (b"\xfd7zXZ\0", FileKind("an xz archive", "unpack it")),
    (b"\x28\xb5\x2f\xfd", FileKind("a Zstandard archive", "unpack it")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", "unpack it")),
    (b"Rar!\x1a\x07", FileKind("a RAR archive", "unpack it")),
)
_MARKUP = re.compile(rb"<(!doctype html|html|head|body|title|!--|script|svg|\?xml)", re.IGNORECASE)
_TEXTS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def recognise(head: bytes) -> FileKind | None:
    """Recognise what a file is by its first bytes.

    Args:
      head: the first `HEAD_BYTES` or more bytes; all bytes if the file has fewer.

    Returns:
      The kind; None if it is unknown.
    """
    if not head:
        return FileKind("empty")
    kind = next((kind for start, kind in _STARTS if head.startswith(start)), None)
    if kind is not None:
        return kind
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(head)
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return FileKind("a BMP image", image=True)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return FileKind("a WebP image", image=True)
    if head[4:8] == b"ftyp":
        return FileKind("an image or a video in an MP4 container (HEIC or AVIF?)", "save it as JPEG or PNG")
    if head[8:9] == b"{" and head[6:8] == b"\0\0":
        return FileKind("a safetensors file", weights=True)
    text = _decode(head)
    if text is not None:
        return _recognise_text(text)
    if 0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF):
        return FileKind("a file of msgpack, as Flax writes", weights=True)
    return None


def _recognise_zip(head: bytes) -> FileKind:
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if first.endswith(b".npy"):
        return FileKind("an .npz archive of NumPy", weights=True)
    if first.endswith((b"data.pkl", b".storage_alignment", b".format_version", b"byteorder")):
        return FileKind("a file of torch.save", weights=True)
    if first == b"[Content_Types].xml" or first.startswith(b"_rels/"):
        return _OFFICE
    if first in (b"metadata.json", b"config.json", b"model.weights.h5"):
        return FileKind("a Keras model", weights=True)
    return FileKind("a ZIP archive", weights=True)


def _recognise_text(text: str) -> FileKind:
    start = text.lstrip("\ufeff \t\r\n")
    match = _MARKUP.match(start[:20].encode(errors="replace"))
    if match is None:
        return FileKind("JSON text" if start.startswith(("{", "[")) else "text")
    if "<svg" in start:
        return FileKind("an SVG drawing", "save it as PNG")
    if match[1].lower() == b"?xml" and "<html" not in start.lower():
        return FileKind("an XML document", "if it is what a host answered, download the file itself")
    return _PAGE


def _decode(head: bytes) -> str | None:
    """Decode the first bytes as text; return None if they aren't text."""
    encoding = next((encoding for start, encoding in _TEXTS if head.startswith(start)), "utf-8")
    start = head[:HEAD_BYTES]
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start, final=len(head) <= HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    odd = any(ord(c) < 32 and c not in "\t\n\r\f" for c in text)
    return None if odd or not text.strip("\ufeff") else text


_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_BUCKETS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hdfs", "r2")


def describe_address(name: str, *, output: bool = False) -> str | None:
    """Say what a URL is, and what to do, where the name of a file or folder is wanted.

    Args:
      name: the name that was given.
      output: whether something is to be written there.

    Returns:
      A clause that begins with the name; None if the name is no URL.
    """
    match = _ADDRESS.fullmatch(name)
    if match is None:
        return None
    shown = "".join(c if c.isprintable() else "?" for c in name)
    scheme = match[1].lower()
    if scheme == "file":
        path = _unescape(shown.partition("://")[2].partition("/")[2])
        return f"{shown} is a URL of a file: give its path, /{path}"
    what = "a web address" if scheme in ("http", "https") else "a network address"
    if scheme in _BUCKETS:
        what = "the address of a bucket"
    if output:
        return f"{shown} is {what}: give a name on this machine, and copy from there what was written"
    return f"{shown} is {what}, from which nothing is fetched: download it, and give the name that it has here"


def _unescape(text: str) -> str:
    data = _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), text.encode())
    return data.decode("utf-8", "replace")
