from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.stopping import CONVERGED, DIVERGED, NOT_FINITE, RUNNING, make_stopping
from jaxstyle.parallel.lanes import make_lanes


def quadratic(image, params, targets, weights):
    """alpha times the squared distance to the targets; NaN where beta is above 0 and the image below 0.4."""
    distance = weights.alpha * jnp.square(image - targets).sum()
    total = jnp.where((weights.beta > 0) & (image.mean() < 0.4), jnp.nan, distance)
    return total, Losses(distance, distance, distance, total)


def follow(transfer, steps, *, rate=1.0, beta=0.0, start=1.0):
    state = transfer.init(jnp.full((2, 2, 3), start))
    states, totals = [state], []
    step = jax.jit(transfer.step)
    for _ in range(steps):
        state, losses = step(state, None, jnp.zeros((2, 2, 3)), js.LossWeights(jnp.float32(rate), jnp.float32(beta)))
        states.append(state)
        totals.append(float(losses.total))
    return states, np.array(totals)


def sgd(rate, **options):
    plain = js.make_transfer(quadratic, optax.sgd(rate), bounds=None)
    return plain, make_stopping(plain, **options)


def test_one_that_goes_well_is_the_plain_transfer():
    plain, stopping = sgd(0.1)
    (*_, wanted), totals = follow(plain, 5)
    (*_, found), same = follow(stopping, 5)
    np.testing.assert_array_equal(found.image, wanted.image)
    np.testing.assert_array_equal(same, totals)
    assert (found.status, found.steps) == (RUNNING, 5)


def test_one_that_diverges_goes_back_to_the_image_before():
    # Each step multiplies the image by 1 - 2 rate = -3, the total by 9: 3 steps make it more than 100 times the first.
    _, stopping = sgd(2.0)
    states, totals = follow(stopping, 6, start=0.02)
    stopped = next(i for i, s in enumerate(states) if s.status == DIVERGED)
    assert totals[stopped - 1] > 100 * totals[0] > totals[stopped - 2]
    assert states[-1].steps == stopped - 1
    assert np.isnan(totals[stopped:]).all()
    good = np.round(np.clip(np.asarray(states[stopped - 2].image), 0, 1) * 255) / 255
    np.testing.assert_allclose(states[-1].image, good, atol=1e-6)


def test_a_larger_limit_of_its_own_counts():
    _, stopping = sgd(2.0)
    start = stopping.init(jnp.full((2, 2, 3), 0.02))
    state = start._replace(limit=jnp.float32(1e9))
    for _ in range(5):
        state, _ = stopping.step(state, None, jnp.zeros((2, 2, 3)), js.LossWeights(jnp.float32(1), jnp.float32(0)))
    assert state.status == RUNNING


def test_one_that_is_not_finite_goes_back_to_the_image_before():
    _, stopping = sgd(0.1)
    states, totals = follow(stopping, 8, beta=1.0)  # 1, 0.8, 0.64, 0.512, 0.41, 0.33: not finite
    assert np.isfinite(totals[:5]).all()
    assert np.isnan(totals[5:]).all()
    assert (states[-1].status, states[-1].steps) == (NOT_FINITE, 5)
    np.testing.assert_allclose(states[-1].image, round(0.8**4 * 255) / 255, atol=1e-6)


def test_it_has_converged_when_the_best_total_falls_too_little_in_the_window():
    _, stopping = sgd(0.05, tolerance=0.5, window=3)
    states, totals = follow(stopping, 10)  # each step multiplies the total by 0.81, three by 0.53
    assert (states[-1].status, states[-1].steps) == (CONVERGED, 3)
    assert np.isnan(totals[4:]).all()
    np.testing.assert_array_equal(states[-1].image, states[3].image)
    _, stopping = sgd(0.05, tolerance=0.4, window=3)
    assert follow(stopping, 10)[0][-1].status == RUNNING
    _, stopping = sgd(0.0, tolerance=0.0, window=2)
    assert follow(stopping, 5)[0][-1].steps == 2


def test_what_is_too_large_or_too_small_for_float32_is_measured_all_the_same():
    """Adam does well, at weights for which float32 holds no total, or 0."""

    def distance(image, params, targets, weights):
        content = 10 * jnp.square(image).sum()
        total = weights.alpha * content
        return total, Losses(content, content, content, total)

    transfer = make_stopping(js.make_transfer(distance, optax.adam(0.05)), tolerance=0.05, window=3)
    run = jax.jit(partial(js.run, transfer, num_steps=40))
    ends = []
    for power in (0, 126, -126):
        state, losses = run(transfer.init(jnp.ones((2, 2, 3))), None, None, js.LossWeights(2.0**power, 0.0))
        assert state.status in (RUNNING, CONVERGED)
        ends.append((state, losses.content))
    assert np.isinf(run(transfer.init(jnp.ones((2, 2, 3))), None, None, js.LossWeights(2.0**126, 0.0))[1].total[0])
    for end in ends[1:]:
        jax.tree.map(np.testing.assert_array_equal, end, ends[0])


def test_one_whose_loss_is_not_finite_at_the_start_keeps_the_start():
    _, stopping = sgd(0.1)
    states, totals = follow(stopping, 3, beta=1.0, start=0.2)
    assert (states[-1].status, states[-1].steps) == (NOT_FINITE, 0)
    assert np.isnan(totals).all()
    np.testing.assert_allclose(states[-1].picture, 0.2, atol=1e-6)


def test_every_array_of_the_state_can_be_donated():
    _, stopping = sgd(0.1)
    state = stopping.init(jnp.ones((2, 2, 3)))
    jax.jit(stopping.step, donate_argnums=0)(state, None, jnp.zeros((2, 2, 3)), js.LossWeights())


def test_lanes_come_last():
    plain, _ = sgd(0.1)
    lanes = make_lanes(plain, js.LossWeights(jnp.ones(2)))
    for wrapper in (make_stopping, make_averaging):
        with pytest.raises(ValueError, match=f"{wrapper.__name__} takes a transfer of one image .*; lanes come last"):
            wrapper(lanes).init(jnp.ones((2, 2, 2, 3)))


def test_bad_arguments():
    plain, _ = sgd(0.1)
    for options in ({"tolerance": -1.0}, {"tolerance": float("nan")}, {"window": 0}, {"factor": 1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            make_stopping(plain, **options)
