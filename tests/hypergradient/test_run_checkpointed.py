"""Gradients through whole transfers, against finite differences and against `run`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.transfer import run
from tests.conftest import relative_error, widen

LAYERS = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1", "relu1_2")}
FEATURES = js.make_features(("relu1_1", "relu1_2"), backend="xla")
LOSS = js.make_objective(FEATURES, **LAYERS).loss
LBFGS = js.make_transfer(LOSS, lbfgs())
# A large eps keeps the first step of Adam from being a mere sign.
ADAM = js.make_transfer(LOSS, optax.adam(0.05, eps=1e-2, eps_root=1e-8))


def images(*shapes):
    random = np.random.default_rng(3)
    return [jnp.asarray(random.uniform(0.2, 0.8, shape)) for shape in shapes]


def objective(runner, transfer, params, num_steps, inputs):
    """A function of the final image and the losses, of everything that can be differentiated."""
    content, style, start, log_beta, layers = inputs
    targets = js.make_objective(FEATURES, **LAYERS).targets(params, content, style)
    weights = js.LossWeights(1.0, jnp.exp(log_beta), 0.1, style_layers=layers)
    state, losses = runner(transfer, transfer.init(start), params, targets, weights, num_steps=num_steps)
    return jnp.square(state.image - 0.3).mean() + 0.01 * losses.total.mean()


@pytest.fixture
def problem(params, x64):
    content, style, start = images((9, 8, 3), (8, 9, 3), (9, 8, 3))
    inputs = content, style, start, jnp.asarray(0.5), jnp.asarray([0.4, 0.6])
    return {k: widen(params[k]) for k in ("mean", "conv1_1", "conv1_2")}, inputs


@pytest.mark.parametrize(("transfer", "num_steps"), [(ADAM, 7), pytest.param(LBFGS, 5, marks=pytest.mark.slow)])
def test_gradient_is_that_of_run_and_of_finite_differences(problem, transfer, num_steps):
    params, inputs = problem
    gradients = {}
    for runner in (run, run_checkpointed):
        f = partial(objective, runner, transfer, params, num_steps)
        value, gradients[runner] = jax.jit(jax.value_and_grad(f))(inputs)
        assert jnp.isfinite(value)
    for a, b in zip(gradients[run_checkpointed], gradients[run], strict=True):
        assert relative_error(a, b) < 1e-9
    f = jax.jit(partial(objective, run, transfer, params, num_steps))
    for i, x in enumerate(inputs):
        direction = jnp.asarray(np.random.default_rng(i).standard_normal(x.shape))
        moved = ((*inputs[:i], x + sign * 1e-6 * direction, *inputs[i + 1 :]) for sign in (1, -1))
        up, down = (f(m) for m in moved)
        slope = jnp.vdot(gradients[run_checkpointed][i], direction)
        assert abs(slope) > 1e-7
        assert float((up - down) / 2e-6) == pytest.approx(float(slope), rel=1e-4), i


@pytest.mark.parametrize("num_steps", [0, 1, 2, 5, 9])
def test_steps_and_rows_are_those_of_run(params, num_steps):
    def squares(image, params, targets, weights):
        value = weights.beta * jnp.square(image - targets).mean()
        return value, js.Losses(value, value, value, value)

    transfer = js.make_transfer(squares, optax.adam(0.1))
    (start,) = images((4, 4, 3))
    arguments = transfer, transfer.init(start), {}, start / 2, js.LossWeights(1.0, jnp.asarray(2.0))
    found, wanted = (f(*arguments, num_steps=num_steps) for f in (run_checkpointed, run))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, wanted)
    assert found[1].total.shape == (num_steps,)


@pytest.mark.slow
def test_memory_grows_as_the_root_of_the_steps(params):
    own = {k: params[k] for k in ("mean", "conv1_1", "conv1_2")}
    content, style = (x.astype(jnp.float32) for x in images((16, 16, 3), (16, 16, 3)))
    targets = js.make_objective(FEATURES, **LAYERS).targets(own, content, style)
    transfer = js.make_transfer(LOSS, optax.sgd(0.1))

    def memory(runner, num_steps):
        def f(beta):
            weights = js.LossWeights(1.0, beta)
            return runner(transfer, transfer.init(content), own, targets, weights, num_steps=num_steps)[0].image.sum()

        return jax.jit(jax.grad(f)).lower(1.0).compile().memory_analysis().temp_size_in_bytes

    # A state is an image of 3 kB, what a step keeps of features is above 100 kB.
    few, many = memory(run_checkpointed, 4), memory(run_checkpointed, 400)
    assert many < few + 2 * 20 * 2 * 16 * 16 * 3 * 4
    assert memory(run, 400) > 20 * many


def test_a_negative_number_of_steps():
    with pytest.raises(ValueError, match="num_steps must be a whole number, 0 or more, got -1"):
        run_checkpointed(ADAM, None, {}, None, js.LossWeights(), num_steps=-1)
