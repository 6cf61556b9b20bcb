import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.optimise.lbfgs_curvature import apply_curvature, first_curvature, learn_curvature

H, W = 24, 20


@pytest.fixture(scope="module")
def learnt():
    """What forty steps of a Hessian teach that is four times as large in the right half and nine times for chroma."""
    rng, colours = np.random.default_rng(0), np.ones((3, 3)) / 3
    side = np.where(np.arange(W) < W // 2, 1, 4)[:, None]
    learn = jax.jit(learn_curvature)
    pixels, waves = first_curvature(jnp.zeros((H, W, 3)))
    for count in range(40):
        step = rng.standard_normal((H, W, 3))
        change = side * (step @ colours + 9 * step @ (np.eye(3) - colours))
        pixels, waves = learn(pixels, waves, jnp.float32(step), jnp.float32(change), count)
    return pixels, waves


def test_it_divides_by_what_the_hessian_multiplies_with(learnt):
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((H, W, 1)) * np.ones(3)
    grey, chroma = (np.asarray(apply_curvature(*learnt, jnp.float32(noise * c))) for c in ((1, 1, 1), (1, 0, -1)))
    size = lambda x: np.sqrt(np.mean(x**2))  # noqa: E731
    assert size(grey) / size(chroma) * np.sqrt(2 / 3) == pytest.approx(9, rel=0.2)
    left, right = (size(grey[:, part]) for part in (slice(2, W // 2 - 2), slice(W // 2 + 2, -2)))
    assert left / right == pytest.approx(4, rel=0.3)


def test_the_guess_is_symmetric_and_positive(learnt):
    rng = np.random.default_rng(2)
    x, y = (jnp.asarray(rng.standard_normal((H, W, 3)), jnp.float32) for _ in range(2))
    apply = jax.jit(apply_curvature)
    norm = float(jnp.vdot(x, apply(*learnt, x)))
    assert norm > 0
    assert float(jnp.vdot(y, apply(*learnt, x)) - jnp.vdot(x, apply(*learnt, y))) == pytest.approx(0, abs=1e-4 * norm)


def test_at_first_low_frequencies_are_freer_and_colours_alike():
    known = first_curvature(jnp.zeros((48, 48, 3)))
    x = np.arange(48) / 48
    for cycles in (2, 8):
        wave = jnp.asarray(
            np.sin(2 * np.pi * cycles * x)[:, None, None] * np.array([1.0, -0.5, 0.2]) * np.ones((48, 1))
        )
        slow = apply_curvature(*known, wave) / wave.std()
        if cycles == 2:
            first = slow.std()
    assert float(first / slow.std()) == pytest.approx(4, rel=0.02)


def test_shares_are_of_all_waves():
    rng = np.random.default_rng(3)
    for shape in ((7, 9, 3), (8, 6, 3), (1, 2, 3)):
        step, change = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for _ in range(2))
        pixels, waves = jax.jit(learn_curvature)(*first_curvature(step), step, change, 0)
        np.testing.assert_allclose(waves.sum((1, 2)), 1, rtol=1e-5)
        np.testing.assert_allclose(pixels.mean((1, 2, 3)), 1, rtol=1e-5)
        assert np.isfinite(jax.jit(apply_curvature)(pixels, waves, step)).all()
