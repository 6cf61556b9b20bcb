import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.objective import losses
from jaxstyle.objective.losses import CONVENTIONS, feature_loss, gram_loss, gram_matrix, total_variation
from tests.conftest import relative_error
from tests.reference import numpy_vgg

RNG = np.random.default_rng(3)
F, P, S = (RNG.normal(size=shape) for shape in ((6, 7, 5), (6, 7, 5), (4, 9, 5)))
G, A = numpy_vgg.gram(F), numpy_vgg.gram(S)

# The table of the README, in float64.
CONTENT = {
    "mean": np.mean((F - P) ** 2),
    "gatys": np.sum((F - P) ** 2) / 2,
    "johnson": np.mean((F - P) ** 2),
    "relative": np.mean((F - P) ** 2) / np.mean(P**2),
}
STYLE = {
    "mean": np.mean((G - A) ** 2),
    "gatys": np.sum((G - A) ** 2) / (4 * 5**2),
    "johnson": np.mean((G / 5 - A / 5) ** 2),
    "relative": np.mean((G - A) ** 2) / np.mean(A**2),
}


def f32(x):
    return jnp.asarray(x, jnp.float32)


def test_gram_equals_numpy():
    assert relative_error(gram_matrix(f32(F)), G) < 1e-6


def test_gram_ignores_the_order_of_pixels(rng):
    shuffled = rng.permutation(F.reshape(-1, 5)).reshape(7, 6, 5)
    assert relative_error(gram_matrix(f32(shuffled)), G) < 1e-6


def test_gram_of_half_precision_features_does_not_overflow():
    features = jnp.full((8, 8, 4), 1000.0, jnp.float16)
    gram = gram_matrix(features)
    assert gram.dtype == jnp.float32
    np.testing.assert_allclose(gram, 1e6)


@pytest.mark.usefixtures("x64")
def test_gram_gradient_is_that_of_the_product_in_both_modes_and_again():
    def plain(f):
        return jnp.einsum("hwc,hwd->cd", f, f) / (f.shape[0] * f.shape[1])

    def loss(gram):
        return lambda f: jnp.sum(jnp.sin(gram(f)))

    f, t = jnp.asarray(F), jnp.asarray(S[:1, :1] * F)
    np.testing.assert_allclose(jax.grad(loss(gram_matrix))(f), jax.grad(loss(plain))(f), rtol=1e-12)
    found, wanted = (jax.jvp(loss(gram), (f,), (t,)) for gram in (gram_matrix, plain))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    second = [jax.grad(lambda f, g=g: jnp.sum(jax.grad(loss(g))(f) ** 2))(f) for g in (gram_matrix, plain)]
    np.testing.assert_allclose(*second, rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "parts"), [((67, 101, 3), 4), ((64, 64, 8), 2), ((3, 5, 4), 1), ((61, 61, 2), 2), ((1, 4099, 2), 3)]
)
def test_gram_of_a_gpu_is_the_sum_over_parts(rng, shape, parts, dtype):
    f = jnp.asarray(rng.standard_normal(shape), dtype)
    wanted = np.asarray(f, np.float64).reshape(-1, shape[2])
    products = [e for e in jax.make_jaxpr(losses._square_in_parts)(f).eqns if e.primitive.name == "dot_general"]
    assert [e.outvars[0].aval.shape for e in products] == [(parts, shape[2], shape[2])]
    found = losses._square_in_parts(f)
    assert found.dtype == jnp.float32
    assert relative_error(found, wanted.T @ wanted) < 1e-5  # a CPU sums a part one by one


def test_gram_gradient_of_bfloat16_features():
    f = f32(F).astype(jnp.bfloat16)
    found = jax.grad(lambda f: jnp.sum(jnp.sin(gram_matrix(f))))(f)
    wanted = jax.grad(lambda f: jnp.sum(jnp.sin(gram_matrix(f))))(f.astype(jnp.float32))
    assert found.dtype == jnp.bfloat16
    assert relative_error(found, wanted) < 0.01
    np.testing.assert_allclose(gram_matrix(f), gram_matrix(f.astype(jnp.float32)), rtol=1e-6)  # no product is rounded


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_conventions(convention):
    found = feature_loss(f32(F), f32(P), convention=convention)
    assert float(found) == pytest.approx(CONTENT[convention], rel=1e-6)
    found = gram_loss(f32(G), f32(A), convention=convention)
    assert float(found) == pytest.approx(STYLE[convention], rel=1e-5)


def test_relations_of_the_conventions():
    content = {name: float(feature_loss(f32(F), f32(P), convention=name)) for name in CONVENTIONS}
    style = {name: float(gram_loss(f32(G), f32(A), convention=name)) for name in CONVENTIONS}
    assert style["gatys"] == pytest.approx(style["mean"] / 4)
    assert style["johnson"] == pytest.approx(style["mean"] / 5**2)
    assert content["gatys"] == pytest.approx(content["mean"] * F.size / 2)
    assert content["johnson"] == content["mean"]


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_zero_with_finite_gradient_at_the_target(convention):
    for loss, target in ((feature_loss, f32(P)), (gram_loss, f32(A)), (feature_loss, jnp.zeros((6, 7, 5)))):
        value, gradient = jax.value_and_grad(loss)(target, target, convention=convention)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


def test_unknown_convention():
    with pytest.raises(ValueError, match="unknown convention 'huber'; valid: mean, gatys, johnson, relative"):
        feature_loss(f32(F), f32(P), convention="huber")


def test_shapes_that_differ():
    with pytest.raises(ValueError, match=r"\(6, 7, 5\), the content target has \(4, 9, 5\)"):
        feature_loss(f32(F), f32(S))
    with pytest.raises(ValueError, match=r"\(5, 5\), the style target has \(4, 4\)"):
        gram_loss(f32(G), f32(A[:4, :4]))


def test_total_variation():
    assert total_variation(jnp.full((5, 4, 3), 0.7)) == 0
    checkerboard = jnp.broadcast_to((jnp.indices((6, 5)).sum(0) % 2)[..., None], (6, 5, 3)).astype(float)
    assert total_variation(checkerboard) == 2
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None] / 10, (8, 5, 3))
    assert float(total_variation(ramp)) == pytest.approx(0.01, rel=1e-5)


@pytest.mark.usefixtures("x64")
def test_float64_stays_float64():
    assert gram_matrix(jnp.asarray(F)).dtype == jnp.float64
    assert feature_loss(jnp.asarray(F), jnp.asarray(P)).dtype == jnp.float64
    assert total_variation(jnp.asarray(F)).dtype == jnp.float64
    assert relative_error(gram_matrix(jnp.asarray(F)), G) < 1e-15
