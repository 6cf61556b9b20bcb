import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.colour import (
    colour_moments,
    luminance,
    match_colours,
    match_luminance,
    symmetric_sqrt,
    to_gray,
    with_colours_of,
)
from tests.conftest import relative_error

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def numpy_match(style, content):
    """Match colours by SciPy's matrix root, without the small number that the code adds."""
    s, c = (np.asarray(x, np.float64).reshape(-1, 3) for x in (style, content))
    cov_s, cov_c = (np.cov(x, rowvar=False, ddof=0) for x in (s, c))
    root = scipy.linalg.sqrtm(cov_s).real
    transport = np.linalg.solve(root, scipy.linalg.sqrtm(root @ cov_c @ root).real) @ np.linalg.inv(root)
    return np.clip(((s - s.mean(0)) @ transport.T + c.mean(0)).reshape(np.shape(style)), 0, 1)


def moments(image):
    pixels = np.asarray(image, np.float64).reshape(-1, 3)
    return pixels.mean(0), np.cov(pixels, rowvar=False, ddof=0)


@pytest.fixture
def soft(content, style):
    """Make images of so little contrast that no pixel is clipped."""
    return 0.5 + 0.1 * content, 0.4 + 0.2 * style


def test_luminance_and_gray(content):
    wanted = np.asarray(content, np.float64) @ YIQ[0]
    np.testing.assert_allclose(luminance(content), wanted, atol=1e-6)
    np.testing.assert_allclose(to_gray(content), np.repeat(wanted[..., None], 3, -1), atol=1e-6)


def test_moments_are_matched(soft):
    content, style = soft
    found = match_colours(style, content)
    assert found.shape == style.shape
    assert relative_error(found, numpy_match(style, content)) < 1e-3  # the code adds a little to the variances
    mean, covariance = moments(found)
    wanted_mean, wanted_covariance = moments(content)
    np.testing.assert_allclose(mean, wanted_mean, atol=1e-5)
    assert relative_error(covariance, wanted_covariance) < 0.02
    np.testing.assert_allclose(colour_moments(content)[1], wanted_covariance, rtol=1e-4, atol=1e-8)


def test_photographs_are_matched_to_what_clipping_leaves():
    content, style = read_image("sample:cat", 64), read_image("sample:swirls", 64)
    found = match_colours(jnp.asarray(style), jnp.asarray(content))
    assert np.abs(np.asarray(found) - numpy_match(style, content)).mean() < 2e-3
    before, after = (np.abs(np.subtract(moments(x)[1], moments(content)[1])).max() for x in (style, found))
    assert after < before / 5


@pytest.mark.usefixtures("x64")
def test_matching_an_image_with_itself_changes_nothing(content):
    content = jnp.asarray(np.asarray(content, np.float64))
    np.testing.assert_allclose(match_colours(content, content), content, atol=0.5 / 255)


def test_transport_is_the_nearest_of_all_that_match(soft):
    """Gatys' symmetric and Cholesky maps match as well, and change the colours more."""
    content, style = soft
    (mean, cov), (new_mean, new_cov) = moments(style), moments(content)
    chol, new_chol = np.linalg.cholesky(cov), np.linalg.cholesky(new_cov)
    root, new_root = (scipy.linalg.sqrtm(x).real for x in (cov, new_cov))
    others = [new_chol @ np.linalg.inv(chol), new_root @ np.linalg.inv(root)]
    changes = [np.square((np.asarray(style) - mean) @ m.T + new_mean - np.asarray(style)).mean() for m in others]
    assert np.square(match_colours(style, content) - style).mean() < min(changes)


def test_gray_and_constant_images(content, style):
    gray = to_gray(style)
    coloured = match_colours(gray, content)
    assert np.isfinite(coloured).all()
    assert moments(luminance(coloured)[..., None].repeat(3, -1))[1][0, 0] == pytest.approx(
        moments(to_gray(content))[1][0, 0], rel=0.1
    )
    noisy = gray + 0.002 * np.random.default_rng(0).normal(size=gray.shape)  # JPEG leaves such noise
    chroma = coloured - to_gray(coloured)
    difference = match_colours(jnp.asarray(noisy, jnp.float32), content) - coloured
    assert np.std(difference) < 0.5 * np.std(chroma) + 0.02
    without = match_colours(style, to_gray(content))
    assert np.abs(without - to_gray(without)).max() < 1e-3
    flat = jnp.full_like(style, 0.3)
    np.testing.assert_allclose(match_colours(style, flat), 0.3, atol=1e-3)
    for image in (match_colours(flat, content), match_colours(flat, flat)):
        assert np.isfinite(image).all()


