from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.pyramid import carry, mix, resize, run_pyramid
from jaxstyle.optimise.pyramid_sizes import scales, steps_of
from jaxstyle.optimise.stopping import CONVERGED, RUNNING, make_stopping
from jaxstyle.optimise.transfer_state import TransferState
from jaxstyle.parallel.lanes import make_lanes
from tests.conftest import relative_error, widen


@pytest.mark.parametrize("shape", [(9, 14), (40, 26), (20, 13), (1, 1)])
def test_resize_keeps_constants_and_bounds(x64, shape):
    image = jnp.broadcast_to(jnp.array([0.0, 0.3, 1.0]), (2, 20, 13, 3))
    found = resize(image, shape)
    assert found.shape == (2, *shape, 3)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, jnp.broadcast_to(jnp.array([0.0, 0.3, 1.0]), found.shape), atol=1e-12)
    steps = (jnp.arange(20 * 13 * 3).reshape(20, 13, 3) % 2).astype(float)
    assert 0 <= resize(steps, (31, 17)).min() <= resize(steps, (31, 17)).max() <= 1


def test_resize_filters_what_a_smaller_image_cannot_hold():
    board = jnp.asarray(np.indices((64, 64)).sum(0) % 2, jnp.float32)[:, :, None] * jnp.ones(3)
    inner = resize(board, (32, 32))[4:-4, 4:-4]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)  # taking every second pixel would give 0 or 1
    smooth = jnp.asarray(0.5 + 0.4 * np.sin(np.arange(64) / 8), jnp.float32)[:, None, None] * jnp.ones((64, 3))
    np.testing.assert_allclose(resize(resize(smooth, (32, 32)), (64, 64))[8:-8], smooth[8:-8], atol=0.01)


def loss(image, params, targets, weights):
    value = weights.beta * jnp.square(image - 0.25).mean() + jnp.square(jnp.diff(image, axis=0)).mean()
    return value, js.Losses(value, value, value, value)


def moved(transfer, lanes=False):
    image = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3) if lanes else (12, 16, 3))
    state, step = jax.jit(transfer.init)(image), jax.jit(transfer.step)
    weights = js.LossWeights(beta=jnp.array([1.0, 2.0])) if lanes else js.LossWeights()
    for _ in range(3):
        state, _ = step(state, None, None, weights)
    return state


@pytest.mark.slow
def test_moments_follow_the_image():
    transfer = js.make_transfer(loss, optax.inject_hyperparams(optax.adam)(0.02))
    state = moved(transfer)
    found = carry(transfer, state, (24, 32))
    np.testing.assert_array_equal(found.image, resize(state.image, (24, 32)))
    before, after = state.optimizer.inner_state[0], found.optimizer.inner_state[0]
    assert after.count == 3
    assert found.optimizer.hyperparams["learning_rate"] == state.optimizer.hyperparams["learning_rate"]
    assert after.mu.shape == after.nu.shape == (24, 32, 3)
    assert after.nu.min() >= 0
    # Four times the pixels: a quarter of the gradient each, a sixteenth of its square.
    np.testing.assert_allclose(after.mu.sum(), before.mu.sum(), rtol=0.02)
    np.testing.assert_allclose(after.nu.sum(), before.nu.sum() / 4, rtol=0.05)
    gradient = jax.grad(lambda x: loss(x, None, None, js.LossWeights())[0])
    flat = jnp.full((12, 16, 3), 0.5)
    np.testing.assert_allclose(gradient(resize(flat, (24, 32))), gradient(flat).mean() / 4, rtol=1e-5)


def test_detail_of_what_was_started_from(x64):
    transfer = js.make_transfer(loss, optax.adam(0.02))
    content = 0.2 + 0.6 * jax.random.uniform(jax.random.key(1), (2, 24, 32, 3))
    state = transfer.init(resize(content, (12, 16)))
    # A transfer that has changed nothing gives the content itself; a change of low frequency stays.
    np.testing.assert_allclose(carry(transfer, state, (24, 32), detail=content).image, content, atol=0.05)
    assert relative_error(resize(state.image, (24, 32)), content) > 0.1
    moved = state._replace(image=state.image * 0.5)
    found = carry(transfer, moved, (24, 32), detail=content).image - carry(transfer, moved, (24, 32)).image
    wanted = content - resize(resize(content, (12, 16)), (24, 32))
    assert relative_error(found, wanted) < 0.2


@pytest.mark.slow
def test_the_same_size_changes_nothing():
    transfer = js.make_transfer(loss, lbfgs(3))
    state = moved(transfer)
    assert carry(transfer, state, (12, 16)) is state


