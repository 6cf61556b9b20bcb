import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.pictures.read_image import (
    SAMPLES,
    decode_image,
    open_file,
    parse_background,
    read_bytes,
    read_image,
)
from jaxstyle.app.system.errors import AppError, StartError


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
    assert len(list(SAMPLES.glob("*.jpg"))) == 7
    assert read_image("sample:cat").shape == (300, 451, 3)
    with pytest.raises(
        StartError, match="unknown sample image 'dog'; there are cat, coffee, mosaic, portrait, swirls, temple, woodcut"
    ):
        read_image("sample:dog")
    notice = (SAMPLES / "NOTICE.md").read_text()
    assert all(file.name in notice for file in SAMPLES.glob("*.jpg"))


def test_what_is_not_an_image_is_one_clear_line(tmp_path, rgb):
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
    with pytest.raises(StartError, match="has 38400 pixels, over the limit of 100; raise it with --max-pixels"):
        read_image(tmp_path / "good.png", max_pixels=100)


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


def fails(path, pattern, **options):
    with pytest.raises(AppError, match=pattern) as caught:
        read_image(path, **options)
    assert str(caught.value).isprintable()


def test_names_of_every_kind(tmp_path, rgb, monkeypatch):
    deep = tmp_path.joinpath(*["directory" * 20] * 20)
    monkeypatch.chdir(tmp_path)
    for _ in range(20):  # it goes step by step, since some systems' calls don't take the whole path
        Path("directory" * 20).mkdir()
        os.chdir("directory" * 20)
    monkeypatch.chdir(tmp_path)
    assert 3600 < len(str(deep)) < 4000
    names = [deep / "a.png", tmp_path / "カラー ü\u0308 🎨.png", tmp_path / os.fsdecode(b"\xff\n\x1b[31m.png")]
    for path in (*names, tmp_path / "wrong.jpg", tmp_path / "none"):
        Image.fromarray(rgb).save(path, "PNG")
        np.testing.assert_allclose(read_image(path) * 255, rgb, atol=1e-4)
        path.write_bytes(b"text")
        fails(path, "cannot read .*: it is not an image")
    fails("x" * 300, "cannot read x*: file name too long$")
    fails("/x" * 3000, "cannot read [/x]*: file name too long$")
    fails("a\0b", "cannot read a.x00b: ")
    fails("", "an empty name is no image")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null", "/dev/tty", tmp_path / "zero"):
        fails(path, "it is not a regular file; to pipe an image in, give -$")
        with pytest.raises(AppError, match="cannot read .*(not a regular file|no such device)"):
            open_file(Path(path))  # the name may have come to mean something else
    for name in ("loop", "a"):
        fails(tmp_path / name, f"cannot read .*/{name}: too many levels of symbolic links$")
    fails(tmp_path / "loop" / "x", "too many levels of symbolic links$")


def test_a_file_that_changes_while_it_is_read(tmp_path, rgb):
    path = save(Image.fromarray(rgb), tmp_path / "a.png")

    class Changing(io.BufferedReader):
        def read(self, size=-1):
            with path.open("ab") as file:
                file.write(b"more")
            return super().read(size)

    with Changing(path.open("rb", buffering=0)) as data, pytest.raises(StartError, match="x: it changed while it was"):
        decode_image(data, "x")


def test_a_file_is_bounded_by_what_its_pixels_may_take(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**26 + 1601)
    fails(path, r"sparse.png: it has more than 67110464 bytes; raise the limit with --max-pixels", max_pixels=100)


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=SAMPLES.parent.parent, **options)


