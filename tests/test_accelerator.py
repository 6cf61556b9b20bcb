"""What only a GPU or TPU can show; on a CPU these tests are left out."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxstyle as js
from tests.conftest import relative_error

pytestmark = [
    pytest.mark.accelerator,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="needs a GPU or TPU"),
]


def value_and_gradient(dtype, image, content, style):
    objective = js.make_objective(js.make_features(dtype=dtype), style_loss="gram")
    params = js.load_params()
    targets = objective.targets(params, content, style)
    return jax.jit(jax.value_and_grad(lambda x: objective.loss(x, params, targets, js.LossWeights(beta=10.0))[0]))(
        image
    )


@pytest.mark.parametrize(
    ("dtype", "bound"), [("float32", 1e-4), ("tensorfloat32", 0.05), ("bfloat16", 0.15), ("bfloat16_3x", 0.02)]
)
def test_gradients_are_as_far_from_the_cpus_as_their_precision(content, style, dtype, bound):
    noisy = 0.7 * content + 0.3 * jax.random.uniform(jax.random.key(0), content.shape)
    images = [noisy, content, style]
    with jax.default_device(jax.devices("cpu")[0]):
        wanted, exact = value_and_gradient("float32", *(jax.device_put(x, jax.devices("cpu")[0]) for x in images))
    value, gradient = value_and_gradient(dtype, *images)
    assert float(value) == pytest.approx(float(wanted), rel=max(bound / 10, 1e-4))
    assert relative_error(gradient, exact) < bound


@pytest.mark.parametrize("microbatch", [None, 2])
def test_lanes_go_down_together_as_alone(content, style, microbatch):
    objective = js.make_objective(js.make_features(dtype="bfloat16"), style_loss="gram")
    params = js.load_params()
    targets = objective.targets(params, content, style)
    transfer = js.make_transfer(objective.loss, optax.adam(0.02))
    betas = [1.0, 10.0, 100.0, 1000.0]
    found = js.sweep(
        transfer, content, params, targets, js.weight_grid(beta=betas), num_steps=10, microbatch=microbatch
    )
    assert (found.losses.total[:, -1] < found.losses.total[:, 0]).all()
    alone = js.sweep(transfer, content, params, targets, js.weight_grid(beta=betas[2:3]), num_steps=10)
    assert relative_error(found.losses.total[2], alone.losses.total[0]) < 0.02
    assert jnp.isfinite(found.images).all()
