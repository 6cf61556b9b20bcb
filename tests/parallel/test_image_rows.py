import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.parallel.image_rows import shard_rows, split_rows
from tests.processes import ROOT, environment


@pytest.fixture
def mesh():
    return jax.make_mesh((1,), ("rows",))


def test_one_device_is_the_transfer_itself(content, mesh):
    def loss(image, params, targets, weights):
        total = jnp.square(image - targets).mean() * weights.beta
        return total, js.Losses(total, total, total, total)

    transfer = js.make_transfer(loss, optax.adam(0.02))
    of_rows = shard_rows(transfer, mesh)
    rest = {}, content[::-1], js.LossWeights()
    found = js.run(of_rows, of_rows.init(content), *rest, num_steps=3)
    wanted = js.run(transfer, transfer.init(content), *rest, num_steps=3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (jnp.zeros((2, 8, 8, 3)), r"image must have shape \(h, w, 3\), got \(2, 8, 8, 3\)"),
        (np.zeros((8, 8, 3), np.uint8), "image must be floating-point"),
    ],
)
def test_what_is_no_image(mesh, image, message):
    with pytest.raises(ValueError, match=message):
        split_rows(image, mesh)


def test_a_mesh_without_rows():
    with pytest.raises(ValueError, match="the mesh must have an axis 'rows', got 'lanes'"):
        split_rows(jnp.zeros((8, 8, 3)), jax.make_mesh((1,), ("lanes",)))


@pytest.mark.slow
def test_eight_simulated_devices():
    """See rows_of_image.py for what is checked: a process of its own, since devices are made when jax starts."""
    variables = environment(devices=8, JAX_ENABLE_X64="1")
    command = [sys.executable, "-W", "error", "-m", "tests.rows_of_image"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
