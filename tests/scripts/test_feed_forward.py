"""What the feed-forward examples are made of: their data, their loss, and that a step of training lowers it."""

from itertools import islice, pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"


@pytest.fixture(scope="module")
def examples():
    """The three modules: what is shared, Linen's and NNX's."""
    jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import feed_forward
        import feed_forward_linen
        import feed_forward_nnx

        yield feed_forward, feed_forward_linen, feed_forward_nnx
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def problem(examples, params):
    """Frozen parts and a batch."""
    shared, _, _ = examples
    style, cat = read_image("sample:mosaic", 24), read_image("sample:cat", 32)
    own = {k: v for k, v in params.items() if k == "mean" or k <= "conv3_1"}
    frozen = shared.Frozen(own, js.make_objective(shared.FEATURES, **shared.LAYERS).targets(own, style, style))
    return frozen, jnp.stack([cat[:16, :16], cat[4:20, 3:19]]), style


@pytest.mark.slow
def test_the_loss_is_that_of_a_transfer(examples, problem):
    shared, _, _ = examples
    frozen, contents, style = problem
    pictures = jnp.flip(contents, 2) * 0.9
    wanted = [
        shared.OBJECTIVE.loss(
            picture, frozen.params, shared.OBJECTIVE.targets(frozen.params, content, style), shared.WEIGHTS
        )[0]
        for picture, content in zip(pictures, contents, strict=True)
    ]
    assert float(shared.mean_loss(frozen, pictures, contents)) == pytest.approx(float(np.mean(wanted)), rel=1e-5)


def test_crops_are_parts_of_pictures(examples, monkeypatch):
    shared, _, _ = examples
    monkeypatch.setattr(shared, "CROP", 2)
    monkeypatch.setattr(shared, "BATCH", 3)
    numbers = np.arange(30 * 3, dtype=np.float32).reshape(5, 6, 3)  # every pixel is another
    other = 1000 + numbers[:2, :4]
    places, mirrored = set(), set()
    for batch in islice(shared.random_crops([numbers, other], seed=1), 100):
        assert batch.shape == (3, 2, 2, 3)
        for crop in batch:
            turned = bool(crop[0, 0, 0] > crop[0, 1, 0])
            first = (crop[:, ::-1] if turned else crop)[0, 0, 0]
            picture = other if first >= 1000 else numbers
            top, left = (int(i) for i in np.argwhere(picture[..., 0] == first)[0])
            part = picture[top : top + 2, left : left + 2]
            np.testing.assert_array_equal(crop, part[:, ::-1] if turned else part)
            places.add((first >= 1000, top, left))
            mirrored.add(turned)
    assert len(places) == 4 * 5 + 1 * 3  # every place of both
    assert mirrored == {False, True}


def test_both_networks_are_the_same(examples):
    _, of_linen, of_nnx = examples
    shapes = jax.eval_shape(of_linen.Network().init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    theirs = nnx.state(nnx.eval_shape(lambda: of_nnx.Network(rngs=nnx.Rngs(0))), nnx.Param)
    first, second = (sorted(x.shape for x in jax.tree.leaves(tree)) for tree in (shapes, theirs))
    assert first == second


@pytest.mark.parametrize("shape", [(1, 17, 22, 3), (2, 16, 15, 3)])
def test_a_picture_has_the_size_of_its_content(examples, shape):
    _, of_linen, of_nnx = examples
    images = jnp.zeros(shape)
    network = of_linen.Network(width=2, residuals=1)
    assert jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0], images).shape == shape
    assert nnx.eval_shape(lambda x: of_nnx.Network(2, 1, rngs=nnx.Rngs(0))(x), images).shape == shape


def falls(losses):
    return all(after < before for before, after in pairwise(losses))


@pytest.mark.slow
def test_a_step_of_linen_lowers_the_loss(examples, problem):
    shared, of_linen, _ = examples
    frozen, contents, _ = problem
    network = of_linen.Network(width=4, residuals=1)
    variables = network.init(jax.random.key(1), contents)
    state = TrainState.create(apply_fn=network.apply, params=variables, tx=optax.adam(1e-4))
    losses = []
    for _ in range(4):
        state, loss = of_linen.train_step(state, frozen, contents)
        losses.append(float(loss))
    assert falls(losses)
    assert losses[0] == pytest.approx(
        float(shared.mean_loss(frozen, network.apply(variables, contents), contents)), 1e-4
    )


@pytest.mark.slow
def test_a_step_of_nnx_lowers_the_loss(examples, problem):
    _, _, of_nnx = examples
    frozen, contents, _ = problem
    network = of_nnx.Network(4, 1, rngs=nnx.Rngs(1))
    optimizer = nnx.Optimizer(network, optax.adam(1e-4), wrt=nnx.Param)
    assert falls([float(of_nnx.train_step(network, optimizer, frozen, contents)) for _ in range(4)])
