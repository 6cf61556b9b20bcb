import io

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.errors import AppError, StartError
from jaxstyle.app.images import SAMPLES, encode_png, read_image, to_image


@pytest.fixture
def rgb():
    return np.random.default_rng(6).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_rgb_is_exact(tmp_path, rgb):
    found = read_image(save(Image.fromarray(rgb), tmp_path / "a.png"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.round(found * 255), rgb)


def test_gray_and_one_bit(tmp_path, rgb):
    gray = Image.fromarray(rgb[..., 0])
    found = read_image(save(gray, tmp_path / "a.png"))
    np.testing.assert_array_equal(np.round(found * 255), np.repeat(rgb[..., :1], 3, 2))
    found = read_image(save(Image.fromarray(rgb[..., 0] > 100), tmp_path / "b.png"))
    np.testing.assert_array_equal(found[..., 1], rgb[..., 0] > 100)


def test_sixteen_bit_gray_keeps_its_tones(tmp_path):
    deep = (np.arange(32 * 32, dtype=np.uint16) * 64).reshape(32, 32)
    for name in ("a.png", "a.tif"):
        found = read_image(save(Image.fromarray(deep), tmp_path / name))
        np.testing.assert_allclose(found, np.repeat(deep[..., None] / 65535, 3, 2), atol=1e-6)


def test_transparency_is_over_white(tmp_path, rgb):
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[:, 15:] = 255
    image = Image.fromarray(np.dstack([rgb, alpha]))
    found = read_image(save(image, tmp_path / "a.png"))
    np.testing.assert_array_equal(found[:, :15], 1)
    np.testing.assert_array_equal(np.round(found[:, 15:] * 255), rgb[:, 15:])


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (4, 2))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((3, 1), 1)
    found = read_image(save(image, tmp_path / "a.png"))
    np.testing.assert_array_equal(found[0, 0], [1, 0, 0])
    np.testing.assert_array_equal(found[1, 3], [0, 1, 0])
    found = read_image(save(image, tmp_path / "b.png", transparency=0))
    np.testing.assert_array_equal(found[0, 0], [1, 1, 1])
    np.testing.assert_array_equal(found[1, 3], [0, 1, 0])


def test_cmyk(tmp_path):
    found = read_image(save(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), tmp_path / "a.jpg", quality=95))
    np.testing.assert_allclose(found[16, 16], [1, 0, 0], atol=0.03)


def test_exif_orientation(tmp_path, rgb):
    image = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    found = read_image(save(image, tmp_path / "a.png", exif=exif))
    np.testing.assert_array_equal(np.round(found * 255), np.rot90(rgb, -1))


def test_size_is_the_longest_side_and_never_scales_up(tmp_path, rgb):
    path = save(Image.fromarray(rgb), tmp_path / "a.png")
    assert read_image(path, 15).shape == (10, 15, 3)
    assert read_image(path, 300).shape == (20, 30, 3)
    deep = save(Image.fromarray(rgb[..., 0].astype(np.uint16) * 257), tmp_path / "b.png")
    gray = save(Image.fromarray(rgb[..., 0]), tmp_path / "c.png")
    np.testing.assert_allclose(read_image(deep, 15), read_image(gray, 15), atol=1 / 255)


def test_downscaling_averages(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    found = read_image(save(Image.fromarray(stripes), tmp_path / "a.png"), 16)
    np.testing.assert_allclose(found[:, 1:-1], 0.5, atol=0.03)


def test_samples():
    assert len(list(SAMPLES.glob("*.jpg"))) == 5
    assert read_image("sample:cat").shape == (300, 451, 3)
    with pytest.raises(StartError, match="unknown sample image 'dog'; there are cat, coffee, mosaic, swirls, woodcut"):
        read_image("sample:dog")
    notice = (SAMPLES / "NOTICE.md").read_text()
    assert all(file.name in notice for file in SAMPLES.glob("*.jpg"))


def test_what_is_not_an_image_is_one_clear_line(tmp_path, rgb, monkeypatch):
    good = save(Image.fromarray(np.tile(rgb, (8, 8, 1))), tmp_path / "good.png").read_bytes()
    files = {"text.png": b"hello", "empty.jpg": b"", "cut.png": good[: len(good) // 2], "bent.png": bytearray(good)}
    files["bent.png"][200] ^= 255
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(StartError, match=f"cannot read .*{name}: .*(not an image|truncated|damaged)"):
            read_image(tmp_path / name)
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "no.png", "no such file"),
        ("a\0b", "no such file|null"),
    ):
        with pytest.raises(StartError, match=reason):
            read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(StartError, match="more than 100 pixels"):
        read_image(tmp_path / "good.png")


def test_every_truncation_is_an_error_of_ours(tmp_path, rgb):
    path = tmp_path / "a"
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, form)
        data = buffer.getvalue()
        for end in range(0, len(data) - 8, max(1, len(data) // 20)):
            path.write_bytes(data[:end])
            try:
                read_image(path)  # some formats lose nothing that matters
            except AppError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_png_round_trip_with_text(rgb):
    data = encode_png(to_image(rgb / 255), {"key": "value"})
    with Image.open(io.BytesIO(data)) as image:
        assert image.text == {"key": "value"}
        np.testing.assert_array_equal(np.asarray(image), rgb)
    assert data == encode_png(to_image(rgb / 255), {"key": "value"})


def test_to_image_clips_and_rounds():
    found = np.asarray(to_image(np.array([[[-1.0, 2.0, 0.5]]])))
    np.testing.assert_array_equal(found, [[[0, 255, 128]]])


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    path = save(Image.fromarray(np.full((4, 4), np.nan, np.float32)), tmp_path / "a.tif")
    with pytest.raises(StartError, match=r"a.tif: it has pixels that are not finite"):
        read_image(path)
