import io
import os
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from jaxstyle.app.image_files.decode import decode
from jaxstyle.app.system.errors import StartError
from tests.image_files import (
    ADOBE_GAMMA,
    ADOBE_RGB,
    adobe_profile,
    cmyk_profile,
    gray_profile,
    make_profile,
    png16,
    png_chunk,
)

SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])  # D50
LEVEL = 1 / 255


@pytest.fixture
def rgba():
    return np.random.default_rng(6).integers(0, 256, (20, 30, 4), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(values, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def read(data, size=None, **options):
    found = decode(data, "x", size, **options)
    assert found.image.dtype == np.float32
    return found


def levels(data):
    return np.asarray(read(data).image, np.float64) * 255


def fails(data, pattern, **options):
    with pytest.raises(StartError, match=f"^cannot read x: {pattern}") as caught:
        decode(data, "x", **options)
    assert str(caught.value).isprintable()


def gray(values):
    return np.repeat(np.asarray(values, np.float64)[..., None], 3, axis=2)


# The formats that Pillow can write in each of its modes.
@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")],
        *[(mode, "TIFF") for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr")],
        *[(mode, "GIF") for mode in ("1", "L", "P")],
        *[(mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
        *[(mode, "PPM") for mode in ("1", "L", "RGB")],
        *[(mode, "JPEG") for mode in ("L", "RGB", "CMYK")],
        *[(mode, "WEBP") for mode in ("RGB", "RGBA")],
    ],
)
def test_modes_have_the_colours_that_pillow_says(rgba, mode, kind):
    source = Image.fromarray(rgba)
    if mode == "PA":
        image = source.convert("RGB").quantize(9).convert("PA")
        image.putalpha(Image.fromarray(rgba[..., 3]))
    else:
        image = source.convert("LA" if mode == "LA" else "RGB").convert(mode) if mode not in ("RGBA",) else source
    try:
        data = encoded(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    except OSError as error:
        pytest.skip(str(error))  # an older Pillow doesn't write it
    with Image.open(io.BytesIO(data)) as stored:
        try:
            stored.load()
        except OSError as error:
            pytest.skip(f"this Pillow doesn't read what it wrote: {error}")
        if stored.has_transparency_data:
            white = Image.new("RGBA", stored.size, "white")
            wanted = Image.alpha_composite(white, stored.convert("RGBA")).convert("RGB")
        else:
            wanted = stored.convert("RGB")
        # Pillow converts YCbCr by tables of integers.
        np.testing.assert_allclose(levels(data), np.asarray(wanted), atol=1.01 if mode == "YCbCr" else 0.51)


def test_avif():
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    smooth = np.dstack([np.mgrid[:20, :30][0] * 9, np.mgrid[:20, :30][1] * 8, np.full((20, 30), 99)]).astype(np.uint8)
    data = encoded(Image.fromarray(smooth), "AVIF", quality=100, subsampling="4:4:4")
    np.testing.assert_allclose(levels(data), smooth, atol=3)


def test_adobe_cmyk_and_ycck_are_inverted_as_stored():
    data = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data  # inverted values, transform 0
    np.testing.assert_allclose(read(data).image[16, 16], [1, 0, 0], atol=0.03)
    at = data.index(b"Adobe")
    ycck = data[: at + 11] + b"\2" + data[at + 12 :]  # the same numbers, which the file now calls YCCK
    luma, blue, red = 255, -128, -128  # these were C, M, Y inverted
    decoded = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    # JPEG's YCCK stands for 255 - CMY, and Adobe's CMY are inverted: 255 is no ink.
    wanted = 1 - np.clip(decoded, 0, 255) / 255
    np.testing.assert_allclose(read(ycck).image[16, 16], wanted, atol=0.03)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["png", "little", "big", "zlib", "tiles"])
def test_sixteen_bits_a_colour_channel_are_exact(channels, kind):
    values = np.random.default_rng(1).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    options = {"little": {}, "big": {"byteorder": ">"}, "zlib": {"compression": "zlib", "predictor": True}}
    options["tiles"] = {"tile": (16, 16)}
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    data = png16(values) if kind == "png" else tiff(values, photometric="rgb", **extra, **options[kind])
    exact = values / 65535
    wanted = exact if channels == 3 else exact[..., :3] * exact[..., 3:] + 1 - exact[..., 3:]
    np.testing.assert_allclose(read(data).image, wanted, atol=3e-7)


def test_other_deep_pictures(rgba):
    rng = np.random.default_rng(2)
    colour, alpha = rng.random((20, 30, 3)), rng.random((20, 30, 1))
    np.testing.assert_allclose(read(tiff(np.float32(colour), photometric="rgb")).image, colour, atol=1e-6)
    np.testing.assert_allclose(read(tiff(np.float64(colour * 255), photometric="rgb")).image, colour, atol=1e-6)
    np.testing.assert_allclose(read(tiff(np.float16(colour), photometric="rgb")).image, colour, atol=1e-3)
    planes = np.moveaxis(np.uint32(colour * (2**32 - 1)), -1, 0)
    np.testing.assert_allclose(read(tiff(planes, photometric="rgb", planarconfig="separate")).image, colour, atol=1e-6)
    deep = np.uint16(np.dstack([colour[..., :1], alpha]) * 65535)
    wanted = gray(colour[..., 0] * alpha[..., 0] + 1 - alpha[..., 0])
    data = tiff(deep, photometric="minisblack", extrasamples=["unassalpha"])
    np.testing.assert_allclose(read(data).image, wanted, atol=1e-4)
    for values in (np.uint32(colour[..., 0] * (2**32 - 1)), np.int32(colour[..., 0] * (2**31 - 1)), colour[..., 0]):
        np.testing.assert_allclose(read(tiff(values, photometric="minisblack")).image, gray(colour[..., 0]), atol=1e-6)
    values = np.uint16(colour[..., 0] * 65535)
    for black, sign in (("minisblack", 1), ("miniswhite", -1)):
        found = read(tiff(values, photometric=black)).image
        np.testing.assert_allclose(found, gray(colour[..., 0])[:, :] * sign + (sign < 0), atol=1e-4)
    np.testing.assert_allclose(read(png16(values[..., None])).image, gray(colour[..., 0]), atol=1e-4)


def test_deep_pictures_shrink_as_others_do(rgba):
    small = read(encoded(Image.fromarray(rgba)), 10).image
    for values in (rgba.astype(np.uint16) * 257, np.float32(rgba) / 255):
        data = tiff(values, photometric="rgb", extrasamples=["unassalpha"])
        np.testing.assert_allclose(read(data, 10).image, small, atol=2 * LEVEL)


def test_transparent_pixels_leave_no_trace_when_shrunk():
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[..., 0], pixels[:, :20, 3] = 255, 255
    pixels[:, 20:, 1] = 255  # it is transparent, so that its colour doesn't show
    found = read(encoded(Image.fromarray(pixels)), 10, background=(0, 0, 255)).image
    assert found[..., 1].max() == 0
    np.testing.assert_allclose(found[:, :4], [[[1, 0, 0]] * 4] * 10, atol=0.02)
    np.testing.assert_allclose(found[:, 6:], [[[0, 0, 1]] * 4] * 10, atol=0.02)


def test_background(rgba):
    found = read(encoded(Image.fromarray(rgba)), background=(10, 20, 30)).image
    alpha = rgba[..., 3:] / 255
    np.testing.assert_allclose(found, (rgba[..., :3] * alpha + np.array([10, 20, 30]) * (1 - alpha)) / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_orientations(rgba, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(
        Image.fromarray(rgba[..., :3]), kind, exif=exif.tobytes(), **({"lossless": True} if kind == "WEBP" else {})
    )
    found = read(data)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_allclose(found.image * 255, np.asarray(ImageOps.exif_transpose(image)), atol=1e-4)
    assert found.full_shape == found.image.shape[:2] == ((30, 20) if 5 <= orientation <= 8 else (20, 30))
    assert read(data, 10).image.shape[:2] == ((10, 7) if 5 <= orientation <= 8 else (7, 10))


def to_linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_linear(values):
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def test_rgb_profile_against_the_definition(rgba):
    rgb = rgba[..., :3] // 2 + 60
    data = encoded(Image.fromarray(rgb), icc_profile=adobe_profile())
    wanted = from_linear(((rgb / 255) ** ADOBE_GAMMA) @ ADOBE_RGB.T @ np.linalg.inv(SRGB).T)
    found = read(data)
    np.testing.assert_allclose(found.image, wanted, atol=1.6 * LEVEL)
    assert found.notes == ()
    assert found.profile == adobe_profile()
    assert np.abs(found.image - rgb / 255).max() > 20 * LEVEL  # the profile has an effect
    with_alpha = np.dstack([rgb, rgba[..., 3]])
    alpha = rgba[..., 3:] / 255
    found = read(encoded(Image.fromarray(with_alpha), icc_profile=adobe_profile())).image
    np.testing.assert_allclose(found, wanted * alpha + 1 - alpha, atol=1.6 * LEVEL)
    found = read(tiff(rgb.astype(np.uint16) * 257, photometric="rgb", iccprofile=adobe_profile())).image
    np.testing.assert_allclose(found, wanted, atol=1.6 * LEVEL)


def test_gray_profile_against_the_definition():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wanted = gray(from_linear((ramp / 255) ** 1.8))
    for image in (
        Image.fromarray(ramp),
        Image.fromarray(ramp).convert("LA"),
        Image.fromarray(ramp.astype(np.uint16) * 257),
    ):
        found = read(encoded(image, icc_profile=gray_profile(1.8))).image
        np.testing.assert_allclose(found, wanted, atol=1.6 * LEVEL)
    assert read(encoded(Image.fromarray(ramp), icc_profile=gray_profile(1.8))).profile is None
    found = read(encoded(Image.fromarray(ramp), icc_profile=adobe_profile())).image  # a gray image has an RGB profile
    np.testing.assert_allclose(found, gray(from_linear((ramp / 255) ** ADOBE_GAMMA)), atol=1.6 * LEVEL)


def test_cmyk_profile_against_littlecms(rgba):
    inks = cmyk_profile(lambda c, m, y, k: (8, 0, 0) if k else (96 - 25 * c - 35 * m - 6 * y, 60 * m - 30 * c, 70 * y))
    image = Image.frombytes("CMYK", (30, 20), rgba.tobytes())
    data = encoded(image, "TIFF", icc_profile=inks)
    wanted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(inks)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    np.testing.assert_allclose(levels(data), np.asarray(wanted), atol=1e-4)
    assert np.abs(levels(data) - np.asarray(image.convert("RGB"))).max() > 50
    paper = encoded(Image.new("CMYK", (4, 4)), "TIFF", icc_profile=inks)
    np.testing.assert_allclose(read(paper).image, 1, atol=1.01 * LEVEL)  # the paper is white


def test_float_tiff_with_profile_and_orientation(rgba):
    values = np.float32(rgba[..., :3] // 2 + 60) / 255
    wanted = from_linear((values.astype(np.float64) ** ADOBE_GAMMA) @ ADOBE_RGB.T @ np.linalg.inv(SRGB).T)
    found = read(tiff(values, photometric="rgb", iccprofile=adobe_profile(), extratags=[(274, "H", 1, 6, False)]))
    np.testing.assert_allclose(found.image, np.rot90(wanted, -1), atol=1.6 * LEVEL)
    assert (found.full_shape, found.profile) == ((30, 20), adobe_profile())
    values = values[..., :1].repeat(2, 2)
    data = tiff(values, photometric="minisblack", extrasamples=["unassalpha"], iccprofile=gray_profile(1.8))
    wanted = gray(from_linear(values[..., 0] ** 1.8)) * values[..., 1:] + 1 - values[..., 1:]
    np.testing.assert_allclose(read(data).image, wanted, atol=1.6 * LEVEL)
    notes = read(tiff(np.float64(values[..., 0]), photometric="minisblack", iccprofile=b"x" * 9)).notes
    assert ["can't be used" in note for note in notes] == [False, True]


def test_srgb_profile_keeps_sixteen_bits():
    values = np.random.default_rng(1).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = read(tiff(values, photometric="rgb", iccprofile=profile))
    np.testing.assert_allclose(found.image, values / 65535, atol=3e-7)
    assert found.profile == profile
    found = read(tiff(values[..., 0], photometric="minisblack", iccprofile=profile))
    np.testing.assert_allclose(found.image, gray(values[..., 0] / 65535), atol=3e-7)


@pytest.mark.parametrize(
    "profile",
    [
        b"x",
        b"\0" * 200,
        adobe_profile()[:300],
        adobe_profile().replace(b"curv", b"none"),
        gray_profile(2.2),
        cmyk_profile(lambda *_: (50, 0, 0)),
        make_profile(b"RGB ", {}),
        make_profile(b"HSV ", {}),
    ],
)
def test_profiles_that_cannot_be_used_are_ignored_with_a_note(rgba, profile):
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        image = Image.new("RGB", (16, 16), (200, 100, 50))
        found = read(encoded(image, kind, icc_profile=profile))
        np.testing.assert_allclose(found.image * 255, [[[200, 100, 50]] * 16] * 16, atol=4)
        (note,) = found.notes
        assert note.startswith("its colour profile can't be used and is ignored (")
        assert note.isprintable()
        assert found.profile is None


def test_several_frames(rgba):
    frames = [Image.fromarray(np.roll(rgba[..., :3], i, 0)) for i in range(3)]
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        found = read(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert found.notes == ("it has several frames, of which the first is taken",)
        np.testing.assert_allclose(found.image * 255, rgba[..., :3], atol=60 if kind == "GIF" else 1e-4)
        assert read(encoded(frames[0], kind)).notes == ()


def test_broken_exif_is_ignored(rgba):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200))
    found = read(encoded(Image.fromarray(rgba[..., :3]), "JPEG", exif=exif))
    assert found.image.shape == (20, 30, 3)


def test_pixels_are_limited():
    data = encoded(Image.new("RGB", (30, 20)))
    assert read(data, max_pixels=600).image.shape == (20, 30, 3)
    fails(data, "it has 600 pixels, over the limit of 599; raise it with --max-pixels", max_pixels=599)
    fails(data, "it has 600 pixels, over the limit of 100; raise it with --max-pixels", max_pixels=100)
    deep = tiff(np.zeros((20, 30, 3), np.float32), photometric="rgb")
    fails(deep, "it has 600 pixels, over the limit of 599", max_pixels=599)
    before = Image.MAX_IMAGE_PIXELS
    for size in ((2**31 - 1, 2**31 - 1), (2**16, 2**16)):
        at = data.index(b"IHDR")
        header = data[at : at + 4] + struct.pack(">II", *size) + data[at + 12 : at + 17]
        huge = data[: at - 4] + png_chunk(header[:4], header[4:]) + data[at + 21 :]
        fails(huge, "(it has .* pixels, over the limit|it is not an image|the image is)")
    assert before == Image.MAX_IMAGE_PIXELS
    gif = b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
    fails(gif, "it has 4294836225 pixels, over the limit of 67108864; raise it with --max-pixels")


def test_float_tiffs_that_swell_take_no_more_than_their_size_and_odd_ones_are_refused():
    values = np.random.default_rng(0).random((64, 64, 3), dtype=np.float32)
    data = tiff(values, photometric="rgb", compression="zlib", rowsperstrip=64)
    assert read(data).image.shape == (64, 64, 3)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (at,) = file.pages.first.dataoffsets
    bomb = zlib.compress(bytes(10**7))
    np.testing.assert_array_equal(read(data[:at] + bomb + data[at + len(bomb) :]).image, 0)
    width = struct.pack("<HHII", 256, 4, 1, 64)  # ImageWidth as tifffile writes it
    short = data.replace(width, struct.pack("<HHII", 256, 4, 1, 0))
    assert short != data
    fails(short, "the TIFF is damaged: it has no pixels")


def test_threads_leave_the_process_as_it_was(rgba):
    """Pillow's limit, the filters of warnings and stderr belong to the process."""
    image = Image.fromarray(rgba[..., :3])
    files = [encoded(image, kind, **options) for kind, options in (("PNG", {}), ("TIFF", {"compression": "jpeg"}))] * 50
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters), os.fstat(2).st_ino)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, files))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters), os.fstat(2).st_ino) == before