def test_luminance_gets_the_contents_mean_and_deviation(soft):
    content, style = soft
    found = match_luminance(style, content)
    np.testing.assert_allclose(found, to_gray(found), atol=1e-4)
    y, wanted = np.asarray(luminance(style), np.float64), np.asarray(luminance(content), np.float64)
    wanted = wanted.std() / y.std() * (y - y.mean()) + wanted.mean()
    assert relative_error(found[..., 0], wanted) < 2e-3


def test_colours_are_put_back(content, style):
    gray = to_gray(content)
    np.testing.assert_allclose(with_colours_of(content, content), content, atol=1e-6)
    image = jnp.clip(0.5 + 0.3 * (style[: content.shape[0], : content.shape[1]] - 0.5), 0, 1)
    image = jnp.resize(image, content.shape)
    muted = gray + 0.2 * (content - gray)  # its colours fit beside any luminance there
    found = np.asarray(with_colours_of(image, muted), np.float64) @ YIQ.T
    np.testing.assert_allclose(found[..., 0], luminance(image), atol=1e-6)
    np.testing.assert_allclose(found[..., 1:], (np.asarray(muted, np.float64) @ YIQ.T)[..., 1:], atol=1e-5)


def test_colours_that_do_not_fit_keep_luminance_and_hue():
    rng = np.random.default_rng(1)
    image, content = rng.uniform(size=(2, 40, 50, 3))
    image[0, :3], image[0, 3:6] = 0, 1
    found = np.asarray(with_colours_of(jnp.asarray(image, jnp.float32), jnp.asarray(content, jnp.float32)), np.float64)
    assert found.min() >= 0
    assert found.max() <= 1
    found, wanted = found @ YIQ.T, content @ YIQ.T
    np.testing.assert_allclose(found[..., 0], image @ YIQ[0], atol=1e-5)
    cross = found[..., 1] * wanted[..., 2] - found[..., 2] * wanted[..., 1]
    np.testing.assert_allclose(cross, 0, atol=1e-5)
    assert (np.hypot(*found.T[1:]) <= np.hypot(*wanted.T[1:]) + 1e-5).all()


@pytest.mark.usefixtures("x64")
def test_symmetric_sqrt_and_its_derivative():
    rng = np.random.default_rng(2)
    a, d = rng.normal(size=(2, 3, 3))
    matrix, d = a @ a.T, d + d.T
    np.testing.assert_allclose(symmetric_sqrt(matrix), scipy.linalg.sqrtm(matrix).real, atol=1e-12)
    for m in (matrix, np.eye(3) * 0.7):  # eigh alone has no derivative at equal eigenvalues
        _, found = jax.jvp(symmetric_sqrt, (m,), (d,))
        wanted = (scipy.linalg.sqrtm(m + 1e-6 * d) - scipy.linalg.sqrtm(m - 1e-6 * d)).real / 2e-6
        np.testing.assert_allclose(found, wanted, atol=1e-7)
    assert np.isfinite(jax.jvp(symmetric_sqrt, (np.zeros((3, 3)),), (d,))[1]).all()


@pytest.mark.slow
def test_gradients_are_finite_and_transforms_compose(content, style):
    for image in (style, to_gray(style), jnp.zeros_like(style), jnp.full_like(style, 0.5)):
        for f in (match_colours, match_luminance):
            gradients = jax.grad(lambda s, c, f=f: jnp.square(f(s, c)).sum(), argnums=(0, 1))(image, content)
            assert all(np.isfinite(g).all() for g in gradients)
            np.testing.assert_allclose(jax.jit(f)(image, content), f(image, content), atol=2e-4)
    for image in (content, to_gray(content), jnp.zeros_like(content), jnp.ones_like(content)):
        gradients = jax.grad(lambda x, c: jnp.square(with_colours_of(x, c)).sum(), argnums=(0, 1))(image, content)
        assert all(np.isfinite(g).all() for g in gradients)
    both = jax.vmap(match_colours, (None, 0))(style, jnp.stack([content, content[::-1]]))
    np.testing.assert_allclose(both[0], match_colours(style, content), atol=1e-5)