def test_a_history_starts_afresh():
    transfer = js.make_transfer(loss, optax.chain(lbfgs(3), optax.scale_by_schedule(lambda count: 1 - 0.01 * count)))
    state = carry(transfer, moved(transfer), (6, 8))
    jax.tree.map(np.testing.assert_array_equal, state, transfer.init(state.image))


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [optax.adam(0.02), lbfgs(3)])
def test_lanes_are_carried_as_alone_and_under_jit(optimizer):
    transfer = js.make_transfer(loss, optimizer)
    lanes = make_lanes(transfer, js.LossWeights(beta=jnp.array([1.0, 2.0])))
    state = moved(lanes, lanes=True)
    together = carry(lanes, state, (24, 18))
    compiled = jax.jit(partial(carry, lanes, shape=(24, 18)))(state)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), together, compiled)
    for i in range(2):
        alone = carry(transfer, jax.tree.map(lambda x, i=i: x[i], state), (24, 18))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a, b[i], rtol=1e-5, atol=1e-7), alone, together)


def test_where_it_diverges_is_measured_anew_at_each_size():
    def area(image, params, targets, weights):
        return loss(image, params, targets, weights)[0] * image.size**3, js.Losses(*[image.sum() * image.size**3] * 4)

    transfer = make_stopping(js.make_transfer(area, optax.sgd(1e-12)), factor=4.0)
    state, _ = transfer.step(transfer.init(jnp.full((4, 4, 3), 0.5)), None, None, js.LossWeights())
    grown = carry(transfer, state, (8, 8))  # 256 times the total
    grown, _ = transfer.step(grown, None, None, js.LossWeights())
    assert (grown.status, grown.steps) == (RUNNING, 2)
    assert grown.limit == pytest.approx(256 * float(state.limit), rel=1e-3)


def test_one_that_has_converged_goes_on_at_the_next_size():
    transfer = make_stopping(js.make_transfer(loss, optax.sgd(0.0)), tolerance=0.0, window=2)
    state, _ = js.run(transfer, transfer.init(jnp.full((4, 4, 3), 0.5)), None, None, js.LossWeights(), num_steps=4)
    assert (state.status, state.steps) == (CONVERGED, 2)
    grown = carry(transfer, state, (8, 8))
    assert grown.status == RUNNING
    grown, _ = js.run(transfer, grown, None, None, js.LossWeights(), num_steps=4)
    assert (grown.status, grown.steps) == (CONVERGED, 4)


@pytest.mark.parametrize(
    ("optimizer", "orders"),
    [
        (optax.amsgrad(0.1), {"mu": 1, "nu": 2, "nu_max": 2}),
        (optax.adagrad(0.1), {"sum_of_squares": 2}),
        (optax.adadelta(0.1), {"e_g": 2, "e_x": 0}),
        (optax.sgd(0.1, momentum=0.9), {"trace": 1}),
        (optax.rmsprop(0.1), {"nu": 2}),
    ],
)
def test_leaves_are_carried_by_the_power_of_the_gradient(optimizer, orders):
    transfer = js.make_transfer(loss, optimizer)
    state = jax.tree.map(jnp.ones_like, transfer.init(jnp.zeros((4, 4, 3))))
    found = carry(transfer, state, (8, 8)).optimizer
    leaves = {path[-1].name: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found) if leaf.ndim}
    assert leaves.keys() == orders.keys()
    for name, leaf in leaves.items():
        np.testing.assert_allclose(leaf, 0.25 ** orders[name], rtol=1e-6)


def test_a_mix_is_of_lanes_and_needs_no_promotion():
    content, pictures = jnp.zeros((4, 4, 3)), jnp.ones((2, 4, 4, 3))
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_array_equal(mix(content, pictures, 1.0), jnp.zeros_like(pictures))
        np.testing.assert_array_equal(mix(content, pictures, jnp.array([0.25, 2]))[:, 0, 0, 0], [0.75, 0])


def test_a_state_of_another_kind_is_refused_by_name():
    class Own(NamedTuple):
        image: jax.Array

        @property
        def picture(self):
            return self.image

    transfer = js.Transfer(Own, lambda *_: None, lambda *_: None)
    with pytest.raises(ValueError, match=r"got Own: give it a method carried\(fresh, inner\)"):
        carry(transfer, Own(jnp.ones((4, 4, 3))), (8, 8))


def loss_of_targets(image, params, targets, weights):
    content, style = targets
    value = jnp.square(image - content).mean() + weights.beta * jnp.square(image.mean((0, 1)) - params * style).mean()
    return value, js.Losses(value, value, value, value)