def test_standard_input(tmp_path, rgb):
    path = save(Image.fromarray(rgb), tmp_path / "a.png")
    code = (
        "from jaxstyle.app.pictures.image_sources import load_source\n"
        "(p,) = load_source('-', 20).pictures\n"
        "print(p.name, p.image.shape, p.sha256)\n"
        "try: load_source('-', 20)\n"
        "except Exception as error: print(error)"
    )
    piped = run(code, input=path.read_bytes())
    with path.open("rb") as file:
        redirected = run(code, stdin=file)
    (wanted,) = load_source(str(path), 20).pictures
    again = "cannot read standard input: it is empty; it can be read for one image only"
    for found in (piped, redirected):
        assert found.stdout.decode().splitlines() == [f"stdin (13, 20, 3) {wanted.sha256}", again]
        assert found.stderr == b""
    assert b"cannot read standard input: it is not an image" in run(code, input=b"text").stderr
    endless = "from jaxstyle.app.pictures.read_image import read_image\nread_image('-', max_pixels=9)"
    with open("/dev/zero", "rb") as zero:  # noqa: PTH123
        assert b"standard input: it has more than 67109008 bytes" in run(endless, stdin=zero).stderr


def test_standard_input_that_is_a_terminal_or_closed(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stdin in (Terminal(), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        fails("-", "cannot read standard input: nothing is piped in")


def test_a_file_named_as_standard_input_is(tmp_path, rgb, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(Image.fromarray(rgb), tmp_path / "-", format="PNG")
    assert read_image("./-").shape == rgb.shape
    save(Image.fromarray(rgb), tmp_path / "sample:dog", format="PNG")
    assert [picture.name for picture in load_source(".", 30).pictures] == ["-", "sample:dog"]
    assert read_bytes("./-") == (tmp_path / "-").read_bytes()


def test_what_is_odd_is_told(tmp_path, rgb, capsys):
    frames = [Image.fromarray(np.roll(rgb, i)) for i in range(3)]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    read_image(path)
    assert capsys.readouterr().err == f"{path}: it has several frames, of which the first is taken\n"
    load_source(str(path), 64)
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: it has several frames, of which the first is taken",
        f"{path} has 30x20 pixels, fewer than --size 64: it keeps its size",
    ]
    load_source(str(path), 30, option="--other {}".format)
    assert "keeps" not in capsys.readouterr().err
    save(frames[0], tmp_path / "b.png", icc_profile=b"x")
    save(frames[0].resize((70, 50)), tmp_path / "c.png")
    source = load_source(str(tmp_path), 64, option="--other {}".format)
    assert [picture.image.shape for picture in source.pictures] == [(20, 30, 3), (20, 30, 3), (46, 64, 3)]
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"1 of 3 images in {tmp_path}: it has several frames, of which the first is taken"
    assert second.startswith(f"1 of 3 images in {tmp_path}: its colour profile can't be used and is ignored (")
    assert third == f"2 of 3 images in {tmp_path} are smaller than --other 64: they keep their size"


def test_notes_that_differ_in_counts_are_one_line(tmp_path, capsys):
    for i in range(3):
        values = np.full((8, 8), 0.5, "<f4")
        values[0, :i] = 2
        (tmp_path / f"{i}.pfm").write_bytes(b"Pf 8 8 -1\n" + values.tobytes())
    load_source(str(tmp_path), 8)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"3 of 3 images in {tmp_path}: its floats are taken as values from 0 to 1")
    counts = "1 of its 64 values are outside of 0 to 1 and are clipped (of the first; others have other numbers)"
    assert second == f"2 of 3 images in {tmp_path}: {counts}"


def test_options_reach_every_kind_of_source(tmp_path):
    save(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), tmp_path / "a.png")
    for text in (str(tmp_path), str(tmp_path / "a.png")):
        (picture,) = load_source(text, 8, background=(255, 0, 51)).pictures
        np.testing.assert_allclose(picture.image, [[[1, 0, 0.2]] * 8] * 8, atol=1e-6)
        with pytest.raises(StartError, match="it has 64 pixels, over the limit of 63"):
            load_source(text, 8, max_pixels=63)


def test_backgrounds():
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("#0a1B2c") == (10, 27, 44)
    assert parse_background("rgb(1, 2, 3)") == (1, 2, 3)
    for text in ("", "whit", "#12", "1,2,3", "x" * 1000):
        with pytest.raises(StartError, match="is no colour; give a name such as white, or #rrggbb$"):
            parse_background(text)
