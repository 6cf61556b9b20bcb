import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.objective.losses import CONVENTIONS
from jaxstyle.objective.objective import make_loss
from tests.conftest import SHALLOW, count_traces, relative_error, widen
from tests.network.test_vgg import reference
from tests.reference import numpy_vgg


@pytest.mark.slow
def test_equals_float64_numpy_with_images_of_different_sizes(params):
    rng = np.random.default_rng(4)
    content, style, image = (rng.uniform(size=s) for s in ((33, 40, 3), (45, 32, 3), (33, 40, 3)))
    c, s, x = (reference(params, image) for image in (content, style, image))
    wanted_content = np.mean((x["relu4_2"] - c["relu4_2"]) ** 2)
    layers = [f"relu{i}_1" for i in range(1, 6)]
    wanted_style = np.mean([np.mean((numpy_vgg.gram(x[k]) - numpy_vgg.gram(s[k])) ** 2) for k in layers])
    wanted_tv = np.mean(np.diff(image, axis=0) ** 2) + np.mean(np.diff(image, axis=1) ** 2)

    content, style, image = (jnp.asarray(a, jnp.float32) for a in (content, style, image))
    features = js.make_features()
    targets = js.make_objective(features).targets(params, content, style)
    total, losses = jax.jit(js.make_objective(features).loss)(image, params, targets, js.LossWeights(2.0, 3.0, 5.0))
    assert float(losses.content) == pytest.approx(wanted_content, rel=1e-5)
    assert float(losses.style) == pytest.approx(wanted_style, rel=1e-5)
    assert float(losses.tv) == pytest.approx(wanted_tv, rel=1e-5)
    assert float(total) == pytest.approx(2 * wanted_content + 3 * wanted_style + 5 * wanted_tv, rel=1e-5)
    assert total == losses.total


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_gradient_equals_finite_differences(params, content, style, convention):
    params, content, style = widen((params, content, style))
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    targets = js.make_objective(features, **SHALLOW).targets(params, content, style)
    loss = jax.jit(js.make_objective(features, convention=convention, **SHALLOW).loss)
    weights = js.LossWeights(1.0, 0.3, 0.2)
    rng = np.random.default_rng(5)
    image = jnp.asarray(rng.uniform(size=content.shape))
    direction = jnp.asarray(rng.normal(size=content.shape))

    def along(t):
        return loss(image + t * direction, params, targets, weights)[0]

    slope = (along(1e-8) - along(-1e-8)) / 2e-8  # so short a step crosses next to no kink of a ReLU
    gradient = jax.jit(jax.grad(lambda x: loss(x, params, targets, weights)[0]))(image)
    assert jnp.vdot(gradient, direction) == pytest.approx(float(slope), rel=1e-6)


def test_linear_in_every_weight(shallow, params, style, content):
    _, loss, targets = shallow
    image = content[::-1]

    def total(**weights):
        return float(loss(image, params, targets, js.LossWeights(**weights))[0])

    for name in ("alpha", "beta", "tv"):
        alone = {"alpha": 0.0, "beta": 0.0, "tv": 0.0}
        once, twice = total(**alone | {name: 1.0}), total(**alone | {name: 2.0})
        assert once > 0
        assert twice == pytest.approx(2 * once, rel=1e-6)
    parts = [total(alpha=0.0, style_layers=jnp.array(w)) for w in ([1.0, 0.0], [0.0, 1.0])]
    assert total(alpha=0.0, style_layers=jnp.array([3.0, 5.0])) == pytest.approx(3 * parts[0] + 5 * parts[1], rel=1e-5)
    assert total(alpha=0.0) == pytest.approx(sum(parts) / 2, rel=1e-6)


def test_several_styles(params, content, style):
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    loss = js.make_objective(features, **SHALLOW).loss
    styles = [style, content[::-1]]
    both = js.make_objective(features, **SHALLOW).targets(params, content, styles)
    assert both.style["relu2_1"].shape == (2, 128, 128)
    singles = [js.make_objective(features, **SHALLOW).targets(params, content, s) for s in styles]
    mixed = loss(content, params, both, js.LossWeights(style_mix=jnp.array([0.3, 0.7])))[1].style
    wanted = [loss(content, params, targets, js.LossWeights())[1].style for targets in singles]
    assert float(mixed) == pytest.approx(float(0.3 * wanted[0] + 0.7 * wanted[1]), rel=1e-5)


