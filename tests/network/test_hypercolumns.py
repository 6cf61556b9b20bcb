import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.network.hypercolumns import add_hypercolumns
from jaxstyle.network.layers import HYPERCOLUMN_LAYERS, convolutions_for, min_size, plain_layers


def test_positions_hold_all_layers_over_their_channels(rng):
    """A layer of the hypercolumns' size is as it is, and a flat one stays flat; means and slopes survive resizing."""
    columns = np.mgrid[:16, :24][1]
    layers = {
        "same": rng.normal(size=(4, 6, 5)),
        "flat": np.full((2, 3, 8), 3.0),
        "slope": (columns[..., None] + 0.5) / 24 * np.array([1.0, 2.0]),
    }
    given = {name: jnp.asarray(x, jnp.float32) for name, x in layers.items()}
    features = add_hypercolumns(lambda params, image: given, list(layers))
    found = features({}, jnp.zeros((16, 24, 3)))
    assert list(found) == [*layers, "hypercolumn"]
    column = np.asarray(found["hypercolumn"])
    assert column.shape == (4, 6, 15)
    np.testing.assert_allclose(column[..., :5], layers["same"] / 5, rtol=1e-6)
    np.testing.assert_allclose(column[..., 5:13], 3 / 8, rtol=1e-6)
    inside = (np.arange(6) + 0.5)[1:-1] / 6
    np.testing.assert_allclose(column[1, 1:-1, 13:], inside[:, None] * [0.5, 1.0], rtol=1e-5)


def test_make_features_knows_them(params, content):
    layers = ("relu2_1", "hypercolumn")
    found = js.make_features(layers)(params, content)
    assert tuple(found) == layers
    h, w, _ = content.shape
    assert found["hypercolumn"].shape == (h // 4, w // 4, 64 + 128 + 256 + 512)
    plain = js.make_features(HYPERCOLUMN_LAYERS)
    wanted = add_hypercolumns(plain)(params, content)["hypercolumn"]
    np.testing.assert_allclose(found["hypercolumn"], wanted, rtol=1e-5, atol=1e-6)
    assert plain_layers(("hypercolumn", "relu2_2", "conv5_1")) == (*HYPERCOLUMN_LAYERS, "conv5_1")
    assert convolutions_for(("hypercolumn",))[-1] == "conv4_3"
    assert min_size(("hypercolumn",)) == js.make_features(("hypercolumn",)).smallest_side == 16


@pytest.mark.slow
def test_bfloat16(params, content):
    found = js.make_features(("hypercolumn",), dtype="bfloat16")(params, content)["hypercolumn"]
    assert found.dtype == jnp.bfloat16


def test_errors(params):
    with pytest.raises(
        ValueError, match="unknown layer 'hyper'; valid layers: conv1_1, .*, pool5, hypercolumn, pixels"
    ):
        js.make_features(("hyper",))
    with pytest.raises(ValueError, match="stride must be .* got 0"):
        add_hypercolumns(js.make_features(), stride=0)
    with pytest.raises(ValueError, match="no relu1_2 among the layers"):
        jax.eval_shape(add_hypercolumns(lambda p, x: {"a": x}), params, jnp.zeros((16, 16, 3)))
    with pytest.raises(ValueError, match="too small for layers"):
        js.make_features(("hypercolumn",))(params, jnp.zeros((12, 16, 3)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pixels_are_the_image_at_full_precision(params, content, dtype):
    layers = ("relu2_1", "pixels")
    features = js.make_features(layers, dtype=dtype)
    found = jax.jit(features)(params, content)
    assert sorted(found) == sorted(layers)
    np.testing.assert_array_equal(found["pixels"], content)
    assert found["pixels"].dtype == content.dtype
    assert plain_layers(("pixels", "conv5_1")) == ("conv5_1",)
    assert min_size(layers) == features.smallest_side == 4
    with pytest.raises(ValueError, match="pixels are no layer of the network: name one beside them"):
        js.make_features("pixels")
