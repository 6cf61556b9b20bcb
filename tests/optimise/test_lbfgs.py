from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.optimise import lbfgs as lbfgs_module
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.optimise.stopping import NOT_FINITE, RUNNING, make_stopping
from jaxstyle.optimise.transfer_state import TransferState
from jaxstyle.parallel.lanes import make_lanes
from tests.conftest import relative_error, widen

SHAPE = (6, 7, 3)
SIZE = 6 * 7 * 3


def quadratic(seed=0, condition=1e2, inside=False):
    """A convex quadratic over a picture, whose minimum lies partly out of [0, 1] unless `inside`."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))[0]
    hessian = rotation @ np.diag(np.logspace(0, np.log10(condition), SIZE)) @ rotation.T
    centre = rng.uniform(0.3, 0.7, SIZE) if inside else rng.uniform(-0.5, 1.5, SIZE)
    return hessian, centre


def value_and_gradient(problem, x):
    hessian, centre = problem
    slope = hessian @ (x - centre)
    return 0.5 * (x - centre) @ slope, slope


def test_products_of_images_as_sums_are_those_of_matrices():
    x, y = np.random.default_rng(0).standard_normal((2, 5, *SHAPE))
    wanted = x.reshape(5, -1) @ y.reshape(5, -1).T
    for products in (lbfgs_module._dot, lbfgs_module._dot_by_sums):
        assert relative_error(products(*map(jnp.float32, (x, y))), wanted) < 1e-6


class Guess:
    """The oracle of the first guess: full Fourier transforms, sums over all waves, and means as such."""

    def __init__(self, shape):
        self.shape, centres = shape, np.geomspace(1 / 48, 0.5**0.5, 12)
        y, x = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.fftfreq(shape[1]), indexing="ij")
        logarithm = np.log(np.maximum(np.hypot(y, x), 1 / 48))
        self.bands = np.stack([np.interp(logarithm, np.log(centres), row) for row in np.eye(12)])
        self.colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
        self.pixels, self.count = np.ones((2, *shape)), 0
        self.waves = np.array([np.outer(s / s.sum(), np.full(3, 1 / 3)) for s in (1 / centres, centres)])

    def learn(self, s, y):
        weight, self.count = max(0.1, 1 / (self.count + 2)), self.count + 1
        for i, v in enumerate((s.reshape(self.shape), y.reshape(self.shape))):
            squares = v**2 / np.mean(v**2)
            for axis in (0, 1):
                squares = 0.75 * squares + 0.125 * (np.roll(squares, 1, axis) + np.roll(squares, -1, axis))
            power = np.abs(np.fft.fft2(v @ self.colours.T, axes=(0, 1))) ** 2
            share = np.tensordot(self.bands, power / power.sum(), 2)
            self.pixels[i] += weight * (squares - self.pixels[i])
            self.waves[i] += weight * (share - self.waves[i])

    def __call__(self, v):
        by_pixel = ((self.pixels[0] + 0.1) / (self.pixels[1] + 0.1)) ** 0.25
        logarithms = 0.5 * np.log((self.waves[0] + 1e-7) / (self.waves[1] + 1e-7))
        gain = np.exp(np.tensordot(self.bands, logarithms, (0, 0)))
        spectrum = np.fft.fft2((by_pixel * v.reshape(self.shape)) @ self.colours.T, axes=(0, 1)) * gain
        return (by_pixel * (np.fft.ifft2(spectrum, axes=(0, 1)).real @ self.colours)).ravel()


def projected_lbfgs(evaluate, x, steps, memory=5, first=0.01, longest=0.1, bounds=(0, 1), shape=SHAPE):
    """The oracle: two-loop recursion over the free pixels, with a list as history; returns the images evaluated."""
    rms = lambda v: np.sqrt(np.mean(v**2))  # noqa: E731
    pairs, best, radius, trail, guess = [], None, first, [], Guess(shape)
    for _ in range(steps):
        trail.append(x)
        value, slope = evaluate(x)
        if best is None:
            best = (value, x, slope)
        else:
            s, y = x - best[1], slope - best[2]
            if np.isfinite(value) and s @ y > 1e-4 * np.linalg.norm(s) * np.linalg.norm(y):
                pairs = [*pairs, (s, y)][-memory:]
                guess.learn(s, y)
            if value <= best[0]:
                best, radius = (value, x, slope), max(radius, 2 * rms(s))
            else:
                radius = 0.5 * rms(s)
            radius = min(radius, longest)
        _, at, g = best
        free = np.ones(len(at))
        if bounds is not None:
            free[((at <= bounds[0]) & (g > 0)) | ((at >= bounds[1]) & (g < 0))] = 0
        q, g, undo = g * free, g * free, []
        inside = [(s * free, y * free) for s, y in pairs]
        inside = [(s, y) for s, y in inside if s @ y > 1e-4 * np.linalg.norm(s) * np.linalg.norm(y)]
        for s, y in reversed(inside):
            a = s @ q / (s @ y)
            undo.append(a)
            q = q - a * y
        if inside:
            s, y = inside[-1]
            q = 2 * free * guess(q) * (s @ y) / (y @ (free * guess(y)))
            for (s, y), a in zip(inside, reversed(undo), strict=True):
                q = q + s * (a - y @ q / (s @ y))
        else:
            q = free * guess(g)
            q = q * radius / rms(q)
        x = at - q * min(1, radius / rms(q))
        if bounds is not None:
            x = np.clip(x, *bounds)
    return [*trail, x]


def as_loss(problem, fence=np.inf, beyond=np.nan):
    """The quadratic; `beyond`, farther than `fence` from its minimum."""
    hessian, centre = (jnp.asarray(x) for x in problem)

    def loss(image, params, targets, weights):
        offset = image.ravel() - centre
        value = 0.5 * jnp.dot(offset, jnp.dot(hessian, offset))
        value = jnp.where(jnp.sqrt(jnp.mean(offset**2)) <= fence, value, beyond)
        return value, js.Losses(value, value, value, value)

    return loss


@pytest.mark.parametrize("beyond", [np.nan, np.inf, -np.inf])
def test_a_trial_that_is_not_finite_is_gone_back_from(x64, beyond):
    """As the oracle does, whose first steps go beyond the fence; the picture is the best image of those evaluated."""
    problem, fence = quadratic(3, inside=True), 0.4
    start = problem[1] + np.random.default_rng(1).normal(0, 0.1, SIZE)
    evaluated = []

    def evaluate(x):
        value, slope = value_and_gradient(problem, x)
        value = value if np.sqrt(np.mean((x - problem[1]) ** 2)) <= fence else np.nan
        evaluated.append((value, x))
        return value, slope

    wanted = projected_lbfgs(evaluate, start, 16, 3, 3, 10, None)
    plain = js.make_transfer(
        as_loss(problem, fence, beyond), lbfgs(3, bounds=None, first_step=3, max_step=10), bounds=None
    )
    transfer = make_stopping(plain)
    state, step = transfer.init(jnp.asarray(start.reshape(SHAPE))), jax.jit(transfer.step)
    totals = []
    for expected in wanted[1:]:
        state, losses = step(state, None, None, js.LossWeights())
        totals.append(float(losses.total))
        assert np.abs(np.ravel(state.image) - expected).max() < 1e-7
    values = np.array([value for value, _ in evaluated])
    np.testing.assert_allclose(totals, values, rtol=1e-6)
    assert np.isnan(values[1:3]).all()
    assert np.nanmin(values) < 0.02 * values[0]
    np.testing.assert_allclose(np.ravel(state.picture), evaluated[np.nanargmin(values)][1], atol=1e-7)
    assert (state.status, state.steps) == (RUNNING, 16)


def test_one_that_is_finite_nowhere_else_fails_with_the_image_it_started_from():
    problem = quadratic(3, inside=True)
    transfer = make_stopping(js.make_transfer(as_loss(problem, 0.0), lbfgs(3)))
    run = jax.jit(partial(js.run, transfer, num_steps=40))
    centre = jnp.asarray(problem[1].reshape(SHAPE), jnp.float32)

    def loss(image, params, targets, weights):
        value = jnp.where((image == centre).all(), image.sum(), jnp.nan)
        return value, js.Losses(value, value, value, value)

    alone = make_stopping(js.make_transfer(loss, lbfgs(3)))
    state, losses = js.run(alone, alone.init(centre), None, None, js.LossWeights(), num_steps=40)
    assert state.status == NOT_FINITE
    assert 10 < state.steps < 30  # each trial is half as long, until there is none
    assert np.isfinite(losses.total[0])
    assert np.isnan(losses.total[1:]).all()
    np.testing.assert_array_equal(state.picture, centre)
    state, losses = run(transfer.init(centre + 0.1), None, None, js.LossWeights())  # not even where it starts
    assert (state.status, state.steps) == (NOT_FINITE, 0)
    np.testing.assert_array_equal(state.picture, centre + 0.1)


@pytest.mark.slow
def test_a_gradient_that_is_not_finite_is_no_part_of_the_history():
    optimizer, image = lbfgs(3), jnp.full(SHAPE, 0.5)
    update, state = optimizer.update(jnp.ones(SHAPE), optimizer.init(image), image, value=jnp.float32(2))
    for _ in range(2):
        image = image + update
        update, after = optimizer.update(jnp.full(SHAPE, jnp.nan), state, image, value=jnp.float32(1))
        assert np.isfinite(update).all()
        assert after.radius < 0.6 * state.radius
        jax.tree.map(np.testing.assert_array_equal, after._replace(radius=0), state._replace(radius=0))
        state = after


def test_the_picture_is_the_best_image_also_where_it_is_part_of_an_optimiser():
    problem = quadratic(3, inside=True)
    optimizer = optax.chain(lbfgs(2, first_step=10.0, max_step=10.0), optax.scale(1.0))
    transfer = js.make_transfer(as_loss(problem), optimizer)
    start = transfer.init(jnp.asarray(problem[1].reshape(SHAPE) + 0.01, jnp.float32))
    far, losses = jax.jit(transfer.step)(start, None, None, js.LossWeights())
    np.testing.assert_array_equal(far.picture, start.image)
    assert as_loss(problem)(far.image, None, None, None)[0] > losses.total


@pytest.mark.parametrize(("bounds", "memory"), [((0.0, 1.0), 1), ((0.0, 1.0), 5), (None, 5)])
def test_steps_are_those_of_the_two_loop_recursion(x64, bounds, memory):
    problem = quadratic()
    start = np.clip(problem[1] + np.random.default_rng(1).normal(0, 0.1, SIZE), 0, 1)  # too near for the first step
    wanted = projected_lbfgs(partial(value_and_gradient, problem), start, 25, memory, 3, 10, bounds)
    optimizer = lbfgs(memory, bounds=bounds, first_step=3, max_step=10)
    transfer = js.make_transfer(as_loss(problem), optimizer, bounds=bounds)
    state, step = transfer.init(jnp.asarray(start.reshape(SHAPE))), jax.jit(transfer.step)
    values = []
    for expected in wanted[1:]:
        state, losses = step(state, None, None, js.LossWeights())
        values.append(float(losses.total))
        assert np.abs(np.ravel(state.image) - expected).max() < 1e-7
    assert state.image.dtype == state.optimizer.steps.dtype == state.optimizer.radius.dtype == jnp.float64
    assert min(np.diff(values)) < 0 < max(np.diff(values))  # a step has been taken back
    if bounds is not None:
        assert np.sum((wanted[-1] == 0) | (wanted[-1] == 1)) > SIZE // 5


@pytest.mark.parametrize("inside", [True, False])
def test_quadratic_with_bounds_converges(x64, inside):
    hessian, centre = problem = quadratic(2, inside=inside)
    transfer = js.make_transfer(as_loss(problem), lbfgs(10))
    start = transfer.init(jnp.full(SHAPE, 0.5))
    state, losses = jax.jit(partial(js.run, transfer, num_steps=150))(start, None, None, js.LossWeights())
    x = np.ravel(state.image)
    slope = hessian @ (x - centre)
    # The conditions of Karush, Kuhn and Tucker.
    assert np.abs(x - np.clip(x - slope / 100, 0, 1)).max() < 1e-6
    assert np.any((x == 0) | (x == 1)) != inside
    assert losses.total[-1] <= losses.total.min() * (1 + 1e-9) + 1e-12


def test_a_step_that_raises_the_loss_is_taken_back(x64):
    problem = quadratic(3, inside=True)
    optimizer = lbfgs(4, first_step=10.0, max_step=10.0)
    transfer = js.make_transfer(as_loss(problem), optimizer)
    start = transfer.init(jnp.asarray(problem[1].reshape(SHAPE) + 0.01))
    step = jax.jit(transfer.step)
    far, first = step(start, None, None, js.LossWeights())
    back, second = step(far, None, None, js.LossWeights())
    assert second.total > first.total
    np.testing.assert_array_equal(back.optimizer.image, start.image)
    assert back.optimizer.value == first.total
    length = lambda a, b: float(jnp.sqrt(jnp.mean((a - b) ** 2)))  # noqa: E731
    assert length(back.image, start.image) <= 0.5 * length(far.image, start.image) * (1 + 1e-9)
    assert back.optimizer.stored == 1  # what failed has told about the curvature
    assert step(back, None, None, js.LossWeights())[1].total < first.total


def test_first_and_largest_step():
    problem = quadratic(4)
    optimizer = lbfgs(3, bounds=None, first_step=0.02, max_step=0.03)
    image = jnp.full(SHAPE, 0.5)
    gradient = jnp.asarray(value_and_gradient(problem, np.full(SIZE, 0.5))[1].reshape(SHAPE), jnp.float32)
    state = optimizer.init(image)
    update, state = optimizer.update(gradient, state, image, value=jnp.float32(2))
    smooth = Guess(SHAPE)(np.float64(gradient)).reshape(SHAPE)
    np.testing.assert_allclose(update, -smooth * 0.02 / np.sqrt(np.mean(smooth**2)), rtol=1e-4, atol=1e-6)
    update, state = optimizer.update(gradient * 0.9, state, image + update, value=jnp.float32(1))
    assert float(jnp.sqrt(jnp.mean(update**2))) == pytest.approx(0.03, rel=1e-3)


def test_nothing_happens_without_a_gradient():
    optimizer = lbfgs(3)
    image = jnp.full(SHAPE, 0.5)
    state = optimizer.init(image)
    for _ in range(3):
        update, state = optimizer.update(jnp.zeros(SHAPE), state, image, value=jnp.float32(0))
        np.testing.assert_array_equal(update, 0)


def test_no_step_is_longer_than_the_longest(rng):
    optimizer, image = lbfgs(3, bounds=None, first_step=0.4, max_step=0.1), jnp.full(SHAPE, 0.5)
    state = optimizer.init(image)
    assert float(state.radius) == pytest.approx(0.1)
    gradient = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    update, _ = optimizer.update(gradient, state, image, value=jnp.float32(2))
    assert float(jnp.sqrt(jnp.mean(update**2))) == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_size": 0}, "memory_size must be 1 or more, got 0"),
        ({"first_step": -1.0}, r"first_step must be above 0, got -1\.0"),
        ({"max_step": float("nan")}, "max_step must be above 0, got nan"),
        ({"bounds": (1.0, 0.0)}, r"bounds must be None or \(low, high\) with low < high, got \(1\.0, 0\.0\)"),
    ],
)
def test_numbers_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        lbfgs(**options)


@pytest.mark.slow
def test_real_loss_agrees_with_the_recursion(x64, shallow, params, content):
    _, loss, targets = shallow
    params, targets, content = widen(params), widen(targets), widen(content)
    weights = js.LossWeights(jnp.float64(1), jnp.float64(0.5), jnp.float64(0.01))
    both = jax.jit(jax.value_and_grad(lambda x: loss(x, params, targets, weights)[0]))

    def evaluate(x):
        value, slope = both(jnp.asarray(x.reshape(content.shape)))
        return float(value), np.ravel(slope)

    wanted = projected_lbfgs(evaluate, np.ravel(content), 12, shape=content.shape)
    transfer = js.make_transfer(loss, lbfgs(5))
    state, losses = jax.jit(partial(js.run, transfer, num_steps=12))(transfer.init(content), params, targets, weights)
    assert relative_error(np.ravel(state.image), wanted[-1]) < 1e-6
    assert losses.total[-1] < losses.total[0]


@pytest.fixture(scope="module")
def swept(shallow, params, content):
    """Three lanes after some steps, of which the last one gets a NaN on the way if asked."""
    _, loss, targets = shallow
    transfer = js.make_transfer(loss, lbfgs(4))
    weights = js.LossWeights(jnp.ones(3), jnp.array([0.1, 1.0, 10.0]), jnp.zeros(3))
    lanes = make_lanes(transfer, weights)
    traces = []

    def run(state, params, targets, weights):
        traces.append(1)
        return js.run(lanes, state, params, targets, weights, num_steps=6)

    compiled = jax.jit(run)

    def call(last_beta=10.0):
        state = lanes.init(jnp.broadcast_to(content, (3, *content.shape)))
        return compiled(state, params, targets, weights._replace(beta=jnp.array([0.1, 1.0, last_beta])))

    return transfer, call, traces


def test_a_lane_that_fails_leaves_the_others_bit_identical(swept):
    _, call, traces = swept
    state, losses = call()
    broken, rows = call(np.nan)
    np.testing.assert_array_equal(state.image[:2], broken.image[:2])
    assert np.isnan(rows.total[:, 2]).all()
    assert np.isfinite(broken.image).all()
    assert np.isfinite(losses.total).all()
    assert len(traces) == 1  # new weights don't compile again


@pytest.mark.slow
def test_lanes_are_transfers_alone(x64, shallow, params, content):
    _, loss, targets = shallow
    params, targets, content = widen(params), widen(targets), widen(content)
    transfer = js.make_transfer(loss, lbfgs(3))
    weights = js.weight_grid(beta=[0.1, 5.0])
    result = jax.jit(partial(js.sweep, transfer, num_steps=8))(content, params, targets, weights)
    alone = jax.jit(partial(js.run, transfer, num_steps=8))
    for i, beta in enumerate(weights.beta):
        state, losses = alone(transfer.init(content), params, targets, js.LossWeights(beta=beta))
        assert relative_error(result.images[i], state.picture) < 1e-7
        assert relative_error(result.losses.total[i], losses.total) < 1e-8


def test_scan_is_a_loop_of_steps(x64):
    problem = quadratic(5)
    transfer = js.make_transfer(as_loss(problem), lbfgs(4))
    state = transfer.init(jnp.full(SHAPE, 0.5))
    found, losses = js.run(transfer, state, None, None, js.LossWeights(), num_steps=9)
    step, rows = jax.jit(transfer.step), []
    for _ in range(9):
        state, row = step(state, None, None, js.LossWeights())
        rows.append(row.total)
    assert isinstance(found, TransferState)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), found, state)
    np.testing.assert_allclose(losses.total, rows, rtol=1e-9)
