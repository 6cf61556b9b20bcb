import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.network.convolution import conv3x3
from tests.conftest import relative_error
from tests.reference import numpy_vgg


@pytest.fixture
def operands():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 10, 5)), rng.normal(size=(3, 3, 5, 4))


def xla(x, kernel):
    return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]


def test_equals_numpy(operands):
    x, kernel = operands
    found = conv3x3(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    assert relative_error(found, numpy_vgg.conv(x, kernel, 0)) < 1e-6


@pytest.mark.usefixtures("x64")
def test_gradients_are_those_of_xlas_convolution(operands):
    x, kernel = map(jnp.asarray, operands)

    def loss(conv):
        return lambda x, kernel: jnp.sum(jnp.sin(conv(x, kernel)))

    for argument in (0, 1):
        found = jax.grad(loss(conv3x3), argument)(x, kernel)
        wanted = jax.grad(loss(xla), argument)(x, kernel)
        assert relative_error(found, wanted) < 1e-13


@pytest.mark.usefixtures("x64")
def test_gradient_of_gradient(operands):
    x, kernel = map(jnp.asarray, operands)

    def curvature(conv):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(conv(x, kernel))))
        return jax.grad(lambda x: jnp.sum(gradient(x) ** 2))(x)

    assert relative_error(curvature(conv3x3), curvature(xla)) < 1e-13


def test_vmap_equals_loop(operands):
    x, kernel = (jnp.asarray(a, jnp.float32) for a in operands)
    xs = jnp.stack([x, 2 * x, x[::-1]])
    found = jax.vmap(conv3x3, (0, None))(xs, kernel)
    assert relative_error(found, jnp.stack([conv3x3(x, kernel) for x in xs])) < 1e-6


def test_forward_mode_is_a_clear_error(operands):
    x, kernel = map(jnp.asarray, operands)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda x: conv3x3(x, kernel), (x,), (x,))
