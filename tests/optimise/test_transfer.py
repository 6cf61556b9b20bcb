from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.parallel.lanes import make_lanes
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


SHAPE = (4, 5, 3)
BRIGHT = jnp.asarray(np.random.default_rng(0).uniform(0.3, 0.7, SHAPE), jnp.float32)


def simple(image, params, targets, weights):
    """An objective of the form that make_loss has: to be like one image, as bright as another number, and smooth."""
    content, style = jnp.square(image - BRIGHT).mean(), jnp.square(image.mean((0, 1)) - 0.9).sum()
    tv = jnp.square(jnp.diff(image, axis=0)).mean()
    total = weights.alpha * content + weights.beta * style + weights.tv * tv
    return total, js.Losses(content, style, tv, total)


def weights_of(*values, scale=1.0):
    return js.LossWeights(*(jnp.float32(scale * x) for x in values))


@pytest.mark.parametrize("optimizer", [optax.adam(0.02), optax.sgd(0.5), optax.lbfgs(linesearch=None), lbfgs(3)])
def test_only_the_ratios_of_the_weights_matter(optimizer):
    """To the bit where all have one power of two, though float32 holds no total of the largest, nor of the smallest."""
    transfer = js.make_transfer(simple, optimizer)
    run = jax.jit(partial(js.run, transfer, num_steps=6))
    ratios, ends = (0.025, 1.0, 0.5), {}
    for power in (0, -120, -37, 60, 126):
        state, losses = run(transfer.init(BRIGHT), None, None, weights_of(*ratios, scale=2.0**power))
        ends[power] = state
        whole = sum(2.0**power * r * np.asarray(x, np.float64) for r, x in zip(ratios, losses[:3], strict=True))
        fits = (whole > 1e-36) & (whole < 3.4e38)
        np.testing.assert_allclose(np.asarray(losses.total)[fits], whole[fits], rtol=1e-5)  # as it is, not divided
        assert not np.isnan(losses.total).any()
    for power, state in ends.items():
        jax.tree.map(np.testing.assert_array_equal, state, ends[0])
        assert np.abs(state.picture - BRIGHT).max() > 0.01, power


def test_every_lane_is_divided_by_its_own_weights():
    transfer = js.make_transfer(simple, optax.sgd(0.5))
    scales = jnp.array([2.0**-100, 1.0, 2.0**100])
    grid = js.LossWeights(scales, 2 * scales, jnp.zeros(3))
    images = jax.jit(partial(js.sweep, transfer, num_steps=4))(BRIGHT, None, None, grid).images
    for image in images:
        np.testing.assert_allclose(image, images[1], rtol=1e-6)
    assert np.abs(images - BRIGHT).max() > 0.05


@pytest.mark.parametrize("beta", [0.25, 1.0, 3.0, 1e3])
def test_the_optimiser_sees_the_loss_over_a_power_of_two_whatever_its_form(beta):
    """A term without a weight keeps its proportion to the others."""

    def own(image, params, targets, weights):
        value = weights.beta * jnp.square(image).sum() + image.sum()
        return value, js.Losses(*[jax.lax.stop_gradient(value)] * 4)

    transfer = js.make_transfer(own, optax.sgd(0.01), bounds=None)
    state, losses = transfer.step(transfer.init(BRIGHT), None, None, js.LossWeights(0.0, beta))
    image = np.asarray(BRIGHT, np.float64)
    wanted = image - 0.01 * (2 * beta * image + 1) / 2 ** np.floor(np.log2(beta))
    np.testing.assert_allclose(state.image, wanted, rtol=1e-5)
    np.testing.assert_allclose(losses.total, beta * (image**2).sum() + image.sum(), rtol=1e-5)


def test_weights_of_another_kind_are_left_to_the_loss():
    def own(image, params, targets, weights):
        value = weights["mine"] * jnp.square(image).sum()
        return value, js.Losses(value, value, value, value)

    transfer = js.make_transfer(own, optax.sgd(0.01), bounds=None)
    state, _ = transfer.step(transfer.init(BRIGHT), None, None, {"mine": 8.0})
    np.testing.assert_allclose(state.image, BRIGHT * (1 - 0.16), rtol=1e-5)


