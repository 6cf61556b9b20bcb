import gc
import subprocess
import sys
import weakref
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.optimise.averaging import make_averaging
from jaxstyle.optimise.stopping import make_stopping
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.stacked_targets import StackedTargets
from jaxstyle.parallel.weight_grid import lane_axes, num_lanes, pad_lanes
from tests.conftest import count_traces, relative_error, widen
from tests.processes import ROOT, environment

GRID = js.weight_grid(alpha=[1.0, 0.5], beta=[0.01, 1.0])


def lane(weights, i):
    return jax.tree.map(lambda x: x[i], weights)


def test_weight_grid_is_the_product_with_the_last_fastest():
    grid = js.weight_grid(alpha=[1, 2], beta=[3, 4], tv=0.5)
    np.testing.assert_array_equal(grid.alpha, [1, 1, 2, 2])
    np.testing.assert_array_equal(grid.beta, [3, 4, 3, 4])
    np.testing.assert_array_equal(grid.tv, [0.5] * 4)
    assert num_lanes(grid) == 4
    assert js.weight_grid().beta.shape == (1,)


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]]])
def test_weight_grid_refuses_empty_and_nested_lists(bad):
    with pytest.raises(ValueError, match="beta must be a scalar or a list of at least one value"):
        js.weight_grid(beta=bad)


def test_lane_axes():
    weights = js.LossWeights(1.0, jnp.ones(3), 0.0, style_layers=jnp.ones((3, 2)), content_layers=jnp.ones(1))
    assert lane_axes(weights) == js.LossWeights(None, 0, None, None, 0, None)
    with pytest.raises(ValueError, match="one number of lanes, got no lane axis"):
        lane_axes(js.LossWeights())
    with pytest.raises(ValueError, match="'alpha': 2, 'beta': 3"):
        lane_axes(js.LossWeights(jnp.ones(2), jnp.ones(3)))
    with pytest.raises(ValueError, match=r"weights.beta must have 0 axes, or 1 with lanes, got \(2, 2\)"):
        lane_axes(js.LossWeights(1.0, jnp.ones((2, 2))))


@pytest.mark.slow
def test_gradient_of_a_lane_is_its_solo_gradient(params, content, style):
    features = js.make_features()
    targets = js.make_objective(features).targets(params, content, style)
    loss = js.make_objective(features).loss

    def gradient(weights):
        return jax.grad(lambda x: loss(x, params, targets, weights)[0])(1 - content)

    together = jax.jit(jax.vmap(gradient))(GRID)
    alone = jax.jit(gradient)
    for i in range(4):
        assert relative_error(together[i], alone(lane(GRID, i))) < 1e-5


