"""Implicit gradients against closed forms by dense linear algebra, and against finite differences of minima."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.hypergradient.implicit_gradient import implicit_gradient
from tests.conftest import widen

SHAPE = (2, 2, 3)


def squares(image, params, targets, weights):
    """alpha / 2 ||x - p||^2 + beta / 2 ||A x - s||^2 + tv ||x||^2 / 2, convex in x."""
    x = image.ravel()
    content = jnp.square(x - targets["content"]).sum() / 2
    style = jnp.square(params @ x - targets["style"]).sum() / 2
    tv = jnp.square(x).sum() / 2
    total = weights.alpha * content + weights.beta * style + weights.tv * tv
    return total, js.Losses(content, style, tv, total)


class Problem:
    """The minimum of `squares` within [0, 1] and its derivatives, by NumPy."""

    def __init__(self, bounded=True):
        random = np.random.default_rng(4)
        self.a = random.standard_normal((7, 12))
        self.p, self.s = random.uniform(-0.8, 1.8, 12), random.standard_normal(7)
        self.alpha, self.beta, self.tv = 1.3, 0.4, 0.2
        self.h = (self.alpha + self.tv) * np.eye(12) + self.beta * self.a.T @ self.a
        self.c = random.standard_normal(12)
        self.x = self.p
        low, high = (0, 1) if bounded else (-np.inf, np.inf)
        for _ in range(5000):  # projected gradient
            self.x = np.clip(self.x - self.gradient(self.x) / np.linalg.norm(self.h, 2), low, high)
        self.free = (self.x > low) & (self.x < high)
        assert self.free.all() != bounded
        assert not bounded or {0, 1} < set(self.x)
        assert abs(self.gradient(self.x)[self.free]).max() < 1e-12

    def gradient(self, x):
        return self.alpha * (x - self.p) + self.beta * self.a.T @ (self.a @ x - self.s) + self.tv * x

    def derivatives(self, damping=0.0):
        """Of <c, x> with respect to p, s, alpha, beta, tv: each -(d gradient / d t) over the free pixels, by H."""
        free = self.free
        v = np.linalg.inv((self.h + damping * np.eye(12))[free][:, free]) @ self.c[free]
        parts = (
            -self.alpha * np.eye(12),
            -self.beta * self.a.T,
            self.x - self.p,
            self.a.T @ (self.a @ self.x - self.s),
            self.x,
        )
        return [-v @ part[free] for part in parts]

    def arguments(self):
        weights = js.LossWeights(*map(jnp.asarray, (self.alpha, self.beta, self.tv)))
        targets = {"content": jnp.asarray(self.p), "style": jnp.asarray(self.s)}
        image, cotangent = (jnp.asarray(x.reshape(SHAPE)) for x in (self.x, self.c))
        return image, cotangent, jnp.asarray(self.a), targets, weights


def solve(*arguments, **options):
    return jax.jit(partial(implicit_gradient, squares, tolerance=1e-12, **options))(*arguments)


def flat(found):
    return [*found.targets.values(), found.weights.alpha, found.weights.beta, found.weights.tv]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None])
@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_a_quadratic_has_a_closed_form(x64, bounds, damping):
    problem = Problem(bounds is not None)
    found = solve(*problem.arguments(), bounds=bounds, damping=damping)
    for a, b in zip(flat(found), problem.derivatives(damping), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert found.weights.style_layers is None
    assert found.optimality < 1e-11
    assert abs(found.remaining) < 1e-11
    assert found.residual < 1e-11


def test_what_it_says_of_an_image_that_has_not_converged(x64):
    problem = Problem()
    image, *rest = problem.arguments()
    off = np.where(problem.free, 1e-3 * np.random.default_rng(5).standard_normal(12), 0)
    found = solve(image + off.reshape(SHAPE), *rest)
    gradient = problem.gradient(problem.x + off)[problem.free]
    assert float(found.optimality) == pytest.approx(abs(gradient).max(), rel=1e-9)
    # <c, x> is linear, and Newton's step on a quadratic arrives.
    assert float(found.remaining) == pytest.approx(-problem.c @ off, rel=1e-7)


def test_what_it_says_of_a_system_that_is_not_solved(x64):
    arguments = Problem().arguments()
    first, last = (solve(*arguments, num_iterations=n).residual for n in (1, 12))
    assert first > 0.05
    assert last < 1e-9  # conjugate gradients need at most as many iterations as there are pixels


def test_no_cotangent_gives_no_gradient(x64):
    image, cotangent, *rest = Problem().arguments()
    found = solve(image, 0 * cotangent, *rest)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((flat(found), found.residual, found.remaining)))


def test_pixels_held_at_a_bound_pass_nothing_on(x64):
    problem = Problem()
    image, cotangent, *rest = problem.arguments()
    held = ~problem.free.reshape(SHAPE)
    found, wanted = (flat(solve(image, c, *rest)) for c in (cotangent + 5 * held, cotangent))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_vmap_over_weights_is_a_loop(x64):
    image, cotangent, params, targets, weights = Problem(bounded=False).arguments()
    lanes = weights._replace(beta=jnp.array([0.1, 0.4, 2.0]))
    f = partial(solve, bounds=None)
    axes = js.LossWeights(None, 0, None, None, None, None)
    found = jax.vmap(f, (None, None, None, None, axes))(image, cotangent, params, targets, lanes)
    for i, beta in enumerate(lanes.beta):
        one = f(image, cotangent, params, targets, weights._replace(beta=beta))
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-8, atol=1e-11), found, one)


def test_broken_arguments():
    image = jnp.zeros(SHAPE)
    with pytest.raises(ValueError, match=r"cotangent must have the image's shape \(2, 2, 3\), got \(3,\)"):
        implicit_gradient(squares, image, jnp.zeros(3), None, None, js.LossWeights())
    with pytest.raises(ValueError, match=r"bounds must be None or \(low, high\) with low < high, got \(1, 0\)"):
        implicit_gradient(squares, image, image, None, None, js.LossWeights(), bounds=(1, 0))
    with pytest.raises(ValueError, match="image must be floating-point"):
        implicit_gradient(squares, np.zeros(SHAPE, int), image, None, None, js.LossWeights())


# No ReLU: with relu1_1 below conv1_2, Newton's method leaps from one side of an edge to the other and back.
LAYERS = {"content_layers": ("conv1_1",), "style_layers": ("conv1_1",)}
FEATURES = js.make_features(("conv1_1",), backend="xla")
LOSS = js.make_objective(FEATURES, convention="relative", **LAYERS).loss
STEEP = js.make_transfer(LOSS, optax.adam(0.02))


@pytest.fixture
def transfer_problem(params, x64):
    """Parameters, and a function that makes image-independent arguments out of what is differentiated."""
    random = np.random.default_rng(8)
    # Black and white places, so that some pixels end at a bound.
    content, style = (jnp.asarray(random.uniform(-0.3, 1.3, shape).clip(0, 1)) for shape in ((6, 5, 3), (5, 6, 3)))
    own = {k: widen(params[k]) for k in ("mean", "conv1_1")}

    def arguments(inputs):
        content, style, log_alpha, log_beta, log_tv, layers = inputs
        weights = js.LossWeights(*map(jnp.exp, (log_alpha, log_beta, log_tv)), style_layers=layers)
        return js.make_objective(FEATURES, **LAYERS).targets(own, content, style), weights

    return own, arguments, (content, style, *map(jnp.asarray, (0.2, -1.0, -2.0)), jnp.asarray([0.8]))


def newton(own, image, targets, weights, num_steps):
    """Newton's method over the free pixels, with the whole Hessian."""

    def value(x):
        return LOSS(x.reshape(image.shape), own, targets, weights)[0]

    x = image.ravel()
    for _ in range(num_steps):
        gradient, hessian = jax.grad(value)(x), jax.jacrev(jax.grad(value))(x)
        held = ((x <= 0) & (gradient > 0)) | ((x >= 1) & (gradient < 0))
        hessian = jnp.where(held | held[:, None], jnp.eye(x.size), hessian)
        x = jnp.clip(x - jnp.linalg.solve(hessian, jnp.where(held, 0, gradient)), 0, 1)
    return x.reshape(image.shape)


