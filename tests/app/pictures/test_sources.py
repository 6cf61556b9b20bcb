import hashlib
import itertools
import os

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.pictures.named_images import SAMPLES, read_image
from jaxstyle.app.pictures.shapes import bucket_shapes, crop_center, make_pairs, share_shapes
from jaxstyle.app.pictures.sources import Picture, load_source
from jaxstyle.app.system.errors import StartError
from tests.tiny_dataset import encoded_image


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working folder, with a folder photos of four good images and some others."""
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
    assert capsys.readouterr().err == ""


def test_slices_of_a_folder(photos):
    assert names(load_source("photos[:2]", 16)) == ["C.png", "a.jpg"]
    assert names(load_source("photos/[-1:]", 16)) == ["d"]
    assert names(load_source("photos[1:3]", 16)) == ["a.jpg", "b.png"]
    fails("photos[4:]", r"photos\[4:\] holds no image")
    fails("photos[1]", r"cannot read photos\[1\]: no such file")
    fails("nothing[:2]", r"cannot read nothing\[:2\]: no such file")
    (photos.parent / "photos[:2]").mkdir()  # a name that is there means itself
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
    monkeypatch.setattr("jaxstyle.app.pictures.sources._MAX_PIXELS", 3 * 64**2)
    fails("photos", r"photos holds 4 images, more than the 3 of --size 64 .* take fewer, as photos\[:3\], or a smaller")
    assert len(load_source("photos", 32).pictures) == 4
    assert len(load_source("photos[:3]", 64).pictures) == 3
    assert len(load_source("photos/b.png", 10_000).pictures) == 1


def test_pairs():
    assert make_pairs("ab", [1, 2, 3], "all") == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]
    assert make_pairs("abc", [1, 2, 3], "zip") == [("a", 1), ("b", 2), ("c", 3)]
    assert make_pairs("a", [1, 2], "zip") == [("a", 1), ("a", 2)]
    assert make_pairs("ab", [1], "zip") == [("a", 1), ("b", 1)]
    with pytest.raises(StartError, match="2 content but 3 style images"):
        make_pairs("ab", [1, 2, 3], "zip")
    with pytest.raises(StartError, match="unknown pairing 'some'; valid: all, zip"):
        make_pairs("ab", [1], "some")


def test_equal_and_single_shapes_stay():
    assert bucket_shapes([]) == []
    assert bucket_shapes([(341, 512)]) == [(341, 512)]
    assert bucket_shapes([(341, 512)] * 5, 1) == [(341, 512)] * 5


def test_shapes_that_differ_by_rounding_are_shared():
    assert bucket_shapes([(342, 512), (341, 512), (512, 384), (512, 383)]) == [(341, 512)] * 2 + [(512, 383)] * 2


def test_no_more_is_cropped_than_needed():
    shapes = [(380, 512), (391, 512), (341, 512), (512, 512)]  # 391 is 2.8 % more than 380
    assert bucket_shapes(shapes, 4) == shapes
    assert bucket_shapes(shapes, 3) == [(380, 512), (380, 512), (341, 512), (512, 512)]
    assert len(set(bucket_shapes(shapes, 1))) == 3  # never more than 5 %


def possible(shape, target, crop):
    """Whether a rectangle of the target's size lies in the shape and leaves out at most the fraction `crop`."""
    inside = all(a >= b for a, b in zip(shape, target, strict=True))
    return inside and (np.prod(shape) - np.prod(target)) / np.prod(shape) <= crop + 1e-12


def fewest(shapes, crop):
    """Size of the smallest subset of the shapes that all can be cropped to, by trying all subsets."""
    for count in itertools.count(1):
        for chosen in itertools.combinations(shapes, count):
            if all(any(possible(s, target, crop) for target in chosen) for s in shapes):
                return count
    return None


def test_buckets_are_as_few_as_can_be():
    rng = np.random.default_rng(3)
    for _ in range(40):
        heights = rng.integers(40, 65, 7)
        shapes = sorted({(int(h), 64) if rng.random() < 0.7 else (64, int(h)) for h in heights})
        found = bucket_shapes(shapes, 1)
        assert all(possible(s, b, 0.05) for s, b in zip(shapes, found, strict=True))
        assert len(set(found)) == fewest(shapes, 0.05)


def test_shapes_of_any_size_lose_little():
    rng = np.random.default_rng(4)
    shapes = [tuple(map(int, s)) for s in rng.integers(32, 300, (500, 2))]
    found = bucket_shapes(shapes)
    assert all(possible(s, b, 0.05) for s, b in zip(shapes, found, strict=True))
    assert set(found) <= set(shapes)
    order = rng.permutation(500)
    assert bucket_shapes([shapes[i] for i in order]) == [found[i] for i in order]


def test_crop_center():
    image = np.arange(5 * 6 * 3).reshape(5, 6, 3)
    np.testing.assert_array_equal(crop_center(image, (3, 4)), image[1:4, 1:5])
    np.testing.assert_array_equal(crop_center(image, (4, 5)), image[:4, :5])
    np.testing.assert_array_equal(crop_center(image, (5, 6)), image)


def test_pictures_that_share_shapes(capsys):
    rng = np.random.default_rng(5)
    pictures = [Picture(str(h), rng.random((h, 64, 3), np.float32), "0") for h in (50, 51, 64, 51)]
    for picture in share_shapes(pictures[1:2] * 2, 1):
        np.testing.assert_array_equal(picture.image, pictures[1].image)
    assert capsys.readouterr().err == ""
    found = share_shapes(pictures)
    assert [p.image.shape for p in found] == [(50, 64, 3), (50, 64, 3), (64, 64, 3), (50, 64, 3)]
    assert [p.name for p in found] == ["50", "51", "64", "51"]
    np.testing.assert_array_equal(found[1].image, pictures[1].image[:50])
    assert capsys.readouterr().err == "cropped 2 of 4 images, by 2.0% at most, so that they share 2 shapes\n"
