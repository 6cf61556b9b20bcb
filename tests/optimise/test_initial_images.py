from functools import partial

import jax
import numpy as np
import pytest

from jaxstyle.optimise.initial_images import NOISY_STARTS, STARTS, cover, starting_image


def test_starting_images(content, style):
    key = jax.random.key(0)
    start = partial(starting_image, content=content, style=style, key=key)
    np.testing.assert_array_equal(start("content"), content)
    noise = start("noise")
    assert noise.shape == content.shape
    assert 0.45 < noise.mean() < 0.55
    covered = start("style")
    assert covered.shape == content.shape
    assert np.abs(covered.mean((0, 1)) - style.mean((0, 1))).max() < 0.1
    np.testing.assert_array_equal(starting_image("style", style, style, key), style)
    gray = start("gray")
    assert 0 < np.abs(gray - 0.5).max() < 0.6 / 255
    with pytest.raises(ValueError, match="unknown start 'zeros'; valid: content, noise, style, gray, statistics"):
        start("zeros")


@pytest.mark.parametrize("name", STARTS)
def test_noise_depends_on_the_key_alone(content, style, name):
    one, again, other = (starting_image(name, content, style, jax.random.key(seed)) for seed in (0, 0, 1))
    assert one.dtype == content.dtype
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5 if name in NOISY_STARTS else (one == other).all()


def test_statistics_are_those_of_the_style(content, style):
    style = 0.4 + 0.2 * style  # nothing is clipped
    wide = np.broadcast_to(content[:1, :1], (300, 400, 3))
    found = np.asarray(starting_image("statistics", wide, style, jax.random.key(3)), np.float64).reshape(-1, 3)
    pixels = np.asarray(style, np.float64).reshape(-1, 3)
    np.testing.assert_allclose(found.mean(0), pixels.mean(0), atol=1e-3)
    wanted = np.cov(pixels, rowvar=False)
    np.testing.assert_allclose(np.cov(found, rowvar=False), wanted, atol=0.03 * wanted.max())


def test_cover_keeps_the_aspect_and_the_middle():
    image = np.zeros((20, 60, 3), np.float32)
    image[5:15, 25:35] = 1  # a square in the middle
    found = np.asarray(cover(image, 40, 40))
    assert found.shape == (40, 40, 3)
    np.testing.assert_allclose(found, found[::-1], atol=1e-5)
    np.testing.assert_allclose(found, found[:, ::-1], atol=1e-5)
    assert found[:, :, 0].mean() == pytest.approx(0.25, abs=0.01)
    assert found[20, 20, 0] == pytest.approx(1, abs=0.05)
