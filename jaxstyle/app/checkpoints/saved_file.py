"""Writes and reads the file of a checkpoint, which shows whether it is whole.

A file holds a magic line, the length of a JSON header, the header (what was saved, and name, dtype and shape of each
array), the bytes of the arrays, and the SHA-256 of all that.
"""

import hashlib
import json
import math
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.system.files import open_atomic

_MAGIC = b"jaxstyle checkpoint 3\n"
_LENGTH = struct.Struct("<Q")
_DIGEST = hashlib.sha256().digest_size
_BLOCK = 2**22

Arrays = dict[str, np.ndarray]


class Saved(NamedTuple):
    """Contents of a checkpoint: any JSON, and arrays by name."""

    about: dict[str, Any]
    arrays: Arrays


class DamagedError(Exception):
    """A file does not hold what was written."""


def write_saved(path: Path, saved: Saved) -> None:
    """Write a checkpoint's file.

    Raises:
      RunError: if the disk is full, or writing failed.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in saved.arrays.items()}
    described = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    header = json.dumps({"about": saved.about, "arrays": described}).encode()
    digest = hashlib.sha256()
    with open_atomic(path) as file:
        # The arrays are not copied: .data is taken because NumPy before 2.2 does not count arrays as buffers.
        parts = (
            _MAGIC,
            _LENGTH.pack(len(header)),
            header,
            *(a.reshape(-1).view(np.uint8).data for a in arrays.values()),
        )
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _BLOCK):
                block = view[start : start + _BLOCK]
                digest.update(block)
                file.write(block)
        file.write(digest.digest())


def read_saved(path: Path) -> Saved:
    """Read a checkpoint's file.

    Raises:
      DamagedError: if any bit differs from what was written.
    """
    try:
        with path.open("rb") as file:
            rest = os.fstat(file.fileno()).st_size - _DIGEST
            digest = hashlib.sha256()
            while rest > 0:
                block = file.read(min(rest, _BLOCK))
                if not block:
                    raise DamagedError("it is cut off")
                digest.update(block)
                rest -= len(block)
            if rest < 0 or file.read() != digest.digest():
                raise DamagedError("its checksum is wrong")
            file.seek(0)
            if file.read(len(_MAGIC)) != _MAGIC:
                raise DamagedError("another version of jaxstyle wrote it")
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            header = json.loads(file.read(length))
            arrays = {}
            for name, (dtype, shape) in header["arrays"].items():
                arrays[name] = np.fromfile(file, np.dtype(dtype), math.prod(shape)).reshape(shape)
            return Saved(header["about"], arrays)
    except OSError as error:
        raise DamagedError(f"it cannot be read: {error.strerror}") from error
