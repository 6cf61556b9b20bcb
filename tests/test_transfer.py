from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.transfer import run_chunk
from tests.conftest import relative_error, widen

WEIGHTS = js.LossWeights(jnp.float32(1), jnp.float32(0.5), jnp.float32(0.01))


@pytest.mark.parametrize("optimizer", [optax.adam(0.02), optax.sgd(1e-3, momentum=0.9), optax.adamw(0.01)])
def test_a_step_is_optax_and_clipping(shallow, params, content, optimizer):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optimizer)
    state = transfer.init(content)
    found, losses = transfer.step(state, params, targets, WEIGHTS)
    gradient = jax.grad(lambda x: loss(x, params, targets, WEIGHTS)[0])(content)
    updates, _ = optimizer.update(gradient, optimizer.init(content), content)
    np.testing.assert_allclose(found.image, jnp.clip(content + updates, 0, 1), atol=1e-6)
    assert losses.total == loss(content, params, targets, WEIGHTS)[0]


def test_bounds(shallow, params, content):
    _, loss, targets = shallow
    step = 10.0  # far out of [0, 1]
    clipped = js.make_transfer(loss, optax.adam(step), bounds=(0.2, 0.6))
    image = clipped.step(clipped.init(content), params, targets, WEIGHTS)[0].image
    assert (float(image.min()), float(image.max())) == (pytest.approx(0.2), pytest.approx(0.6))
    free = js.make_transfer(loss, optax.adam(step), bounds=None)
    assert float(free.step(free.init(content), params, targets, WEIGHTS)[0].image.max()) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "bounds", "ratio"), [(optax.adam(0.05), (0.0, 1.0), 0.5), (optax.lbfgs(), None, 0.5)]
)
def test_run_lowers_the_loss(shallow, params, content, optimizer, bounds, ratio):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optimizer, bounds=bounds)
    state, losses = jax.jit(partial(js.run, transfer, num_steps=12))(
        transfer.init(1 - content), params, targets, WEIGHTS
    )
    assert losses.total.shape == (12,)
    final = loss(state.image, params, targets, WEIGHTS)[0]
    assert final < losses.total[-1] < ratio * losses.total[0]


@pytest.mark.slow
def test_run_is_a_loop_of_steps(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    with jax.enable_x64(True):
        params, targets, state = widen(params), widen(targets), transfer.init(widen(content))
        found, losses = jax.jit(partial(js.run, transfer, num_steps=5))(state, params, targets, WEIGHTS)
        rows = []
        for _ in range(5):
            state, row = transfer.step(state, params, targets, WEIGHTS)
            rows.append(row.total)
        assert relative_error(found.image, state.image) < 1e-10
        assert relative_error(losses.total, rows) < 1e-10


def test_chunks_of_any_length_are_bit_identical_and_compiled_once(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    traces = []

    def counted(*args):
        traces.append(1)
        return run_chunk(transfer, *args, capacity=6)

    chunk = jax.jit(counted)
    ends = []
    for lengths in ([6], [1, 2, 3], [5, 1]):
        state, rows = transfer.init(content), []
        for count in lengths:
            state, losses = chunk(state, params, targets, WEIGHTS, count)
            rows.append(losses.total[:count])
        ends.append((state.image, jnp.concatenate(rows)))
    for image, totals in ends[1:]:
        np.testing.assert_array_equal(image, ends[0][0])
        np.testing.assert_array_equal(totals, ends[0][1])
    assert len(traces) == 1


def test_a_step_that_is_not_finite_changes_nothing(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    state, _ = transfer.step(transfer.init(content), params, targets, WEIGHTS)
    after, losses = transfer.step(state, params, targets, WEIGHTS._replace(beta=jnp.float32(jnp.inf)))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert jnp.isnan(losses.total)


def test_arguments_that_make_no_sense(shallow, params, content):
    _, loss, targets = shallow
    for bounds in ((1.0, 0.0), (0.0, float("nan")), (0.0, 0.5, 1.0)):
        with pytest.raises(ValueError, match=r"bounds must be None or \(low, high\)"):
            js.make_transfer(loss, optax.adam(0.1), bounds=bounds)
    transfer = js.make_transfer(loss, optax.adam(0.1))
    with pytest.raises(ValueError, match="got uint8: divide bytes by 255"):
        transfer.init(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="num_steps must be a whole number, 0 or more, got -1"):
        js.run(transfer, transfer.init(content), params, targets, WEIGHTS, num_steps=-1)
    with pytest.raises(ValueError, match="microbatch must be a whole number, 1 or more, got 0"):
        js.sweep(transfer, content, params, targets, js.weight_grid(), num_steps=1, microbatch=0)
