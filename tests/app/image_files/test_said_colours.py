"""Test that colours which files name without an ICC profile are used, or that a line says they are ignored."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxstyle.app.image_files.decode import decode
from tests import image_bytes as files
from tests.image_files import adobe_profile
from tests.reference import numpy_pictures as reference

H, W = 7, 18
LEVEL = 0.52 / 255
# Chromaticities of red, green and blue.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
IGNORED = "its cICP chunk names colours that aren't known here, such as those of HDR, and is ignored"


@pytest.fixture
def pixels():
    return np.random.default_rng(3).integers(0, 256, (H, W, 3)).astype(np.uint8)


def gamma(value):
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def corners(primaries, white=(0.3127, 0.3290)):
    return b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in itertools.chain(white, *primaries)))


def code_points(primaries, transfer, matrix=0, full=1):
    return b"cICP", bytes([primaries, transfer, matrix, full])


def profile_chunk(profile):
    return b"iCCP", b"a\0\0" + zlib.compress(profile)


def png(values, *chunks, bits=8):
    return files.make_png(values, bits, {1: 0, 3: 2, 4: 6}[values.shape[-1]], chunks=chunks)


def check(data, wanted, *notes, atol=LEVEL):
    found = decode(data, "x")
    np.testing.assert_allclose(found.image, wanted, atol=atol)
    assert found.notes == notes


@pytest.mark.parametrize(
    ("chunks", "primaries", "exponent"),
    [
        ((gamma(1 / 2.2),), SRGB, None),
        ((gamma(0.45455), corners(SRGB)), SRGB, None),
        ((corners(SRGB),), SRGB, None),
        ((gamma(1.0),), SRGB, 1.0),
        ((gamma(1 / 1.8),), SRGB, 1.8),
        ((gamma(0.45455), corners(ADOBE)), ADOBE, 2.2),
        ((corners(P3),), P3, None),
        ((code_points(1, 13),), SRGB, None),
        ((code_points(1, 1),), SRGB, None),
        ((code_points(12, 13),), P3, None),
        ((code_points(9, 8),), BT2020, 1.0),
        ((code_points(9, 4),), BT2020, 2.2),
        # The order of precedence is cICP, iCCP, sRGB, and gAMA with cHRM.
        ((gamma(1.0), corners(P3), (b"sRGB", b"\0")), SRGB, None),
        ((gamma(1.0), profile_chunk(adobe_profile()), code_points(12, 13)), P3, None),
    ],
)
def test_png(pixels, chunks, primaries, exponent):
    wanted = reference.from_primaries(pixels / 255, primaries, exponent)
    check(png(pixels, *chunks), wanted)
    deep = pixels.astype(np.uint16) * 257
    check(png(deep, *chunks, bits=16), wanted, atol=2e-5)
    cover = np.full((H, W, 1), 51, np.uint8)
    check(png(np.concatenate([pixels, cover], -1), *chunks), wanted * 0.2 + 0.8)
    assert decode(png(pixels, *chunks), "x").profile is None


def test_gray_has_a_curve_only(pixels):
    gray = pixels[..., :1]
    check(png(gray, gamma(1.0), corners(P3)), reference.compose(reference.encode(gray / 255)))


def test_a_profile_is_stronger_than_gamma(pixels):
    plain = decode(png(pixels, profile_chunk(adobe_profile())), "x")
    found = decode(png(pixels, profile_chunk(adobe_profile()), (b"sRGB", b"\0"), gamma(1.0)), "x")
    np.testing.assert_array_equal(found.image, plain.image)
    assert (found.profile, found.notes) == (adobe_profile(), ())


@pytest.mark.parametrize(
    ("chunk", "note"),
    [
        (code_points(9, 16), IGNORED),
        (code_points(9, 18), IGNORED),
        (code_points(200, 13), IGNORED),
        (code_points(1, 13, 6), IGNORED),
        (code_points(1, 13, 0, 0), IGNORED),
        ((b"cICP", b"\1"), IGNORED),
        (gamma(0), "what it says of its colours (gAMA, cHRM) can't be used and is ignored"),
        (gamma(900), "what it says of its colours (gAMA, cHRM) can't be used and is ignored"),
        (corners(((0, 0),) * 3), "what it says of its colours (gAMA, cHRM) can't be used and is ignored"),
        (corners(((0.3, 0.3),) * 3), "what it says of its colours (gAMA, cHRM) can't be used and is ignored"),
        (corners(SRGB, (0.9, 0.05)), "what it says of its colours (gAMA, cHRM) can't be used and is ignored"),
        ((b"iCCP", b"a\0\0" + b"not packed"), "its colour profile can't be used and is ignored (it is damaged)"),
    ],
)
def test_what_cannot_be_honoured_is_said(pixels, chunk, note):
    check(png(pixels, chunk), pixels / 255, note)


def exif(space, index=None):
    block = Image.Exif()
    block[0x8769] = {0xA001: space}
    if index:
        block[0xA005] = {1: index}
        block[0x8769][0xA005] = {1: index}
    return block.tobytes()


def photograph(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_colour_space_of_exif(pixels):
    unknown = "its EXIF block says that its colours aren't sRGB, but not what they are; they are taken as sRGB"
    wanted = reference.from_primaries(pixels / 255, ADOBE, 563 / 256)
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        check(photograph(pixels, kind, exif=exif(1), **options), pixels / 255)
        check(photograph(pixels, kind, exif=exif(2), **options), wanted)
        check(photograph(pixels, kind, exif=exif(0xFFFF), **options), pixels / 255, unknown)
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        data = photograph(pixels, kind, exif=exif(0xFFFF), icc_profile=srgb, **options)
        check(data, pixels / 255, atol=1.02 / 255)
    check(photograph(pixels, exif=exif(0xFFFF, "R03")), wanted)


def test_primaries_of_tiff(pixels):
    def tags(primaries):
        parts = [(round(v * 10_000), 10_000) for v in itertools.chain(*primaries)]
        return {318: (5, [3127, 10_000, 3290, 10_000]), 319: (5, [n for part in parts for n in part])}

    for primaries in (SRGB, P3):
        data = files.make_tiff(pixels, 2, tags=tags(primaries))
        check(data, reference.from_primaries(pixels / 255, primaries, None))
    same = ((0.3, 0.3),) * 3
    note = "what it says of its colours (PrimaryChromaticities) can't be used and is ignored"
    check(files.make_tiff(pixels, 2, tags=tags(same)), pixels / 255, note)
    curve = {301: (3, [*range(256)])}
    check(files.make_tiff(pixels, 2, tags=curve), pixels / 255, "its TransferFunction is ignored")
    check(
        files.make_tiff(pixels, 2, tags={532: (5, [16, 1, 235, 1] * 3)}),
        pixels / 255,
        "its ReferenceBlackWhite is ignored",
    )


def avif(pixels):
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    return photograph(pixels, "AVIF", quality=100, subsampling="4:4:4")


def test_code_points_of_avif():
    y, x = np.mgrid[:16, :24]
    pixels = np.stack([40 + 8 * x, 60 + 9 * y, 200 - 4 * x - 2 * y], -1).astype(np.uint8)
    data = avif(pixels)
    at = data.index(b"colrnclx") + 8
    assert data[at : at + 4] == b"\0\1\0\x0d"  # sRGB
    check(data, pixels / 255, atol=4 / 255)
    wanted = reference.from_primaries(decode(data, "x").image.astype(np.float64), P3, None)
    check(data[:at] + b"\0\x0c\0\x0d" + data[at + 4 :], wanted)
    note = "it names colours that aren't known here, such as those of HDR; they are taken as sRGB"
    check(data[:at] + b"\0\x09\0\x10" + data[at + 4 :], pixels / 255, note, atol=4 / 255)


def test_profile_of_jpeg2000(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", num_resolutions=1)
    data = buffer.getvalue()
    at = data.index(b"colr") - 4
    size = int.from_bytes(data[at : at + 4])
    content = b"colr\2\0\0" + adobe_profile()
    head = data.index(b"jp2h") - 4
    longer = int.from_bytes(data[head : head + 4]) + 4 + len(content) - size
    box = (4 + len(content)).to_bytes(4) + content
    changed = data[:head] + longer.to_bytes(4) + data[head + 4 : at] + box + data[at + size :]
    found = decode(changed, "x")
    wanted = decode(photograph(pixels, icc_profile=adobe_profile()), "x").image
    np.testing.assert_allclose(found.image, wanted, atol=1e-6)
    assert found.profile == adobe_profile()
    other = data[: at + 11] + (14).to_bytes(4) + data[at + 15 :]
    check(other, pixels / 255, "it names colours that aren't known here; they are taken as sRGB", atol=1e-6)
