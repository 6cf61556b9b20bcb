import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.objective.losses import CONVENTIONS, feature_loss
from jaxstyle.objective.statistics.content_statistics import ContentStatistic, content_statistic, self_similarity
from jaxstyle.objective.weight_defaults import CONTENT_LOSSES
from tests.conftest import SHALLOW
from tests.reference import numpy_styles

RNG = np.random.default_rng(4)
F, P = RNG.normal(size=(2, 5, 6, 7))


def distance_of(statistic, content, convention="mean"):
    target = statistic.measure(jnp.asarray(content))
    return lambda f: statistic.distance(statistic.measure(f), target, convention=convention)


@pytest.mark.usefixtures("x64")
def test_self_similarity_equals_numpy():
    for convention in ("mean", "relative"):
        found = distance_of(content_statistic("self_similarity"), P, convention)(jnp.asarray(F))
        assert float(found) == pytest.approx(numpy_styles.self_similarity(F, P), rel=1e-9)
    # Of a sample: every second position of a line.
    found = distance_of(self_similarity(count=15), P.reshape(1, 30, 7))(jnp.asarray(F.reshape(1, 30, 7)))
    a, b = (x.reshape(1, 30, 7)[:, 1::2] for x in (F, P))
    assert float(found) == pytest.approx(numpy_styles.self_similarity(a, b), rel=1e-9)


@pytest.mark.usefixtures("x64")
def test_gradients_equal_finite_differences(rng):
    distance = distance_of(self_similarity(), P)
    direction = jnp.asarray(rng.normal(size=F.shape))
    f = jnp.asarray(F)
    slope = (distance(f + 1e-6 * direction) - distance(f - 1e-6 * direction)) / 2e-6
    assert jnp.vdot(jax.grad(distance)(f), direction) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("name", CONTENT_LOSSES)
@pytest.mark.parametrize("case", ["full", "one", "flat", "zero"])
def test_zero_with_a_finite_gradient_at_the_content_itself_and_finite_elsewhere(name, case, rng):
    f = {"full": F, "one": F[:1, :1], "flat": np.ones_like(F), "zero": np.zeros_like(F)}[case]
    f = jnp.asarray(f, jnp.float32)
    value, gradient = jax.value_and_grad(distance_of(content_statistic(name), f))(f)
    assert float(value) == 0
    assert jnp.isfinite(gradient).all()
    for start in (jnp.zeros_like(f), 1000 * f[::-1], jnp.asarray(rng.normal(size=f.shape), f.dtype)):
        value, gradient = jax.value_and_grad(distance_of(content_statistic(name), f))(start)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("level", [1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("channels", [3, 64])
def test_features_that_are_nearly_alike_are_no_noise(level, channels, rng):
    """Where all cosine distances are rounding, the distance keeps its range and its gradient."""
    flat = rng.uniform(size=channels)
    f, p = (jnp.asarray(flat * (1 + level * rng.normal(size=(8, 9, channels))), jnp.float32) for _ in range(2))
    value, gradient = jax.jit(jax.value_and_grad(distance_of(self_similarity(), p)))(f)
    assert 0 <= value < 0.1
    assert jnp.linalg.norm(gradient) < 10


def test_self_similarity_sees_what_is_alike_and_not_what_it_is():
    """Other directions and other lengths of all features alike change nothing; a step that is gone does."""
    turned = np.linalg.qr(RNG.normal(size=(7, 7)))[0]
    distance = distance_of(self_similarity(), np.float32(P))
    assert float(distance(jnp.asarray(3 * P @ turned, jnp.float32))) < 1e-4
    steps = np.where(np.arange(6) < 3, 1.0, -1.0)[None, :, None] * np.ones((5, 6, 7))
    flat = distance_of(self_similarity(), np.float32(steps))(jnp.ones((5, 6, 7)))
    assert float(flat) > 0.9


def test_names_and_conventions():
    assert content_statistic("features").distance is feature_loss
    with pytest.raises(ValueError, match="unknown content_loss 'x'; valid: features, self_similarity, or a Content"):
        content_statistic("x")
    for convention in CONVENTIONS[1:3]:
        with pytest.raises(ValueError, match=f"convention '{convention}' is for Gram matrices"):
            distance_of(self_similarity(), P, convention)(jnp.asarray(F))


def test_a_statistic_of_ones_own_and_targets_of_another(params, content, style):
    def distance(found, target, *, convention):
        return jnp.abs(found["mean"] - target["mean"]).sum()

    own = ContentStatistic(lambda features: {"mean": features.mean((0, 1))}, distance)
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    objective = js.make_objective(features, content_loss=own, **SHALLOW)
    targets = objective.targets(params, content, style)
    image = content[::-1] * 0.5
    found = objective.loss(image, params, targets, js.LossWeights())[1].content
    (layer,) = SHALLOW["content_layers"]
    means = [np.asarray(features(params, x)[layer]).mean((0, 1)) for x in (image, content)]
    assert float(found) == pytest.approx(np.abs(means[0] - means[1]).sum(), rel=1e-4)
    other = js.make_objective(features, content_loss="self_similarity", **SHALLOW)
    with pytest.raises(ValueError, match="that of the content target .* by one make_objective"):
        other.loss(image, params, targets, js.LossWeights())
