import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from jaxstyle.app.image_files.decode import decode
from jaxstyle.app.image_files.encode import check_output, encode, encode_png, to_image
from jaxstyle.app.system.errors import StartError
from tests.app.image_files.test_decode import SRGB, to_linear
from tests.image_files import ADOBE_GAMMA, ADOBE_RGB, adobe_profile, gray_profile

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


@pytest.fixture
def image():
    y, x = np.mgrid[:24, :36]
    return np.stack([x / 40, y / 30, (x + y) / 70], -1).astype(np.float32) * 0.4 + 0.3


def opened(data):
    return Image.open(io.BytesIO(data))


def chunks(data):
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def test_png_round_trip_with_text_and_tag(image):
    data = encode(image, ".png", text={"key": "value", "Ünï": "日本"})
    with opened(data) as found:
        assert found.text == {"key": "value", "Ünï": "日本"}
        np.testing.assert_array_equal(np.asarray(found), np.round(image * 255))
    names = [name for name, _ in chunks(data)]
    assert (b"sRGB", b"\1") in chunks(data)
    assert names.index(b"sRGB") < names.index(b"IDAT")
    assert b"iCCP" not in names
    assert b"tIME" not in names
    assert data == encode_png(to_image(image), {"key": "value", "Ünï": "日本"})


def test_to_image_clips_and_rounds():
    found = np.asarray(to_image(np.array([[[-1.0, 2.0, 0.5]]])))
    np.testing.assert_array_equal(found, [[[0, 255, 128]]])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_pictures_give_equal_bytes_that_read_back(image, suffix):
    data = encode(image, suffix)
    assert data == encode(image.copy(), suffix)
    found = decode(data, "x")
    assert found.notes == ()
    error = {".png": 0.51 / 255, ".tif": 0.51 / 65535, ".tiff": 0.51 / 65535}.get(suffix, 6 / 255)
    np.testing.assert_allclose(found.image, image, atol=error + 1e-7)
    assert found.profile is None
    assert found.exif is None
    outside = image * 6 - 2
    assert outside.min() < 0
    assert outside.max() > 1
    assert encode(outside, suffix) == encode(np.clip(outside, 0, 1), suffix)


def test_tiff_has_sixteen_bits(image):
    with tifffile.TiffFile(io.BytesIO(encode(image, ".tif"))) as file:
        assert file.asarray().dtype == np.uint16
        np.testing.assert_allclose(file.asarray(), image.astype(np.float64) * 65535, atol=0.51)
        tags = {tag.name for tag in file.pages.first.tags}
    assert not tags & {"DateTime", "ImageDescription", "HostComputer"}
    with opened(encode(image, ".tif")) as found:  # other programs read it
        np.testing.assert_allclose(np.asarray(found), image * 255, atol=1)


def test_quality(image):
    for suffix in (".jpg", ".webp"):
        sizes = [len(encode(image, suffix, quality=quality)) for quality in (10, 60, 100)]
        assert sizes == sorted(set(sizes))
    for quality in (0, 101):
        with pytest.raises(StartError, match="quality must be from 1 to 100"):
            encode(image, ".jpg", quality=quality)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_profile_is_kept_with_its_colours(image, suffix):
    profile = adobe_profile()
    data = encode(image, suffix, profile=profile)
    assert opened(data).info["icc_profile"] == profile
    assert b"sRGB" not in data[:60]
    linear = to_linear(image.astype(np.float64)) @ SRGB.T @ np.linalg.inv(ADOBE_RGB).T
    wanted = np.clip(linear, 0, 1) ** (1 / ADOBE_GAMMA)
    lossy = suffix in (".jpg", ".jpeg", ".webp")
    np.testing.assert_allclose(np.asarray(opened(data)) / 255, wanted, atol=(6 if lossy else 1.6) / 255)
    np.testing.assert_allclose(decode(data, "x").image, image, atol=(8 if lossy else 3) / 255)
    with_gray = encode(image, suffix, profile=gray_profile(2.2))  # a gray profile isn't used, and colours stay sRGB
    assert "icc_profile" not in opened(with_gray).info


def photograph(kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131], exif[0x013B] = 6, "Maker", "Editor", "Artist"
    exif[0x8769] = {0x829A: 0.01, 0x9003: "2020:01:02 03:04:05", 0x927C: b"maker's", 0xA001: 65535, 0xA002: 99}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    buffer = io.BytesIO()
    Image.new("RGB", (36, 24)).save(buffer, kind, exif=exif.tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata_is_copied_only_if_asked(image, kind):
    content = decode(photograph(kind), "x")
    for suffix in SUFFIXES:
        with opened(encode(image, suffix)) as found:
            assert "exif" not in found.info
            assert not found.getexif().get_ifd(0x8825)
    for suffix in (".png", ".jpg", ".webp"):
        with opened(encode(image, suffix, exif=content.exif)) as found:
            exif = found.getexif()
            assert set(exif) == {0x010F, 0x013B, 0x8769, 0x8825}
            assert (exif[0x010F], exif[0x013B]) == ("Maker", "Artist")
            assert exif.get_ifd(0x8825) == {1: "N", 2: (1.0, 2.0, 3.0)}
            assert set(exif.get_ifd(0x8769)) == {0x829A, 0x9003}
    with pytest.raises(StartError, match="metadata is not copied to TIFF"):
        encode(image, ".tif", exif=content.exif)


def test_what_cannot_be_written():
    assert [check_output(f"a{suffix.upper()}") for suffix in SUFFIXES] == list(SUFFIXES)
    for name in ("a", "a.gif", "a.png.exe", ".png"):
        with pytest.raises(StartError, match=r"cannot write .*: unknown suffix '.*'; valid: \.png, \.jpg"):
            check_output(name)
    with pytest.raises(StartError, match="metadata is not copied to TIFF"):
        check_output("a.tif", exif=True)
    with pytest.raises(StartError, match=r"a \.webp holds no more than 16383 pixels a side"):
        encode(np.zeros((1, 16384, 3), np.float32), ".webp")
