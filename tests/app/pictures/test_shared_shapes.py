import itertools

import numpy as np

from jaxstyle.app.pictures.image_sources import Picture
from jaxstyle.app.pictures.shared_shapes import bucket_shapes, crop_center, share_shapes


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
    """Return whether the target fits into the shape and leaves out at most the fraction `crop`."""
    inside = all(a >= b for a, b in zip(shape, target, strict=True))
    return inside and (np.prod(shape) - np.prod(target)) / np.prod(shape) <= crop + 1e-12


def fewest(shapes, crop):
    """Find how few of the shapes suffice for all to be cropped to, by trying all subsets."""
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
