from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.averaging import make_averaging
from jaxstyle.lanes import make_lanes
from jaxstyle.pyramid import carry
from jaxstyle.stopping import DIVERGED, make_stopping
from tests.command import QUICK, fails, jaxstyle
from tests.test_stopping import quadratic

RATE, DECAY = 0.1, 0.8


def targets() -> Any:
    return jnp.zeros((2, 3, 3))


def descend(transfer, steps, *, start=0.9, weights=None) -> tuple[Any, Any]:
    state = transfer.init(jnp.full((2, 3, 3), start))
    weights = weights or js.LossWeights(1.0, 0.0)
    return js.run(transfer, state, {}, targets(), weights, num_steps=steps)


def sgd(rate=RATE):
    return js.make_transfer(quadratic, optax.sgd(rate), bounds=None)


@pytest.mark.usefixtures("x64")
def test_average_is_the_weighted_mean_of_the_images_after_each_step():
    images = [0.9 * (1 - 2 * RATE) ** i for i in range(1, 8)]  # a step takes 2 rate times the image away
    weights = [DECAY ** (7 - i) for i in range(1, 8)]
    averaging = make_averaging(sgd(), decay=DECAY)
    state, losses = descend(averaging, 7)
    np.testing.assert_allclose(state.picture, np.full((2, 3, 3), np.average(images, weights=weights)), rtol=1e-12)
    plain, same = descend(sgd(), 7)
    np.testing.assert_array_equal(state.image, plain.image)
    np.testing.assert_array_equal(losses.total, same.total)


def test_before_the_first_step_it_is_the_image_and_without_decay_always():
    image = jnp.full((2, 3, 3), 0.3)
    np.testing.assert_array_equal(make_averaging(sgd()).init(image).picture, image)
    state, _ = descend(make_averaging(sgd(), decay=0), 3)
    np.testing.assert_array_equal(state.picture, state.image)


def test_lanes_are_averaged_each_by_itself():
    transfer, alphas = make_averaging(sgd(), decay=DECAY), jnp.array([0.5, 1.0, 2.0])
    lanes = make_lanes(transfer, js.LossWeights(alphas, 0.0))
    state, _ = js.run(
        lanes,
        lanes.init(jnp.full((3, 2, 3, 3), 0.9)),
        {},
        targets(),
        js.LossWeights(alphas, 0.0),
        num_steps=4,
    )
    for i, alpha in enumerate(alphas):
        alone, _ = descend(transfer, 4, weights=js.LossWeights(alpha, 0.0))
        np.testing.assert_allclose(state.picture[i], alone.picture, rtol=1e-6)
    result = js.sweep(
        transfer,
        jnp.full((2, 3, 3), 0.9),
        {},
        targets(),
        js.LossWeights(alphas, jnp.float32(0)),
        num_steps=4,
    )
    np.testing.assert_allclose(result.images, state.picture, rtol=1e-6)


def test_one_that_diverges_has_its_last_good_image_and_no_average():
    stopping = make_stopping(make_averaging(sgd(2.0), decay=DECAY))  # each step makes the total 9 times as large
    state, _ = descend(stopping, 6, start=0.02)
    assert state.status == DIVERGED
    np.testing.assert_array_equal(state.picture, state.image)
    assert np.abs(state.picture).max() <= 1


def test_a_larger_size_starts_from_the_average_and_averages_anew():
    averaging = make_averaging(js.make_transfer(quadratic, optax.adam(0.05)), decay=DECAY)
    state, _ = descend(averaging, 5)
    grown: Any = carry(averaging, state, (4, 6))
    assert grown.weight == 0
    np.testing.assert_allclose(grown.image, jnp.full((4, 6, 3), state.picture[0, 0, 0]), rtol=1e-6)
    assert grown.transfer.optimizer[0].mu.shape == (4, 6, 3)
    assert np.abs(grown.transfer.optimizer[0].mu).max() > 0


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        make_averaging(sgd(), decay=decay)


@pytest.mark.slow
def test_command_averages(images, capsys):
    transfer = ["transfer", "c.png", "s.png", *QUICK]
    assert jaxstyle(*transfer, "-o", "plain.png") == 0
    assert jaxstyle(*transfer, "--average", "0", "-o", "same.png") == 0
    assert jaxstyle(*transfer, "--average", "0.9", "-o", "averaged.png") == 0
    names = ("plain.png", "same.png", "averaged.png")
    plain, same, averaged = (np.asarray(Image.open(name)).astype(int) for name in names)
    np.testing.assert_array_equal(plain, same)
    assert np.abs(averaged - plain).max() > 0
    capsys.readouterr()
    fails(capsys, 2, "1 is not from 0 to below 1", *transfer, "--average", "1", "-o", "x.png")
