import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.pictures.read_image import SAMPLES, read_image
from jaxstyle.app.system.errors import StartError
from tests.tiny_dataset import encoded_image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Make a working folder with a folder photos, which holds four good images and some other files."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    for i, name in enumerate(["b.png", "a.jpg", "C.png", "d"]):
        (folder / name).write_bytes(encoded_image(i, "JPEG" if name == "a.jpg" else "PNG"))
    (folder / "inside" / "e.png").write_bytes(encoded_image(5))
    (folder / ".hidden.png").write_bytes(encoded_image(6))
    return folder


def names(source):
    return [p.name for p in source.pictures]


def fails(text, pattern, **options):
    with pytest.raises(StartError, match=pattern) as caught:
        load_source(str(text), 64, **options)
    assert "\n" not in str(caught.value)


def test_a_file_is_one_picture(photos):
    (picture,) = load_source("photos/b.png", 16).pictures
    assert picture.name == "b.png"
    assert picture.sha256 == hashlib.sha256(encoded_image(0)).hexdigest()
    np.testing.assert_array_equal(picture.image, read_image("photos/b.png", 16))
    assert picture.image.shape == (13, 16, 3)


def test_a_sample_is_one_picture():
    (picture,) = load_source("sample:cat", 40).pictures
    assert picture.name == "cat.jpg"
    assert picture.sha256 == hashlib.sha256((SAMPLES / "cat.jpg").read_bytes()).hexdigest()
    np.testing.assert_array_equal(picture.image, read_image("sample:cat", 40))


def test_what_is_no_file_is_an_error(photos):
    (photos / "text.png").write_text("hello")
    fails("photos/text.png", "cannot read photos/text.png: it is not an image")
    fails("no.png", "cannot read no.png: no such file")
    fails("", "an empty name is no image")
    fails("a\0b", "no such file|null")
    fails("x" * 5000, "cannot read .*x'?: ")
    fails("sample:dog", "unknown sample image 'dog'")


def test_a_small_file_is_an_error_that_names_the_size_to_take(photos):
    fails("photos/b.png", "b.png has 24x20 pixels, too few .* at least 32 on each side", smallest=32)
    with pytest.raises(StartError, match=r"--other 17 makes photos/b.png 17x14 .* works is --other 19$"):
        load_source("photos/b.png", 17, smallest=16, option="--other {}".format)
    assert load_source("photos/b.png", 19, smallest=16).pictures[0].image.shape == (16, 19, 3)


def test_a_folder_is_its_images_by_name(photos, capsys):
    for text in ("photos", "photos/", str(photos)):
        source = load_source(text, 16)
        assert names(source) == ["C.png", "a.jpg", "b.png", "d"]
        assert source.skipped == {}
    for picture in source.pictures:
        np.testing.assert_array_equal(picture.image, read_image(photos / picture.name, 16))
        assert picture.sha256 == hashlib.sha256((photos / picture.name).read_bytes()).hexdigest()
        assert load_source(picture.source, 16).pictures[0].sha256 == picture.sha256
    assert capsys.readouterr().err == ""


def test_slices_of_a_folder(photos):
    assert names(load_source("photos[:2]", 16)) == ["C.png", "a.jpg"]
    assert names(load_source("photos/[-1:]", 16)) == ["d"]
    assert names(load_source("photos[1:3]", 16)) == ["a.jpg", "b.png"]
    assert [p.source for p in load_source("photos[1:3]", 16).pictures] == ["photos/a.jpg", "photos/b.png"]
    fails("photos[4:]", r"photos\[4:\] holds no image")
    fails("photos[1]", r"cannot read photos\[1\]: no such file")
    fails("nothing[:2]", r"cannot read nothing\[:2\]: no such file")
    (photos.parent / "photos[:2]").mkdir()  # the name of an existing folder means that folder
    (photos.parent / "photos[:2]" / "x.png").write_bytes(encoded_image(1))
    assert names(load_source("photos[:2]", 16)) == ["x.png"]
    (photos.parent / "photos[:1]").write_bytes(encoded_image(1))
    assert names(load_source("photos[:1]", 16)) == ["photos[:1]"]


def test_unreadable_files_are_skipped_named_and_counted(photos, capsys):
    (photos / "cut.png").write_bytes(encoded_image(7)[:500])
    (photos / "notes.txt").write_text("hello")
    (photos / "empty.jpg").touch()
    (photos / "gone.png").symlink_to("nowhere")
    os.mkfifo(photos / "pipe.png")
    Image.new("RGB", (40, 7)).save(photos / "small.png")
    source = load_source("photos", 24, smallest=8)
    assert names(source) == ["C.png", "a.jpg", "b.png", "d"]
    assert list(source.skipped) == ["cut.png", "empty.jpg", "gone.png", "notes.txt", "pipe.png", "small.png"]
    assert source.skipped["notes.txt"] == "it is not an image, but text"
    assert source.skipped["gone.png"] == "no such file"
    assert source.skipped["pipe.png"].startswith("it is not a regular file")
    assert source.skipped["small.png"] == "24x4 pixels, fewer than the 8 a side that the layers need"
    assert "truncated or damaged" in source.skipped["cut.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("skipped 6 of 10 in photos: cut.png (the image is truncated or damaged")
    assert line.endswith("pipe.png (it is not a regular file; to pipe an image in, give -) and 1 more")


def test_names_that_no_line_can_hold(photos, capsys):
    for raw in (b"1\n.png", b"2\xff.png"):
        (photos / os.fsdecode(raw)).write_bytes(encoded_image(1))
    (photos / os.fsdecode(b"3\xff\n.png")).write_bytes(b"")
    source = load_source("photos", 16)
    assert names(source)[:2] == ["1\\n.png", "2\\udcff.png"]
    assert list(source.skipped) == ["3\\udcff\\n.png"]
    assert [p.source for p in source.pictures[:2]] == ["photos/1\n.png", os.fsdecode(b"photos/2\xff.png")]
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_without_a_picture(photos, capsys):
    fails(photos / "inside" / "..", "24x20 pixels, fewer than the 32", smallest=32)
    for file in photos.iterdir():
        if not file.name.startswith("inside"):
            file.unlink()
    fails("photos", "^photos holds no image that can be used$")
    (photos / "notes.txt").write_text("hello")
    fails("photos", r"^photos holds no image that can be used: notes.txt \(it is not an image, but text\)$")
    assert capsys.readouterr().err == ""


def test_more_than_fit_in_memory(photos, monkeypatch):
    monkeypatch.setattr("jaxstyle.app.pictures.image_sources._MAX_PIXELS", 3 * 64**2)
    fails("photos", r"photos holds 4 images, more than the 3 of --size 64 .* take fewer, as photos\[:3\], or a smaller")
    assert len(load_source("photos", 32).pictures) == 4
    assert len(load_source("photos[:3]", 64).pictures) == 3
    assert len(load_source("photos/b.png", 10_000).pictures) == 1