@pytest.fixture(scope="module")
def tiny(params, content, style):
    """A sweep that compiles in no time: its loss, targets, and what it takes beside the weights."""
    features, layers = js.make_features(("relu1_1",)), {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
    targets = js.make_objective(features, **layers).targets(params, content[:8, :9], style[:8, :8])
    return js.make_objective(features, **layers).loss, targets, (content[:8, :9], params, targets)


@pytest.mark.parametrize("wrap", [lambda x: x, make_averaging, make_stopping])
def test_final_losses_are_of_the_pictures(tiny, wrap):
    loss, targets, (start, params, _) = tiny
    transfer = wrap(js.make_transfer(loss, optax.adam(0.1)))
    grid = js.weight_grid(beta=[0.1, 1.0, 10.0])
    for options in ({}, {"microbatch": 2}, {"num_steps": 0}):
        result = js.sweep(transfer, start, params, targets, grid, **{"num_steps": 3, **options})
        for i in range(3):
            alone = loss(result.images[i], params, targets, lane(grid, i))[1]
            np.testing.assert_allclose([x[i] for x in result.final], alone, rtol=1e-4, atol=1e-9)
    assert result.losses.total.shape == (3, 0)


def test_an_eager_sweep_is_compiled_once(tiny):
    loss, targets, (start, params, _) = tiny
    counted, traces = count_traces(loss)
    transfer = js.make_transfer(counted, optax.adam(0.1))
    for weights, image in (
        (js.weight_grid(beta=[0.1, 1.0]), start),
        (js.weight_grid(beta=[3.0, 2.0]), jnp.stack([start, 1 - start])),
        (js.LossWeights(jnp.ones(2), [1.0, 5.0], np.zeros(2, np.float32)), np.asarray(start)),
    ):
        js.sweep(transfer, image, params, targets, weights, num_steps=2)
        assert len(traces) == 2  # of the step, and of the final losses
    js.sweep(transfer, start, params, targets, weights, num_steps=3)
    assert len(traces) == 4


def holding_an_array():
    """A transfer whose loss holds an array, and a reference to that which doesn't keep it alive."""
    held = np.ones(10)

    def loss(image, params, targets, weights):
        total = weights.beta * jnp.square(image - 0.5).mean() + held.sum()
        return total, js.Losses(total, total, total, total)

    return js.make_transfer(loss, optax.sgd(0.1)), weakref.ref(held)


@pytest.mark.parametrize("kind", [lambda step: step, jax.jit, partial])
def test_a_compiled_sweep_keeps_nothing_alive(kind):
    transfer, held = holding_an_array()
    transfer = transfer._replace(step=kind(transfer.step))
    for steps in range(10):
        js.sweep(transfer, jnp.zeros((2, 2, 3)), {}, None, js.weight_grid(), num_steps=steps)
    kept = vars(transfer.step)["_programs_of_sweep"]
    assert len(kept) == 8
    assert held() is not None
    del transfer, kept
    gc.collect()
    assert held() is None


def stacked(targets, content_index, style_index):
    both = [jax.tree.map(lambda x: jnp.stack([x, 2 * x]), part) for part in (targets.content, targets.style)]
    return StackedTargets(*both, content_index, style_index)


def test_an_index_of_no_image_is_refused_or_seen(tiny):
    loss, targets, (start, params, _) = tiny
    transfer, grid = js.make_transfer(loss, optax.adam(0.1)), js.weight_grid(beta=[0.1, 1.0, 10.0])
    run = partial(js.sweep, transfer, num_steps=1)
    right = jnp.array([0, 1, 1])
    for wrong, message in (
        (jnp.array([0, 2, 1]), r"targets.style_index must be from 0 to 1, got \[0, 2, 1\]"),
        (np.array([0, -1, 1]), r"targets.style_index must be from 0 to 1, got \[0, -1, 1\]"),
        (jnp.array([0, 1]), r"targets.style_index must be whole numbers of shape \(3,\), got int32 of shape \(2,\)"),
        (jnp.array([0.0, 1, 1]), r"targets.style_index must be whole numbers of shape \(3,\), got float32"),
    ):
        with pytest.raises(ValueError, match=message):
            run(start, params, stacked(targets, right, wrong), grid)
    jitted = jax.jit(lambda index: run(start, params, stacked(targets, index, right), grid))
    for wrong in (2, -1):
        found = jitted(jnp.array([0, wrong, 1]))
        assert np.isnan(found.losses.total[1]).all()
        assert np.isnan(found.final.total[1])
        np.testing.assert_array_equal(found.images[1], start)
        alone = run(start, params, stacked(targets, jnp.array([0, 0, 1]), right), grid)
        for i in (0, 2):
            np.testing.assert_allclose(found.losses.total[i], alone.losses.total[i], rtol=1e-5)


@pytest.mark.slow
def test_lanes_equal_solo_runs_in_float64(shallow, params, content):
    _, loss, targets = shallow
    with jax.enable_x64(True):
        params, targets, content, grid = widen((params, targets, content, GRID))
        for optimizer, bounds in ((optax.adam(0.02), (0.0, 1.0)), (optax.lbfgs(), None)):
            transfer = js.make_transfer(loss, optimizer, bounds=bounds)
            result = jax.jit(partial(js.sweep, transfer, num_steps=4))(content, params, targets, grid)
            solo = jax.jit(partial(js.run, transfer, num_steps=4))
            for i in range(4):
                state, losses = solo(transfer.init(content), params, targets, lane(grid, i))
                assert relative_error(result.images[i], state.image) < 1e-9
                assert relative_error(result.losses.total[i], losses.total) < 1e-9


def test_a_lane_of_its_own_start(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    starts = jnp.stack([content, content[::-1], 1 - content, content[:, ::-1]])
    found = js.sweep(transfer, starts, params, targets, GRID, num_steps=2)
    shared = js.sweep(transfer, starts[2], params, targets, GRID, num_steps=2)
    np.testing.assert_allclose(found.images[2], shared.images[2], atol=1e-5)
    with pytest.raises(ValueError, match=r"\(h, w, 3\) or \(4, h, w, 3\), got \(3, 36, 34, 3\)"):
        js.sweep(transfer, starts[:3], params, targets, GRID, num_steps=1)


def test_new_weights_never_recompile(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    traces = []

    @jax.jit
    def counted(content, params, targets, grid):
        traces.append(1)
        return js.sweep(transfer, content, params, targets, grid, num_steps=2)

    for alpha in ([1.0, 2.0], [0.0, 5.0]):
        counted(content, params, targets, js.weight_grid(alpha=alpha, beta=[0.1, 1.0], tv=alpha[1]))
    assert len(traces) == 1


def test_a_failing_lane_changes_no_bit_of_the_others(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    compiled = jax.jit(partial(js.sweep, transfer, num_steps=4))
    well = compiled(content, params, targets, js.weight_grid(beta=[0.1, 1.0, 10.0]))
    ill = compiled(content, params, targets, js.weight_grid(beta=[0.1, jnp.inf, 10.0]))
    for i in (0, 2):
        np.testing.assert_array_equal(ill.images[i], well.images[i])
        np.testing.assert_array_equal(ill.losses.total[i], well.losses.total[i])
    np.testing.assert_array_equal(ill.images[1], content)
    assert jnp.isnan(ill.losses.total[1]).all()


def test_lanes_make_a_transfer_that_run_takes(shallow, params, content):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    lanes = make_lanes(transfer, GRID)
    _, losses = js.run(lanes, lanes.init(jnp.stack([content] * 4)), params, targets, GRID, num_steps=2)
    assert losses.total.shape == (2, 4)


@pytest.mark.slow
def test_the_real_thing_stylises_and_lanes_are_solo_runs_in_their_losses(content, style):
    content, params = content[:32], js.load_params()
    features = js.make_features()
    targets = js.make_objective(features).targets(params, content, style)
    transfer = js.make_transfer(js.make_objective(features).loss, optax.adam(0.02))
    grid = js.weight_grid(beta=[0.01, 1.0])
    result = jax.jit(partial(js.sweep, transfer, num_steps=30))(content, params, targets, grid)
    assert result.images.shape == (2, *content.shape)
    assert result.losses.total.shape == (2, 30)
    first, last = (jax.tree.map(lambda x, c=column: x[:, c], result.losses) for column in (0, -1))
    assert (last.style < first.style).all()
    assert last.style[1] < 0.2 * first.style[1]
    assert last.content[0] < last.content[1]
    apart = np.abs(result.images[0] - result.images[1]).mean()
    solo = jax.jit(partial(js.run, transfer, num_steps=30))
    for i in range(2):
        state, losses = solo(transfer.init(content), params, targets, lane(grid, i))
        np.testing.assert_allclose(result.losses.total[i], losses.total, rtol=0.02)
        # Adam amplifies rounding, by how much depends on the processor: in float64 they are equal, see above; here each
        # is nearer to its own solo run than to the other lane.
        assert np.abs(result.images[i] - state.image).mean() < apart / 2


@pytest.mark.slow
@pytest.mark.parametrize("microbatch", [1, 2, 3])
def test_microbatches_equal_all_lanes_together(shallow, params, content, microbatch):
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, optax.adam(0.02))
    with jax.enable_x64(True):
        params, targets, start, grid = widen((params, targets, 1 - content, GRID))
        grid = grid._replace(tv=jnp.float64(0.1), style_layers=jnp.tile(jnp.array([0.3, 0.7]), (4, 1)))
        together = jax.jit(partial(js.sweep, transfer, num_steps=3))(start, params, targets, grid)
        groups = jax.jit(partial(js.sweep, transfer, num_steps=3, microbatch=microbatch))(start, params, targets, grid)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), groups, together)


def squares(image, params, targets, weights):
    value = weights.beta * jnp.square(image).sum()
    return value, js.Losses(value, value, value, value)


@pytest.mark.parametrize(("count", "microbatch"), [(5, 4), (7, 3), (9, 2), (4, 1), (3, 8)])
def test_every_lane_takes_each_step_once(count, microbatch):
    """Those of groups that overlap, too: a step of gradient descent scales the image by 1 - 0.25 beta.

    That is, by the beta that an optimiser sees: over the power of two that brings it between 1 and 2.
    """
    transfer = js.make_transfer(squares, optax.sgd(0.125), bounds=None)
    number = np.arange(1.0, count + 1)
    start = jnp.asarray(number, jnp.float32)[:, None, None, None] * jnp.ones((2, 2, 3))
    grid = js.weight_grid(beta=number)
    found = js.sweep(transfer, start, {}, js.Targets({}, {}), grid, num_steps=2, microbatch=microbatch)
    factor = 1 - 0.25 * number / 2 ** np.floor(np.log2(number))
    np.testing.assert_allclose(found.images[:, 0, 0, 0], number * factor**2, rtol=1e-6)
    np.testing.assert_allclose(found.losses.total[:, 0], 12 * number**3, rtol=1e-6)
    np.testing.assert_allclose(found.losses.total[:, 1], 12 * number**3 * factor**2, rtol=1e-6)


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="older ones drop lax.optimization_barrier on CPU")
def test_groups_work_in_the_memory_of_the_state():
    grid = js.weight_grid(beta=jnp.ones(64))
    lanes = make_lanes(js.make_transfer(squares, optax.adam(0.02)), grid, microbatch=1)
    state = jax.eval_shape(lanes.init, jax.ShapeDtypeStruct((64, 64, 64, 3), jnp.float32))
    step = jax.jit(lanes.step, donate_argnums=0).lower(state, {}, js.Targets({}, {}), grid)
    memory = step.compile().memory_analysis()
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert memory.alias_size_in_bytes >= size
    assert memory.temp_size_in_bytes < 0.1 * size


def test_lanes_that_do_not_divide_by_the_devices(shallow):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("lanes",))
    transfer = js.make_transfer(shallow[1], optax.adam(0.02))
    assert make_lanes(transfer, GRID, mesh=mesh)

    class Three(NamedTuple):
        size: int = 3

    with pytest.raises(ValueError, match="4 lanes do not divide by 3 devices: pad_lanes repeats the last one"):
        make_lanes(transfer, GRID, mesh=Three())
    padded = pad_lanes(GRID, 3)
    np.testing.assert_array_equal(padded.beta, [*GRID.beta, GRID.beta[3], GRID.beta[3]])
    assert num_lanes(pad_lanes(GRID, 4)) == 4


@pytest.mark.slow
def test_lanes_over_eight_simulated_devices():
    """See sharded.py for what is checked: a process of its own, since devices are made when jax starts."""
    variables = environment(devices=8, JAX_ENABLE_X64="1")
    command = [sys.executable, "-W", "error", "-m", "tests.sharded"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
