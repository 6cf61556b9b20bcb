import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.network.layers import PADDINGS, POOLINGS
from jaxstyle.objective.losses import CONVENTIONS
from jaxstyle.objective.statistics.style_statistics import statistics_by_layer
from jaxstyle.optimise.presets import PRESETS
from tests.conftest import widen
from tests.network.test_vgg import reference
from tests.reference import numpy_vgg


@pytest.mark.parametrize("name", PRESETS)
def test_presets_make_an_objective(params, name):
    preset = PRESETS[name]
    assert preset.pooling in POOLINGS
    assert preset.padding in PADDINGS
    assert preset.convention in CONVENTIONS
    layers = tuple(dict.fromkeys(preset.content_layers + preset.style_layers))
    features = js.make_features(layers, pooling=preset.pooling, padding=preset.padding)
    layers = {"content_layers": preset.content_layers, "style_layers": preset.style_layers}
    image = jnp.zeros((32, 32, 3))

    def total(image):
        targets = js.make_objective(features, style_loss=preset.style_loss, **layers).targets(params, image, image)
        loss = js.make_objective(features, convention=preset.convention, style_loss=preset.style_loss, **layers).loss
        return loss(image, params, targets, js.LossWeights(style_layers=jnp.array(preset.style_layer_weights)))[0]

    assert jax.eval_shape(total, image).shape == ()
    assert statistics_by_layer(preset.style_loss, preset.style_layers)
    assert not preset.alphas or preset.alpha in preset.alphas


@pytest.mark.usefixtures("x64")
def test_tutorial_is_the_sum_of_its_layers_of_features_before_relu(params):
    preset = PRESETS["tutorial"]
    rng = np.random.default_rng(8)
    content, style, image = (rng.uniform(size=(32, 34, 3)) for _ in range(3))
    c, s, x = (reference(params, a) for a in (content, style, image))
    grams = [[numpy_vgg.gram(f[layer]) / f[layer].shape[-1] for f in (x, s)] for layer in preset.style_layers]
    wanted = np.mean((x["conv2_2"] - c["conv2_2"]) ** 2) + 1e6 * sum(np.mean((a - b) ** 2) for a, b in grams)

    layers = {"content_layers": preset.content_layers, "style_layers": preset.style_layers}
    features, params = js.make_features(preset.style_layers), widen(params)
    content, style, image = map(jnp.asarray, (content, style, image))
    targets = js.make_objective(features, **layers).targets(params, content, style)
    loss = js.make_objective(features, convention=preset.convention, **layers).loss
    weights = js.LossWeights(preset.alpha, preset.beta, preset.tv, style_layers=jnp.array(preset.style_layer_weights))
    assert float(loss(image, params, targets, weights)[0]) == pytest.approx(wanted, rel=1e-9)