def phi(image):
    return jnp.square(image - 0.3).mean() + jnp.sin(9 * image[2, 2]).sum() / 30


@pytest.mark.slow
def test_a_transfer_against_finite_differences_of_its_minimum(transfer_problem):
    own, arguments, inputs = transfer_problem
    (targets, weights), pull = jax.vjp(arguments, inputs)
    polish = jax.jit(partial(newton, own, num_steps=4))
    state, _ = jax.jit(partial(js.run, STEEP, num_steps=300))(STEEP.init(inputs[0]), own, targets, weights)
    image = polish(state.image, targets, weights)
    found = jax.jit(partial(implicit_gradient, LOSS, tolerance=1e-11, num_iterations=500))(
        image, jax.grad(phi)(image), own, targets, weights
    )
    assert found.optimality < 1e-10
    assert found.residual < 1e-10
    assert 0 < ((image == 0) | (image == 1)).sum() < image.size / 2
    (gradients,) = pull((found.targets, found.weights))
    for i, x in enumerate(inputs):
        direction = jnp.asarray(np.random.default_rng(i).standard_normal(x.shape))
        moved = (arguments((*inputs[:i], x + sign * 1e-5 * direction, *inputs[i + 1 :])) for sign in (1, -1))
        up, down = (phi(polish(image, *m)) for m in moved)
        slope = jnp.vdot(gradients[i], direction)
        assert abs(slope) > 1e-5
        assert float((up - down) / 2e-5) == pytest.approx(float(slope), rel=1e-5), i
