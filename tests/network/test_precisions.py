import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.network.activations import _pool_by_reduce, _pool_by_slices, max_pool, relu, relu_max_pool
from jaxstyle.network.bfloat16_network import _block
from jaxstyle.network.convolution import conv3x3
from jaxstyle.network.layers import LAYERS
from tests.conftest import relative_error

HALF = r"xbf16>.*xbf16>.*-> tensor<1x\d+x\d+x\d+xbf16>"
FULL = r"xf32>.*xf32>.*-> tensor<1x\d+x\d+x\d+xf32>"


def convolutions(platform, dtype, params, image, layer="relu1_2"):
    """The lines of convolutions in a program that computes the gradient of a layer."""
    features = js.make_features((layer,), dtype=dtype)

    def gradient(image, params):
        return jax.grad(lambda x: features(params, x)[layer].astype(jnp.float32).sum())(image)

    text = jax.jit(gradient).trace(image, params).lower(lowering_platforms=(platform,)).as_text()
    return [line for line in text.splitlines() if "stablehlo.convolution" in line]


def count(lines, form):
    return sum(bool(re.search(form, line)) for line in lines)


def test_programs_of_three_products_for_tpu_and_gpu(params, content):
    found = {platform: convolutions(platform, "bfloat16_3x", params, content) for platform in ("tpu", "cuda")}
    # Forward: high precision on a TPU, three products on a GPU. Backward: one product.
    assert count(found["tpu"], rf"precision HIGH>.*{FULL}") == 2
    assert count(found["cuda"], r"xbf16>.*xbf16>.*-> tensor<1x\d+x\d+x\d+xf32>") == 2 * 3
    for lines in found.values():
        assert count(lines, HALF) == 2
        assert not count(lines, r"HIGHEST.*xbf16>")


def test_programs_of_bfloat16_widen_no_convolution(params, content):
    """All that are asked for are of bfloat16 operands and have a bfloat16 result: a GPU would widen others to TF32."""
    for platform, channels in (("tpu", 128), ("cuda", 64)):
        lines = convolutions(platform, "bfloat16", params, content, "relu2_2")
        assert len(lines) == count(lines, HALF) == 2 * 4
        assert not count(lines, "HIGH")
        assert count(lines, rf"x{channels}xbf16>, tensor<3x3x{channels}x{channels}xbf16>") >= 2  # a TPU's pairs
    alone = convolutions("tpu", "bfloat16", params, content)  # no layer of another block
    assert count(alone, "tensor<3x3x128x128xbf16>") == 2
    odd = convolutions("tpu", "bfloat16", params, content[:, :-1])
    assert count(odd, "tensor<3x3x64x64xbf16>") == 2


def test_tensorfloat32_is_for_gpus(params, content):
    for platform, precision in (("cuda", "HIGH>"), ("tpu", "HIGHEST>"), ("cpu", "HIGHEST>")):
        lines = convolutions(platform, "tensorfloat32", params, content)
        assert len(lines) == count(lines, rf"precision {precision}.*{FULL}") == 2 * 2


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_bfloat16_on_real_images(content, style, padding):
    """Its image gradient is off by what signs of sums near 0 make, and a compiled program rounds as an eager one."""
    params = js.load_params()

    def check(dtype):
        objective = js.make_objective(js.make_features(dtype=dtype, padding=padding), style_loss="gram")
        targets = jax.jit(objective.targets)(params, content, style)
        gradient = jax.jit(jax.value_and_grad(lambda *arguments: objective.loss(*arguments)[0]))
        return gradient(noisy, params, targets, js.LossWeights(1.0, 1.0, 30.0))

    noisy = 0.7 * content + 0.3 * jax.random.uniform(jax.random.key(0), content.shape)
    (value, gradient), (wanted, exact) = check("bfloat16"), check("float32")
    assert float(value) == pytest.approx(float(wanted), rel=0.01)
    assert 0.02 < relative_error(gradient, exact) < 0.15
    features = js.make_features(("relu1_1", "relu3_1", "pool3"), padding=padding, dtype="bfloat16")
    eager, compiled = features(params, noisy), jax.jit(features)(params, noisy)
    jax.tree.map(np.testing.assert_array_equal, eager, compiled)


