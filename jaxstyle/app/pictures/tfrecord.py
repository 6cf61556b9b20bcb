"""Read TFRecord files without TensorFlow.

A record is its length (uint64), the masked CRC-32C of these 8 bytes (uint32), its data, and the masked CRC-32C of the
data (uint32), all little-endian (https://www.tensorflow.org/tutorials/load_data/tfrecord).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

from jaxstyle.app.pictures.read_image import open_file
from jaxstyle.app.system.errors import StartError


def read_records(file: Path, skip: int, take: int) -> Iterator[bytes]:
    """Yield the checked data of `take` records after the first `skip` ones.

    Raises:
      AppError: if the file can't be opened, is damaged, or holds fewer records.
    """
    with open_file(file) as stream:
        for number in range(skip + take):
            header = stream.read(12)
            if len(header) < 12:
                raise StartError(f"cannot read {file}: it ends after {number} of {skip + take} records")
            length, check = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != check:
                raise StartError(f"cannot read {file}: record {number} is damaged")
            if number < skip:
                stream.seek(length + 4, 1)
                continue
            data, check = stream.read(length), stream.read(4)
            if check != struct.pack("<I", masked_crc32c(data)):
                raise StartError(f"cannot read {file}: record {number} is damaged")
            yield data


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720) of data, rotated and offset as TFRecord stores it."""
    import google_crc32c  # from the extra `tfds`, since pure Python takes longer than decoding the image

    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