def test_zero_content_loss_and_finite_gradient_at_the_content_image(shallow, params, content):
    _, loss, targets = shallow
    (total, losses), gradient = jax.value_and_grad(loss, has_aux=True)(
        content, params, targets, js.LossWeights(beta=0.0)
    )
    assert total == losses.content == 0
    np.testing.assert_array_equal(gradient, 0)


def test_jit_equals_eager_and_vmap_equals_loop(shallow, params, content):
    _, loss, targets = shallow
    images = jnp.stack([content, content[::-1], 1 - content])
    weights = js.LossWeights(0.5, 2.0, 0.1)

    def gradient(image):
        return jax.grad(loss, has_aux=True)(image, params, targets, weights)[0]

    eager = jnp.stack([gradient(image) for image in images])
    assert relative_error(jax.jit(jax.vmap(gradient))(images), eager) < 1e-5


def test_does_not_recompile_for_new_weights(shallow, params, content):
    _, loss, targets = shallow
    counted, traces = count_traces(loss)
    jitted = jax.jit(counted)
    for beta in (0.1, 1.0, 10.0):
        jitted(content, params, targets, js.LossWeights(jnp.float32(1), jnp.float32(beta), jnp.float32(0)))
    assert len(traces) == 1


def test_errors_name_what_differs(shallow, params, content):
    features, loss, targets = shallow
    with pytest.raises(ValueError, match="no relu4_2 among the layers relu1_1, relu2_1, relu2_2"):
        js.make_objective(features).targets(params, content, content)
    with pytest.raises(ValueError, match="must have the size of the content image"):
        loss(content[:, :32], params, targets, js.LossWeights())
    with pytest.raises(ValueError, match=r"weights.style_layers must have shape \(2,\), got \(3,\)"):
        loss(content, params, targets, js.LossWeights(style_layers=jnp.ones(3)))
    with pytest.raises(ValueError, match="at least one image"):
        js.make_objective(features, **SHALLOW).targets(params, content, [])
    with pytest.raises(ValueError, match="unknown convention"):
        js.make_objective(features, convention="x")


def test_images_in_bytes_are_refused_and_stacked_styles_taken(shallow, params, content, style):
    features, _, targets = shallow
    with pytest.raises(ValueError, match="got uint8: divide bytes by 255"):
        js.make_objective(features, **SHALLOW).targets(params, np.zeros((32, 32, 3), np.uint8), style)
    stacked = js.make_objective(features, **SHALLOW).targets(params, content, jnp.stack([style, style]))
    np.testing.assert_array_equal(stacked.style["relu1_1"][1], targets.style["relu1_1"][0])


def test_layers_keep_their_weights_whatever_order_jax_gives_them():
    """Jitted functions return dicts with sorted names."""

    def features(params, image):
        return {"zeta": image, "alpha": jnp.square(image)}

    layers = ("zeta", "alpha")
    objective = js.make_objective(features, content_layers=layers, style_layers=layers)
    content, style, image = jax.random.uniform(jax.random.key(0), (3, 4, 5, 3))
    targets = objective.targets({}, content, style)
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        arguments = image, {}, targets, js.LossWeights(style_layers=weights, content_layers=weights)
        wanted = objective.loss(*arguments)[1]
        by_layer = objective.terms(*arguments)
        assert wanted.style == pytest.approx(float(by_layer.style["zeta" if weights[0] else "alpha"]), rel=1e-6)
        for terms in (jax.jit(objective.terms), jax.checkpoint(objective.terms)):
            found = make_loss(terms, layers, layers)(*arguments)[1]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_weights_of_no_layers_are_counted_too(shallow, params, content):
    features, _, targets = shallow
    objective = js.make_objective(features, content_layers=(), style_layers=("relu1_1", "relu2_1"))
    with pytest.raises(ValueError, match=r"weights.content_layers must have shape \(0,\), got \(3,\)"):
        objective.loss(content, params, targets, js.LossWeights(content_layers=[1.0, 2.0, 3.0]))
    assert objective.loss(content, params, targets, js.LossWeights(content_layers=[]))[1].content == 0
