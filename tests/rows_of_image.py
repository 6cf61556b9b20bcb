"""One image over eight simulated devices against the same on one; run by test_image_rows.py in a process of its own."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import jaxstyle as js
from jaxstyle.optimise.lbfgs import lbfgs
from jaxstyle.parallel.image_rows import shard_rows, split_rows
from tests.conftest import widen

GATHER = re.compile(r" (?:all-gather|all-to-all)[\w-]*\(")
SWAP = re.compile(r" collective-permute[\w-]*\(")
NAMES = ("relu1_1", "relu2_1", "relu3_1")

random = np.random.default_rng(0)
mesh = jax.make_mesh((8,), ("rows",))
params = js.load_params("random:0")
weights = js.LossWeights(beta=10.0, tv=0.1)


def images(height, width, dtype=jnp.float32):
    return (jnp.asarray(random.random((height, width, 3)), dtype) for _ in range(3))


def relative(found, wanted):
    return np.linalg.norm(np.asarray(found) - np.asarray(wanted)) / np.linalg.norm(np.asarray(wanted))


def in_strips(x):
    return x.sharding.spec == PartitionSpec("rows") and len(x.sharding.device_set) == 8


def check_features_losses_and_gradient(height, names=NAMES, *, pooling="max", padding="zero"):
    """To 1e-5 in float32, the image's height a multiple of the devices, that of deeper layers not always."""
    content, style, image = images(height, 48)
    features = js.make_features(names, pooling=pooling, padding=padding, backend="xla")
    objective = js.make_objective(features, content_layers=names[-1:], style_layers=names)
    make_targets = jax.jit(objective.targets)
    gradient = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    split = partial(split_rows, mesh=mesh)
    assert [s.data.shape[0] for s in split(image).addressable_shards] == [height // 8] * 8

    wanted = jax.jit(features)(params, image)
    found = jax.jit(features)(params, split(image))
    for name in names:
        assert relative(found[name], wanted[name]) < 1e-5, (height, name)
    assert in_strips(found["relu1_1"])

    targets = make_targets(params, content, style)
    of_strips = make_targets(params, split(content), style)
    for of_strip, of_one in zip(jax.tree.leaves(of_strips), jax.tree.leaves(targets), strict=True):
        assert relative(of_strip, of_one) < 1e-5, of_one.shape
    (_, losses), wanted = gradient(image, params, targets, weights)
    (_, of_strips), found = gradient(split(image), params, of_strips, weights)
    for name in losses._fields:
        np.testing.assert_allclose(getattr(of_strips, name), getattr(losses, name), rtol=1e-5)
    assert in_strips(found)
    assert relative(found, wanted) < 1e-5, height


def check_that_only_borders_are_exchanged():
    """No device holds more than its strip of any features, and a few rows of its neighbours'."""
    features = js.make_features(NAMES, backend="xla")
    objective = js.make_objective(features, content_layers=NAMES[2:], style_layers=NAMES)
    gradient = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))

    def compile_for(sharding):
        image = jax.ShapeDtypeStruct((1024, 48, 3), jnp.float32, sharding=sharding)
        targets = jax.eval_shape(objective.targets, params, image, image)
        return gradient.lower(image, params, targets, weights).compile()

    alone, shared = compile_for(None), compile_for(split_rows(jnp.zeros((8, 1, 3)), mesh).sharding)
    text = shared.as_text()
    assert SWAP.search(text)
    assert not GATHER.search(text)
    # The rest is the kernels, which each device has.
    share = shared.memory_analysis().temp_size_in_bytes / alone.memory_analysis().temp_size_in_bytes
    assert share < 1 / 5, share


def check_a_short_run_in_float64():
    """With the optimiser that has sums over the whole image; what Adam does is done to each pixel."""
    content, style, start = images(64, 24, jnp.float64)
    features = js.make_features(NAMES[:2], backend="xla")
    objective = js.make_objective(features, content_layers=NAMES[1:2], style_layers=NAMES[:2])
    of_all = widen(params)
    make_targets = jax.jit(objective.targets)
    transfer = js.make_transfer(objective.loss, lbfgs())
    of_rows = shard_rows(transfer, mesh)
    state = of_rows.init(start)
    assert state.image.sharding.spec == PartitionSpec("rows")
    wide = [x for x in jax.tree.leaves(state) if x.size >= start.size]
    assert len(wide) > 2
    assert all(x.addressable_shards[0].data.size == x.size // 8 for x in wide)

    def run(transfer, state, content):
        targets = make_targets(of_all, content, style)
        return jax.jit(partial(js.run, transfer, num_steps=4))(state, of_all, targets, weights)

    found, losses = run(of_rows, state, split_rows(content, mesh))
    wanted, of_one = run(transfer, transfer.init(start), content)
    assert in_strips(found.image)
    np.testing.assert_allclose(losses.total, of_one.total, rtol=1e-9)
    np.testing.assert_allclose(found.image, wanted.image, atol=1e-7)


def check_what_does_not_divide():
    with pytest.raises(ValueError, match="60 rows do not divide by 8 devices: take a height of 56 or 64"):
        split_rows(jnp.zeros((60, 48, 3)), mesh)
    with pytest.raises(ValueError, match="5 rows do not divide by 8 devices: take a height of 8"):
        split_rows(jnp.zeros((5, 48, 3)), mesh)


if __name__ == "__main__":
    assert jax.device_count() == 8
    check_features_losses_and_gradient(80)
    check_features_losses_and_gradient(64, NAMES[:2], pooling="average", padding="replicate")
    check_that_only_borders_are_exchanged()
    check_a_short_run_in_float64()
    check_what_does_not_divide()