@pytest.mark.parametrize(("padding", "mode"), [("zero", "constant"), ("replicate", "edge")])
def test_bfloat16_equals_float64_numpy_with_rounding(padding, mode):
    """Kernels, biases, the image and every layer's result are rounded, and nothing else."""
    params = js.load_params()
    x = np.random.default_rng(8).uniform(size=(24, 22, 3)).astype(np.float32)
    layers = ("relu1_1", "pool1", "relu2_1")
    found = js.make_features(layers, dtype="bfloat16", padding=padding)(params, x)
    x = rounded(x - np.asarray(params["mean"]))
    for name, layer in zip(("conv1_1", "conv1_2", "conv2_1"), layers, strict=True):
        framed, (h, w) = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode), x.shape[:2]
        kernel, bias = (rounded(params[name][k]) for k in ("kernel", "bias"))
        taps = [framed[i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3)]
        x = np.maximum(rounded(rounded(np.sum(taps, axis=0)) + bias), 0)
        if layer == "pool1":
            x = x.reshape(h // 2, 2, w // 2, 2, -1).max((1, 3))
        # Sums that float32 and float64 round to different sides differ by a unit, 1/256; in the end they are 1 in 2000.
        assert relative_error(np.asarray(found[layer], float), x) < 2e-4, layer


def rounded(x):
    return np.asarray(jnp.asarray(x, jnp.bfloat16), float)


@pytest.mark.parametrize(("padding", "pooling"), [("zero", "average"), ("replicate", "max")])
def test_pairs_of_pixels_are_another_way_to_compute_the_first_block(content, padding, pooling):
    """What a TPU computes: two pixels as one column. Features and gradients are the same."""
    found = js.load_params("random:0")
    params = {name: (found[name]["kernel"], 0.1 + found[name]["bias"]) for name in ("conv1_1", "conv1_2")}
    names = LAYERS[: LAYERS.index("pool1") + 1]
    image = jnp.asarray(content[:9, :14]) - 0.5

    def block(pairs, x):
        return _block(("relu1_1", "pool1"), pooling, padding, names, pairs, params, x)[0]

    def gradient(pairs):
        return jax.grad(lambda x: sum(jnp.sin(f).sum() for f in block(pairs, x).values()))(image)

    for of_pairs, wanted in zip(block(True, image).values(), block(False, image).values(), strict=True):
        np.testing.assert_allclose(of_pairs, wanted, rtol=1e-5, atol=1e-5)
    assert relative_error(gradient(True), gradient(False)) < 1e-5


@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 5, 4), (2, 2, 2)])
def test_relu_and_max_pool_in_one(shape):
    """By slices and by a reduction, as a TPU does it, of pixels and of pairs of them; equal values are frequent."""
    x = jnp.asarray(np.random.default_rng(0).integers(-3, 4, shape), jnp.bfloat16)
    wanted, wanted_index = _pool_by_slices(x, False)
    np.testing.assert_array_equal(wanted, max_pool(relu(x)))
    weights = jnp.cos(jnp.arange(wanted.size)).reshape(wanted.shape).astype(jnp.bfloat16)
    slope = jax.grad(lambda x: (max_pool(relu(x)) * weights).sum())(x)
    np.testing.assert_array_equal(jax.grad(lambda x: (relu_max_pool(x) * weights).sum())(x), slope)
    jax.tree.map(np.testing.assert_array_equal, _pool_by_reduce(x, False), (wanted, wanted_index))
    if shape[1] % 2:
        return
    pairs = x.reshape(shape[0], shape[1] // 2, -1)
    for pool in (_pool_by_reduce, _pool_by_slices):
        jax.tree.map(np.testing.assert_array_equal, pool(pairs, True), (wanted, wanted_index))
    of_pairs = jax.grad(lambda x: (relu_max_pool(x, True) * weights).sum())(pairs)
    np.testing.assert_array_equal(of_pairs.reshape(shape), slope)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (1, 2), (1, 1)])
def test_the_transpose_of_replicate_padding(shape, pairs):
    """<conv(x), g> = <x, conv'(g)>, also where a pixel touches two or four sides."""
    rng = np.random.default_rng(3)
    x, g, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((*shape, 4), (*shape, 6), (3, 3, 4, 6)))
    if pairs:  # the outer pixels of pairs in the frame are not seen
        kernel = kernel.at[:, 0, :2].set(0).at[:, 2, 2:].set(0)
    y, transpose = jax.vjp(lambda x: conv3x3(x, kernel, padding="replicate", pairs=pairs), x)
    assert float(jnp.vdot(y, g)) == pytest.approx(float(jnp.vdot(x, transpose(g)[0])), rel=1e-4)
