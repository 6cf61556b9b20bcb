import pytest

from jaxstyle.app.pictures.tfrecord import masked_crc32c, read_records
from jaxstyle.app.system.errors import StartError
from tests.tiny_dataset import frame, masked_crc

pytest.importorskip("google_crc32c", reason="the extra tfds is not installed")

RECORDS = [b"first", b"", b"third" * 1000, bytes(range(256))]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(map(frame, RECORDS)))
    return path


def test_checksums_of_rfc_3720():
    # The values are from appendix B.4, and undoing the offset and the rotation unmasks ours.
    for data, crc in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(reversed(range(32))), 0x113FDB5C),
    ):
        for masked in (masked_crc32c(data), masked_crc(data)):
            rotated = (masked - 0xA282EAD8) % 2**32
            assert (rotated << 15 | rotated >> 17) % 2**32 == crc


def test_reads_all_and_a_part(file):
    assert list(read_records(file, 0, 4)) == RECORDS
    assert list(read_records(file, 2, 1)) == RECORDS[2:3]
    assert list(read_records(file, 4, 0)) == []


def test_any_flipped_bit_is_found(file):
    good = file.read_bytes()
    ends = [sum(len(frame(r)) for r in RECORDS[:i]) for i in range(5)]
    for position in [*range(40), *range(ends[2] - 3, ends[2] + 30), *range(ends[3] - 5, len(good))]:
        bad = bytearray(good)
        bad[position] ^= 1 << (position % 8)
        file.write_bytes(bad)
        number = sum(position >= end for end in ends) - 1
        with pytest.raises(StartError, match=rf"a.tfrecord: record {number} is damaged$"):
            list(read_records(file, 0, 4))


def test_a_flipped_bit_in_skipped_data_harms_nobody(file):
    bad = bytearray(file.read_bytes())
    bad[14] ^= 1
    file.write_bytes(bad)
    assert list(read_records(file, 1, 3)) == RECORDS[1:]
    bad[3] ^= 1  # the length is needed to skip
    file.write_bytes(bad)
    with pytest.raises(StartError, match="record 0 is damaged"):
        list(read_records(file, 1, 3))


def test_any_truncation_is_found(file):
    good = file.read_bytes()
    for end in [*range(60), len(good) - 1]:
        file.write_bytes(good[:end])
        with pytest.raises(StartError, match=r"it ends after \d of 4 records|record \d is damaged"):
            list(read_records(file, 0, 4))
    file.write_bytes(good[:100])  # the file ends in a record that is skipped
    with pytest.raises(StartError, match="it ends after 3 of 4 records"):
        list(read_records(file, 3, 1))
    file.write_bytes(good)
    with pytest.raises(StartError, match="it ends after 4 of 5 records"):
        list(read_records(file, 0, 5))


def test_no_file(tmp_path):
    with pytest.raises(StartError, match=r"cannot read .*no.tfrecord: no such file"):
        list(read_records(tmp_path / "no.tfrecord", 0, 1))