def test_text_and_profiles_that_swell_are_refused():
    data = encoded(Image.new("RGB", (4, 4)))
    bomb = zlib.compress(bytes(10**7))
    for chunk in (png_chunk(b"zTXt", b"a\0\0" + bomb), png_chunk(b"iCCP", b"a\0\0" + bomb)):
        fails(data[:33] + chunk + data[33:], "it holds more text than is safe to read; save it without metadata")
    assert PngImagePlugin.MAX_TEXT_CHUNK <= 2**20
    assert PngImagePlugin.MAX_TEXT_MEMORY <= 2**26


def test_jpeg_of_many_scans_is_refused():
    data = encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=True)
    assert read(data).image.shape == (16, 16, 3)
    scan = data[data.rindex(b"\xff\xda") : -2]
    fails(data[:-2] + scan * 70 + data[-2:], "it is a JPEG of more than 64 scans")
    assert read(data + b"\xff\xda\0\2" * 100).image.shape == (16, 16, 3)  # appended bytes don't belong to the picture


def test_only_pillows_own_decoders(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("started a program"))
    fails(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is a PostScript document; save it")
    fails(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"it is an image or a video .*\(HEIC or AVIF\?\); save it as JPEG")
    fails(b"", "it is empty, not an image")


def test_libraries_print_nothing(rgba, capfd, tmp_path):
    data = tiff(rgba[..., :3], photometric="rgb", compression="zlib")
    for end in range(0, len(data), 60):
        for cut in (data[:end], data[:end] + bytes(60) + data[end + 60 :]):
            try:
                read(cut)
            except StartError as error:
                assert str(error).isprintable()  # noqa: PT017
    sys.stderr.write("ours")
    assert capfd.readouterr().err == "ours"