def test_weights_that_are_all_0_are_refused_where_they_are_known():
    transfer = js.make_transfer(simple, optax.sgd(0.1))
    state = transfer.init(BRIGHT)
    for nothing in (js.LossWeights(0.0, 0.0, 0.0), weights_of(0, 0, 1e-45), js.LossWeights(0, 0, np.zeros(()))):
        for call in (transfer.step, partial(js.run, transfer, num_steps=2)):
            with pytest.raises(ValueError, match=r"weights.alpha, beta and tv are all 0"):
                call(state, None, None, nothing)
    grid = js.LossWeights(jnp.array([1.0, 0.0]), 0.0, 0.0)
    lanes = make_lanes(transfer, grid)
    with pytest.raises(ValueError, match="of lane 1 are all 0"):
        js.sweep(transfer, BRIGHT, None, None, grid, num_steps=1)
    with pytest.raises(ValueError, match="of lane 1 are all 0"):
        js.run(lanes, lanes.init(jnp.stack([BRIGHT, BRIGHT])), None, None, grid, num_steps=1)
    state, _ = jax.jit(transfer.step)(state, None, None, js.LossWeights(0.0, 0.0, 0.0))  # where they are not
    np.testing.assert_array_equal(state.image, BRIGHT)


OF_OPTAX = {
    "adam": optax.adam(0.02),
    "adafactor": optax.adafactor(0.01),
    "lbfgs": optax.lbfgs(),
    "noisy_sgd": optax.noisy_sgd(0.01, key=jax.random.key(0)),
    "polyak_sgd": optax.polyak_sgd(),
    "MultiSteps": optax.MultiSteps(optax.adam(0.02), 2),
    "prodigy": optax.contrib.prodigy(),
    "schedule_free": optax.contrib.schedule_free_adamw(0.02),
    "muon": optax.contrib.muon(0.02),
    "ours": lbfgs(2),
}


@pytest.mark.parametrize("name", OF_OPTAX)
def test_half_precision_works_and_every_state_can_be_donated(name):
    transfer = js.make_transfer(simple, OF_OPTAX[name])
    step = jax.jit(transfer.step, donate_argnums=0)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        image = BRIGHT.astype(dtype)
        state = transfer.init(image)
        pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state) if x.size and x.dtype != "key<fry>"]
        assert len(set(pointers)) == len(pointers)
        for _ in range(3):
            state, losses = step(state, None, None, js.LossWeights())
        assert state.image.dtype == jnp.float32
        assert np.isfinite(state.image).all()
        assert np.isfinite(losses.total)
        np.testing.assert_array_equal(image, BRIGHT.astype(dtype))  # it is the caller's still


def test_init_copies_arrays_of_numpy_too():
    image = np.full(SHAPE, 0.5, np.float32)
    state = js.make_transfer(simple, optax.adam(0.1)).init(image)
    image[:] = 0
    np.testing.assert_array_equal(state.image, np.full(SHAPE, 0.5))


SAM = optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1))
REFUSED = {
    "optax.lookahead": [optax.lookahead(optax.sgd(0.1), 3, 0.5), optax.chain(optax.lookahead(optax.sgd(0.1), 3, 0.5))],
    "optax.contrib.sam": [
        SAM,
        optax.chain(optax.clip(1.0), SAM),
        optax.MultiSteps(SAM, 2),
        optax.apply_if_finite(SAM, 3),
    ],
    "optax.contrib.dpsgd": [
        optax.chain(optax.contrib.differentially_private_aggregate(1.0, 1.0, key=jax.random.key(0)), optax.sgd(0.1))
    ],
    "optax.contrib.sophia": [optax.contrib.sophia(0.1)],
}


@pytest.mark.parametrize(("name", "optimizer"), [(name, o) for name, found in REFUSED.items() for o in found])
def test_optimisers_that_want_more_than_one_image_are_refused_by_name(name, optimizer):
    with pytest.raises(ValueError, match=f"optimizer can't be or contain {name}: .*; take another"):
        js.make_transfer(simple, optimizer)


def test_an_optimiser_that_gives_another_shape_is_refused():
    rows = optax.stateless(lambda updates, params: updates.mean(0))
    transfer = js.make_transfer(simple, rows)
    with pytest.raises(ValueError, match=r"updates of shape \(5, 3\) for an image of shape \(4, 5, 3\)"):
        transfer.step(transfer.init(BRIGHT), None, None, js.LossWeights())


def test_an_update_that_is_not_finite_is_not_taken():
    transfer = js.make_transfer(simple, optax.stateless(lambda updates, params: updates / 0))
    state = transfer.init(BRIGHT)
    after, losses = transfer.step(state, None, None, js.LossWeights())
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert np.isnan(losses.total)
