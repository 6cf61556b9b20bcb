"""Sweeps on eight simulated devices against the same without a mesh; run by test_lanes.py in a process of its own."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

import jaxstyle as js
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.parallel.lanes import make_lanes
from tests.conftest import widen

COLLECTIVE = re.compile(
    r" (?:all-gather|all-reduce|all-to-all|collective-\w+|reduce-scatter|ragged-all-to-all)[\w-]*\("
)
LAYERS = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}

random = np.random.default_rng(0)
content, other, style = (jnp.asarray(random.random((14, 12, 3))) for _ in range(3))
params = js.load_params("random:0")
features = js.make_features(("relu1_1",))
loss = js.make_objective(features, **LAYERS).loss
mesh = jax.make_mesh((4, 2), ("rows", "columns"))
adam = js.make_transfer(loss, optax.adam(0.02))
lbfgs = js.make_transfer(loss, optax.lbfgs(), bounds=None)


def make_targets(image):
    return js.make_objective(features, **LAYERS).targets(wide_params, image, style)


def close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), found, wanted)


def check_sixteen_lanes():
    grid = js.weight_grid(beta=jnp.logspace(-3, 2, 16))
    arguments = (content, wide_params, targets, grid)
    sharded = jax.jit(partial(js.sweep, adam, num_steps=3, mesh=mesh)).lower(*arguments).compile()
    assert not COLLECTIVE.findall(sharded.as_text())
    found = sharded(*arguments)
    assert {shard.data.shape for shard in found.images.addressable_shards} == {(2, *content.shape)}
    assert len(found.images.sharding.device_set) == 8
    close(found, jax.jit(partial(js.sweep, adam, num_steps=3))(*arguments))
    assert len(np.unique(np.asarray(found.images), axis=0)) == 16


def check_same_bits_on_two_devices_as_on_eight():
    """In float32, two lanes a device."""
    image, of_targets = jax.tree.map(lambda x: x.astype(jnp.float32), (content, targets))
    grid = jax.tree.map(lambda x: x.astype(jnp.float32), js.weight_grid(beta=jnp.logspace(-3, 2, 16)))
    pair = Mesh(np.array(jax.devices()[:2]), ("lanes",))
    on_eight, on_two = (jax.jit(partial(js.sweep, adam, num_steps=3, mesh=m)) for m in (mesh, pair))
    found = on_eight(image, params, of_targets, grid)
    for start in (0, 12):
        four = slice(start, start + 4)
        wanted = on_two(image, params, of_targets, jax.tree.map(lambda x: x[four], grid))  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[four], b), found, wanted)  # noqa: B023


def check_groups_in_chunks_of_steps(transfer):
    """As the command runs them, the state donated; the second group of each device's three lanes overlaps the first."""
    grid = js.weight_grid(beta=jnp.logspace(-3, 2, 24))
    lanes, alone = make_lanes(transfer, grid, microbatch=2, mesh=mesh), make_lanes(transfer, grid)
    init, alone_init = jax.jit(lanes.init), jax.jit(alone.init)
    starts = jnp.stack([content] * 24)
    chunk = jax.jit(partial(run_chunk, lanes, capacity=4), donate_argnums=0)
    compiled = chunk.lower(init(starts), wide_params, targets, grid, 3).compile()
    assert not COLLECTIVE.findall(compiled.as_text())
    state, losses = compiled(init(starts), wide_params, targets, grid, 3)
    assert losses.total.shape == (4, 24)
    wanted = jax.jit(partial(js.run, alone, num_steps=3))(alone_init(starts), wide_params, targets, grid)
    close((state, jax.tree.map(lambda x: x[:3], losses)), wanted)


def check_five_lanes():
    """Without jit, starting from images of their own, with weights that they share."""
    grid = js.weight_grid(beta=jnp.logspace(-2, 1, 5))._replace(alpha=2.0, style_layers=jnp.array([0.7]))
    starts = jnp.stack([content * s for s in (1, 0.9, 0.8, 0.7, 0.6)])
    found, wanted = (js.sweep(adam, starts, wide_params, targets, grid, num_steps=2, mesh=m) for m in (mesh, None))
    assert found.images.shape == (5, *content.shape)
    assert found.losses.total.shape == (5, 2)
    close(found, wanted)


def check_going_on_with_rates_and_chunks():
    """Five lanes on eight devices, each with its own learning rate: in one go, in chunks, and from a state."""
    transfer = js.make_transfer(loss, optax.inject_hyperparams(optax.adam)(learning_rate=0.1))
    grid, rates = js.weight_grid(beta=jnp.logspace(-2, 1, 5)), {"learning_rate": jnp.linspace(0.01, 0.05, 5)}
    run = partial(js.sweep, transfer, params=wide_params, targets=targets, weights=grid)
    wanted = run(start=content, num_steps=4, hyperparams=rates)
    seen = []
    chunked = run(
        start=content, num_steps=4, hyperparams=rates, mesh=mesh, chunk_steps=3, on_chunk=lambda *x: seen.append(x[0])
    )
    first = run(start=content, num_steps=1, hyperparams=rates, mesh=mesh)
    on = run(start=first.state, num_steps=3, mesh=mesh)
    assert seen == [3, 4]
    for found in (chunked.images, on.images):
        close(found, wanted.images)
    close(chunked.losses, wanted.losses)


def check_lanes_of_different_images():
    own = js.stack_targets([targets, make_targets(other)], content=[0, 1, 1], style=[1, 0, 1])
    grid = js.weight_grid(beta=[0.1, 1, 10])
    found, wanted = (js.sweep(adam, content, wide_params, own, grid, num_steps=2, mesh=m) for m in (mesh, None))
    close(found, wanted)


def check_plans():
    """Devices share the memory; nine lanes fill eight devices up to sixteen."""
    grid = js.weight_grid(beta=jnp.logspace(-2, 1, 16))
    nine = jax.tree.map(lambda leaf: leaf[:9], grid)
    alone = js.plan(adam, content, params, targets, grid, num_steps=2)
    shared, filled = (js.plan(adam, content, params, targets, w, num_steps=2, mesh=mesh) for w in (grid, nine))
    assert shared.collectives == 0
    assert shared.peak < alone.peak / 4
    assert shared.peak < filled.peak < alone.peak / 4  # the same lanes on each device, exchanged at the end
    assert filled.collectives > 0


if __name__ == "__main__":
    assert jax.device_count() == 8
    wide_params = widen(params)
    targets = make_targets(content)
    check_sixteen_lanes()
    check_same_bits_on_two_devices_as_on_eight()
    check_groups_in_chunks_of_steps(adam)
    check_groups_in_chunks_of_steps(lbfgs)
    check_five_lanes()
    check_going_on_with_rates_and_chunks()
    check_lanes_of_different_images()
    check_plans()
