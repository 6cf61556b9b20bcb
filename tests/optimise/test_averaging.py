from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.pyramid import carry, run_pyramid
from jaxstyle.optimise.stopping import CONVERGED, DIVERGED, NOT_FINITE, RUNNING, make_stopping
from jaxstyle.optimise.transfer_state import offered
from jaxstyle.parallel.lanes import make_lanes
from tests.command import QUICKEST, fails, jaxstyle
from tests.optimise.test_stopping import quadratic

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


ENDS = {
    "runs": (RUNNING, 0.1, None, 0.0),
    "converges": (CONVERGED, 0.05, 0.5, 0.0),
    "diverges": (DIVERGED, 2.0, None, 0.0),
    "is not finite": (NOT_FINITE, 0.1, None, 1.0),
}
START = 0.9


def both_orders(rate, tolerance, inner=None):
    plain = sgd(rate) if inner is None else inner
    stop = partial(make_stopping, tolerance=tolerance, window=3)
    return stop(make_averaging(plain, decay=DECAY)), make_averaging(stop(plain), decay=DECAY)


@pytest.mark.parametrize("name", ENDS)
def test_stopping_and_averaging_work_in_either_order(name):
    """The same picture at every step."""
    status, rate, tolerance, beta = ENDS[name]
    weights = js.LossWeights(1.0, beta, 0.0)
    start, found = jnp.full((2, 3, 3), START), []
    for transfer in both_orders(rate, tolerance):
        states = [transfer.init(start)]
        step = jax.jit(transfer.step)
        for _ in range(12):
            state, _ = step(states[-1], {}, targets(), weights)
            states.append(state)
        assert offered(state, "status") == status
        found.append(np.stack([state.picture for state in states]))
    np.testing.assert_allclose(*found, rtol=1e-6)
    stopped = next((i for i, x in enumerate(found[0]) if (found[0][i:] == x).all()), None)
    assert (stopped is None or stopped == 12) == (status == RUNNING)


def test_lanes_of_both_orders_are_what_each_is_alone():
    weights = js.LossWeights(jnp.ones(2), jnp.array([0.0, 1.0]), jnp.zeros(2))
    for transfer in both_orders(0.1, None):
        result = js.sweep(transfer, jnp.full((2, 3, 3), START), {}, targets(), weights, num_steps=7)
        assert offered(result.state, "status").tolist() == [RUNNING, NOT_FINITE]
        for image, beta in zip(result.images, (0.0, 1.0), strict=True):
            alone, _ = descend(transfer, 7, weights=js.LossWeights(1.0, beta, 0.0))
            np.testing.assert_allclose(image, alone.picture, rtol=1e-6)


@pytest.mark.slow
def test_both_orders_are_carried_to_other_sizes():
    """Failed lanes stay failed, with their picture; others go on, and average anew."""
    weights = js.LossWeights(jnp.ones(3), jnp.array([0.0, 1.0, 0.0]), jnp.zeros(3))
    start = jnp.stack([jnp.full((4, 4, 3), x) for x in (0.9, 0.3, 0.5)])  # the second is not finite where it starts
    shapes, steps = ((2, 2), (4, 4)), (4, 3)
    pictures = []
    for transfer in both_orders(None, 1e-9, js.make_transfer(quadratic, optax.adam(0.05))):
        lanes = make_lanes(transfer, weights)
        runs = partial(run_pyramid, lanes, lambda params, content, style: jnp.zeros(content.shape))
        state, losses = runs({}, start[0], start[0], weights, shapes=shapes, num_steps=steps, start=start)
        assert offered(state, "status").tolist() == [RUNNING, NOT_FINITE, RUNNING]
        assert offered(state, "steps").tolist() == [7, 0, 7]
        assert [rows.total.shape for rows in losses] == [(4, 3), (3, 3)]
        assert np.isnan(losses[1].total[:, 1]).all()
        np.testing.assert_allclose(state.picture[1], 0.3, atol=1 / 255)
        np.testing.assert_allclose(offered(state, "weight"), [1 - DECAY**3, 0, 1 - DECAY**3], rtol=1e-5)
        moved = offered(state, "optimizer")
        np.testing.assert_array_equal(moved[0].count, [7, 0, 7])
        pictures.append(state.picture)
        alone = carry(transfer, jax.tree.map(lambda x: x[0], state), (6, 5))
        assert alone.picture.shape == (6, 5, 3)
        assert offered(alone, "weight") == 0
    np.testing.assert_allclose(*pictures, rtol=1e-6)


def test_a_step_that_is_not_taken_does_not_count():
    averaging = make_averaging(sgd(), decay=DECAY)
    state, _ = descend(averaging, 3)
    after, losses = averaging.step(state, {}, targets(), js.LossWeights(np.nan, 0.0))
    assert np.isnan(losses.total)
    jax.tree.map(np.testing.assert_array_equal, after, state)


@pytest.mark.slow
def test_a_gradient_through_both_is_that_of_the_steps():
    start = jnp.full((2, 3, 3), START)
    for transfer in both_orders(0.1, None):

        def f(alpha, runner, transfer=transfer):
            state, _ = runner(transfer, transfer.init(start), {}, targets(), js.LossWeights(alpha, 0.0), num_steps=4)
            return state.picture.sum()

        slope = jax.jit(jax.grad(f), static_argnums=1)
        found, wanted = (slope(jnp.float32(1.3), runner) for runner in (run_checkpointed, js.run))
        assert np.isfinite(found)
        assert abs(found) > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        make_averaging(sgd(), decay=decay)


@pytest.mark.slow
def test_command_averages(images, capsys):
    transfer = ["transfer", "c.png", "s.png", *QUICKEST]
    assert jaxstyle(*transfer, "-o", "plain.png") == 0
    assert jaxstyle(*transfer, "--average", "0", "-o", "same.png") == 0
    assert jaxstyle(*transfer, "--average", "0.9", "-o", "averaged.png") == 0
    names = ("plain.png", "same.png", "averaged.png")
    plain, same, averaged = (np.asarray(Image.open(name)).astype(int) for name in names)
    np.testing.assert_array_equal(plain, same)
    assert np.abs(averaged - plain).max() > 0
    capsys.readouterr()
    fails(capsys, 2, "1 is not from 0 to below 1", *transfer, "--average", "1", "-o", "x.png")