def targets_of(params, content, style):
    return content, style[: len(style) // 2].mean((0, 1)) * style.shape[1]


@pytest.mark.slow
@pytest.mark.parametrize("from_content", [True, False])
def test_run_pyramid_is_its_parts(x64, content, style, from_content):
    content, style, params = widen(content), widen(style), jnp.float64(0.02)
    transfer, weights = js.make_transfer(loss_of_targets, lbfgs(3)), js.LossWeights()
    shapes = ((18, 17), (36, 34))
    call = partial(run_pyramid, transfer, targets_of, params, content, style, weights, shapes=shapes)
    start = None if from_content else 1 - content
    found, losses = call(num_steps=[3, 2], start=start)
    small, of_style = resize(content, shapes[0]), resize(style, (17, 22))  # no side has fewer than the content's
    state = transfer.init(small if from_content else resize(1 - content, shapes[0]))
    state, rows = js.run(transfer, state, params, targets_of(params, small, of_style), weights, num_steps=3)
    state = carry(transfer, state, shapes[1], detail=content if from_content else None)
    state, last = js.run(transfer, state, params, targets_of(params, content, style), weights, num_steps=2)
    assert isinstance(found, TransferState)
    np.testing.assert_allclose(found.image, state.image, rtol=1e-9)
    assert [row.total.shape for row in losses] == [(3,), (2,)]
    np.testing.assert_allclose(losses[0].total, rows.total, rtol=1e-9)
    np.testing.assert_allclose(losses[1].total, last.total, rtol=1e-9)
    if from_content:  # without a step, the detail of each size gives the content back
        np.testing.assert_allclose(call(num_steps=[0, 0])[0].image, content, atol=0.1)


def test_sizes_and_steps_are_the_commands_unless_given(content, style):
    transfer = js.make_transfer(loss_of_targets, optax.adam(0.02))
    wide = jax.ShapeDtypeStruct((160, 256, 3), jnp.float32)
    run = partial(run_pyramid, transfer, targets_of)
    state, losses = jax.eval_shape(run, jnp.float32(0.02), wide, style, js.LossWeights())
    assert state.image.shape == wide.shape
    assert [len(rows.total) for rows in losses] == list(steps_of(scales(wide.shape)))
    assert len(losses) == 3


def test_run_pyramid_of_lanes_is_that_of_each_alone(x64, content, style):
    content, style, params = widen(content), widen(style), jnp.float64(0.02)
    transfer, weights = js.make_transfer(loss_of_targets, optax.adam(0.02)), js.weight_grid(beta=[0.1, 2.0])
    options = {"shapes": [(18, 17), (36, 34)], "num_steps": [2, 2]}

    def run(transfer, weights, start):
        call = partial(run_pyramid, transfer, targets_of, **options)
        return jax.jit(call)(params, content, style, weights, start=start)[0].image

    start = jnp.broadcast_to(1 - content, (2, *content.shape))
    images = run(make_lanes(transfer, weights), weights, start)
    for i, beta in enumerate(weights.beta):
        np.testing.assert_allclose(images[i], run(transfer, js.LossWeights(beta=beta), start[i]), rtol=1e-9)


def test_lanes_get_the_detail_that_one_alone_gets(x64, content, style):
    content, style, params = widen(content), widen(style), jnp.float64(0.02)
    transfer, weights = js.make_transfer(loss_of_targets, optax.adam(0.02)), js.weight_grid(beta=[0.1, 2.0])
    options = {"shapes": [(18, 17), (36, 34)], "num_steps": [2, 2]}
    start = jnp.broadcast_to(content, (2, *content.shape))
    lanes, _ = run_pyramid(
        make_lanes(transfer, weights), targets_of, params, content, style, weights, start=start, detail=True, **options
    )
    for i, beta in enumerate(weights.beta):
        alone, _ = run_pyramid(transfer, targets_of, params, content, style, js.LossWeights(beta=beta), **options)
        np.testing.assert_allclose(lanes.image[i], alone.image, rtol=1e-9)


def test_small_and_long_styles_keep_what_the_network_needs(content):
    found = []

    def noted(params, content, style):
        found.append((content.shape[:2], style.shape[:2]))
        return targets_of(params, content, style)

    transfer = js.make_transfer(loss_of_targets, optax.adam(0.02))
    wide, style = (jax.ShapeDtypeStruct((*shape, 3), jnp.float32) for shape in ((160, 160), (80, 30)))
    run = partial(run_pyramid, transfer, noted, num_steps=[0, 0])
    jax.eval_shape(run, jnp.float32(0.02), wide, style, js.LossWeights())
    assert found == [((60, 60), (32, 30)), ((160, 160), (80, 30))]


def test_steps_are_one_number_a_size(content, style):
    transfer = js.make_transfer(loss, optax.adam(0.02))
    with pytest.raises(ValueError, match="one number for each of 2 sizes, got 1"):
        run_pyramid(
            transfer, lambda *_: None, {}, content, style, js.LossWeights(), shapes=[(8, 8), (16, 16)], num_steps=[1]
        )
