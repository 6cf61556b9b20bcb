"""Reads text that a person may have edited or fetched: tables, TOML, JSON. It imports neither jax nor NumPy."""

import codecs
from pathlib import Path

from jaxstyle.common.file_kinds import recognise

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """Read the text of a file, as `decode_text` does.

    Raises:
      OSError: if it can't be read.
      ValueError: as `decode_text` does, with the file's name.
    """
    try:
        return decode_text(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def decode_text(data: bytes) -> str:
    """Decode text in UTF-8, or in the encoding of its byte order mark; Excel writes a mark, and UTF-16 as Unicode text.

    Raises:
      ValueError: if it is not text, or a pointer to a file that isn't here; the message is a clause without a name.
    """
    kind = recognise(data)
    if data and kind is not None and kind.advice:
        raise ValueError(str(kind))
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if kind is not None:
            raise ValueError(f"{kind}, not text") from error
        raise ValueError(
            f"it is not {encoding.removesuffix('-sig').upper()} text (byte {error.start}); save it as UTF-8"
        ) from error
    if text.count("\0") > len(text) // 4:
        what = "text in UTF-16 without a byte order mark; save it as UTF-8"
        raise ValueError(f"{kind}, not text" if kind else f"it is {what}")
    return text


def check_commas(header: str) -> None:
    """Raise ValueError if the first line of a CSV file has other separators than commas."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in header and "," not in header:
            raise ValueError(f"its cells stand between {name}; save it as CSV with commas")
