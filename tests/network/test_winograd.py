import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network import winograd
from jaxstyle.network.convolution import conv3x3, prepare_kernel
from jaxstyle.network.layers import PADDINGS
from tests.conftest import relative_error, widen
from tests.network.test_convolution import xla
from tests.reference import numpy_vgg


def tiles(kernel, m):
    """A kernel's transform, whatever tile its channels would choose."""
    return winograd.transform_kernel(jnp.asarray(kernel), m)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("m", [4, 6])
@pytest.mark.parametrize("size", [(1, 1), (3, 8), (12, 12), (13, 17)])
def test_equals_numpy_and_so_does_its_transpose(m, size, padding):
    rng = np.random.default_rng(8)
    kernel = rng.normal(size=(3, 3, 5, 7))
    x, g = rng.normal(size=(2, *size, 5)), rng.normal(size=(2, *size, 7))
    u = tiles(kernel, m)
    matrices = winograd.height_transforms(u)
    wanted = np.stack([numpy_vgg.conv(image, kernel, 0, numpy_vgg.PADDINGS[padding]) for image in x])
    assert relative_error(winograd.convolve(jnp.asarray(x), u, matrices, padding=padding), wanted) < 1e-13
    back = winograd.transpose(jnp.asarray(g), u, matrices, padding=padding)
    assert back.shape == x.shape
    wanted = np.stack([numpy_vgg.conv_transposed(image, kernel, numpy_vgg.PADDINGS[padding]) for image in g])
    assert relative_error(back, wanted) < 1e-13


@pytest.mark.parametrize("channels", [(64, 128), (256, 256)])
def test_float32_error_of_a_layer(channels):
    rng = np.random.default_rng(9)
    kernel = rng.normal(size=(3, 3, *channels)).astype(np.float32)
    x = np.maximum(rng.normal(size=(20, 24, channels[0])), 0).astype(np.float32)
    found = conv3x3(jnp.asarray(x), jnp.asarray(kernel), prepare_kernel(jnp.asarray(kernel)))
    assert relative_error(found, numpy_vgg.conv(x.astype(float), kernel.astype(float), 0)) < 1e-5


@pytest.mark.usefixtures("x64")
def test_prepared_convolution_has_the_gradients_of_xlas():
    rng = np.random.default_rng(10)
    x, kernel = jnp.asarray(rng.normal(size=(9, 8, 16))), jnp.asarray(rng.normal(size=(3, 3, 16, 20)))

    def prepared(x, kernel):
        return conv3x3(x, kernel, prepare_kernel(kernel))

    def loss(conv):
        return lambda x, kernel: jnp.sum(jnp.sin(conv(x, kernel)))

    for argument in (0, 1):
        found, wanted = (jax.grad(loss(conv), argument)(x, kernel) for conv in (prepared, xla))
        assert relative_error(found, wanted) < 1e-12

    def curvature(conv):
        gradient = jax.grad(loss(conv))
        return jax.grad(lambda x: jnp.sum(gradient(x, kernel) ** 2))(x)

    assert relative_error(curvature(prepared), curvature(xla)) < 1e-12


@pytest.mark.usefixtures("x64")
def test_vmap_over_images_kernels_and_both():
    rng = np.random.default_rng(11)
    xs, kernels = jnp.asarray(rng.normal(size=(3, 7, 9, 16))), jnp.asarray(rng.normal(size=(3, 3, 3, 16, 16)))

    def conv(x, kernel):
        return conv3x3(x, kernel, prepare_kernel(kernel))

    for axes in ((0, None), (None, 0), (0, 0)):
        found = jax.vmap(conv, axes)(xs if axes[0] == 0 else xs[0], kernels if axes[1] == 0 else kernels[0])
        wanted = [xla(xs[i if axes[0] == 0 else 0], kernels[i if axes[1] == 0 else 0]) for i in range(3)]
        assert relative_error(found, jnp.stack(wanted)) < 1e-12
    nested = jax.vmap(jax.vmap(conv, (0, None)), (None, 0))(xs, kernels)
    assert relative_error(nested[1, 2], xla(xs[2], kernels[1])) < 1e-12


@pytest.mark.slow
def test_float32_error_of_the_network_and_of_the_images_gradient():
    params = js.load_params()
    image, style = (jnp.asarray(read_image(f"sample:{name}", 64)) for name in ("coffee", "mosaic"))
    features = js.make_features()

    def check(params, image, style):
        targets = js.make_objective(features).targets(params, image[::-1], style)
        loss = js.make_objective(features).loss
        gradient = jax.grad(lambda x: loss(x, params, targets, js.LossWeights())[0])(image)
        return features(params, image), gradient

    found = jax.jit(check)(js.prepare(params), image, style)
    with jax.enable_x64(True):
        wanted = jax.jit(check)(*widen((params, image, style)))
    for layer, value in found[0].items():
        assert relative_error(value, wanted[0][layer]) < 1e-5
    assert relative_error(found[1], wanted[1]) < 1e-4


def test_prepare(params):
    prepared = js.prepare(params)
    assert "prepared" not in prepared["conv1_1"]
    assert prepared["conv2_1"]["prepared"].shape == (64, 64, 128)
    assert prepared["conv4_1"]["prepared"].shape == (36, 256, 512)
    again = js.prepare(prepared)
    assert again["conv4_1"]["prepared"] is prepared["conv4_1"]["prepared"]
    assert js.prepare(None) is None
    assert js.prepare({"other": 1}) == {"other": 1}


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_programs_for_other_platforms_use_their_own_convolution(params, content, platform):
    features = js.make_features(("relu2_2",), backend="auto")

    def gradient(image, params):
        return jax.grad(lambda x: features(js.prepare(params), x)["relu2_2"].sum())(image)

    text = jax.jit(gradient).trace(content, params).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == 8  # forward and backward
    assert "dot_general" not in text
    text = jax.jit(gradient).trace(content, params).lower(lowering_platforms=("cpu",)).as_text()
    assert text.count("stablehlo.convolution") == 2
