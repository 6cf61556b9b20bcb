"""Sweeps that go on from a state, take hyperparameters and chunks, and lanes over several images."""

import weakref
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.parallel.microbatch_size import default_microbatch, device_microbatch
from tests.conftest import count_traces

LAYERS = {"content_layers": "relu1_1", "style_layers": "relu1_1"}
ADAM = optax.inject_hyperparams(optax.adam)(learning_rate=0.1)
GRID = js.weight_grid(beta=[0.1, 1.0, 10.0])


@pytest.fixture(scope="module")
def tiny(params, content, style):
    """An objective that compiles in no time, an image to start from, and what a sweep takes before the weights."""
    objective = js.make_objective(js.make_features(("relu1_1",)), **LAYERS)
    start = content[:8, :9]
    return objective, start, (params, objective.targets(params, start, style[:8, :8]))


@pytest.fixture(scope="module")
def transfer(tiny):
    return js.make_transfer(tiny[0].loss, ADAM)


def close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, wanted)


def test_rates_of_lanes_are_those_of_solo_runs(tiny, transfer):
    objective, start, operands = tiny
    rates = [0.02, 0.1, 0.3]
    found = js.sweep(transfer, start, *operands, GRID, num_steps=3, hyperparams={"learning_rate": rates})
    for i, rate in enumerate(rates):
        alone = js.make_transfer(objective.loss, optax.adam(rate))
        weights = jax.tree.map(lambda x, i=i: x[i], GRID)
        state, losses = js.run(alone, alone.init(start), *operands, weights, num_steps=3)
        close((found.images[i], found.losses.total[i]), (state.image, losses.total))
    same = js.sweep(transfer, start, *operands, GRID, num_steps=3, hyperparams={"learning_rate": 0.1})
    close(same.images, js.sweep(transfer, start, *operands, GRID, num_steps=3).images)


def test_new_rates_do_not_recompile(tiny):
    objective, start, operands = tiny
    counted, traces = count_traces(objective.loss)
    counting = js.make_transfer(counted, ADAM)
    for rate in (0.1, 0.2):
        js.sweep(counting, start, *operands, GRID, num_steps=2, hyperparams={"learning_rate": [rate] * 3})
    assert len(traces) == 2  # for the step, and for the final losses
    js.sweep(counting, start, *operands, GRID, num_steps=2, hyperparams={"learning_rate": jnp.float32(0.3)})
    js.sweep(counting, start, *operands, GRID, num_steps=2, hyperparams={"learning_rate": 1})
    assert len(traces) == 4  # one value is another shape than one a lane


def test_numbers_of_any_type_are_one_program(tiny):
    objective, start, operands = tiny
    counted, traces = count_traces(objective.loss)
    counting = js.make_transfer(counted, optax.adam(0.1))
    for alpha in (1.0, 2, np.float64(0.5), np.int64(1), jnp.float32(1), jnp.int32(3)):
        for beta in ([1, 2], [0.5, 1.0], np.array([1, 2]), jnp.array([1, 2])):
            js.sweep(counting, start, *operands, js.LossWeights(alpha, beta), num_steps=1)
    assert len(traces) == 2


@pytest.mark.parametrize("kind", [jax.jit, partial])
def test_steps_that_are_no_plain_functions_are_compiled_once(tiny, kind):
    objective, start, operands = tiny
    counted, traces = count_traces(objective.loss)
    transfer = js.make_transfer(counted, optax.adam(0.1))
    transfer = transfer._replace(step=kind(transfer.step))
    counts = []
    for _ in range(3):
        js.sweep(transfer, start, *operands, GRID, num_steps=2)
        js.sweep(transfer, start, *operands, GRID, num_steps=6, on_chunk=lambda *_: None, chunk_steps=2)
        counts.append(len(traces))
    assert counts == [3 if kind is jax.jit else 4] * 3  # step and final losses, of images and of a state


def test_chunks_of_a_method_are_compiled_once(tiny):
    """Whose programs are kept for one sweep alone."""
    objective, start, operands = tiny
    counted, traces = count_traces(objective.loss)
    transfer = js.make_transfer(counted, optax.adam(0.1))

    class Own:
        def step(self, *arguments):
            return transfer.step(*arguments)

    js.sweep(transfer._replace(step=Own().step), start, *operands, GRID, num_steps=6, on_chunk=print, chunk_steps=2)
    assert len(traces) == 2


def test_a_list_of_traced_numbers_is_a_leaf_with_lanes(tiny):
    objective, start, operands = tiny
    transfer = js.make_transfer(objective.loss, optax.sgd(0.1))

    def loss_of(x, make):
        weights = js.LossWeights(beta=make([x, 2 * x]))
        return js.sweep(transfer, start, *operands, weights, num_steps=1).final.style.sum()

    found, wanted = (jax.grad(partial(loss_of, make=make))(1.0) for make in (list, jnp.array))
    assert found == wanted != 0


def test_a_rate_with_a_schedule_is_not_set(tiny):
    objective, start, operands = tiny
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=optax.constant_schedule(0.01))
    transfer = js.make_transfer(objective.loss, adam)
    with pytest.raises(ValueError, match="the optimiser computes learning_rate by a schedule at every step: .* number"):
        js.sweep(transfer, start, *operands, GRID, num_steps=1, hyperparams={"learning_rate": 0.1})
    js.sweep(transfer, start, *operands, GRID, num_steps=1, hyperparams={"b1": 0.5})


def test_a_sweep_goes_on_from_the_state_of_another(tiny, transfer):
    _, start, operands = tiny
    whole = js.sweep(transfer, start, *operands, GRID, num_steps=5)
    first = js.sweep(transfer, start, *operands, GRID, num_steps=2)
    second = js.sweep(transfer, first.state, *operands, GRID, num_steps=3)
    close(second.images, whole.images)
    joined = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), first.losses, second.losses)
    close(joined, whole.losses)


def test_chunks_are_the_whole_and_told_one_by_one(tiny, transfer):
    _, start, operands = tiny
    told = []
    options = {"num_steps": 5, "hyperparams": {"learning_rate": [0.02, 0.1, 0.3]}}
    found = js.sweep(transfer, start, *operands, GRID, **options, chunk_steps=2, on_chunk=lambda *x: told.append(x))
    assert [done for done, _ in told] == [2, 4, 5]
    assert [result.losses.total.shape for _, result in told] == [(3, 2), (3, 2), (3, 1)]
    close(found, js.sweep(transfer, start, *operands, GRID, **options))
    np.testing.assert_array_equal(told[-1][1].images, found.images)
    nothing = js.sweep(transfer, start, *operands, GRID, num_steps=0, on_chunk=lambda *x: told.append(x))
    assert nothing.losses.total.shape == (3, 0)


def test_chunks_that_were_told_are_let_go(tiny, transfer):
    _, start, operands = tiny
    told, alive = [], []

    def note(done, result):
        told.append(weakref.ref(result.images))
        alive.append(sum(ref() is not None for ref in told))

    js.sweep(transfer, start, *operands, GRID, num_steps=5, chunk_steps=1, on_chunk=note)
    assert len(told) == 5
    assert max(alive) <= 2


def test_what_a_hook_raises_ends_the_sweep(tiny, transfer):
    _, start, operands = tiny
    with pytest.raises(ZeroDivisionError):
        js.sweep(transfer, start, *operands, GRID, num_steps=4, chunk_steps=2, on_chunk=lambda *_: 1 / 0)


def test_lanes_over_photos_and_styles_are_solo_runs(tiny, transfer, params, style):
    objective, start, _ = tiny
    photos, styles = [start, 1 - start], [style[:8, :8], style[8:20, :9]]
    targets = [objective.targets(params, *pair) for pair in zip(photos, styles, strict=True)]
    stacked = js.stack_targets(targets, content=[0, 0, 1], style=[0, 1, 1])
    assert stacked.content["relu1_1"].shape[0] == 2
    images = jnp.stack([photos[0], photos[0], photos[1]])
    found = js.sweep(transfer, images, params, stacked, GRID, num_steps=2)
    for i, (photo, style_number) in enumerate(((0, 0), (0, 1), (1, 1))):
        own = objective.targets(params, photos[photo], styles[style_number])
        weights = jax.tree.map(lambda x, i=i: x[i], GRID)
        close(
            found.images[i], js.run(transfer, transfer.init(photos[photo]), params, own, weights, num_steps=2)[0].image
        )
    only = js.stack_targets(targets, content=[1, 1], style=[1, 1])
    assert only.content["relu1_1"].shape[0] == only.style["relu1_1"].shape[0] == 1
    assert js.stack_targets(targets).content_index.tolist() == [0, 1]


def test_masks_are_stacked_with_their_content(tiny, params, style):
    objective, start, _ = tiny
    masks = (jnp.ones((1, *start.shape[:2])), jnp.ones((1, 8, 8)))
    targets = [objective.targets(params, image, style[:8, :8], masks=masks) for image in (start, 1 - start)]
    assert js.stack_targets(targets, content=[1, 0], style=[0, 0]).masks["relu1_1"].shape == (2, 1, 8, 9)


def test_auto_takes_what_suits_the_device(tiny, transfer):
    _, start, operands = tiny
    close(
        js.sweep(transfer, start, *operands, GRID, num_steps=2, microbatch="auto").images,
        js.sweep(transfer, start, *operands, GRID, num_steps=2).images,
    )

    class Device:
        platform = "gpu"

        def __init__(self, stats):
            self.memory_stats = lambda: stats

    assert device_microbatch(512**2, jax.devices()[0]) == default_microbatch(512**2, None) == 1
    assert device_microbatch(512**2, Device({"bytes_limit": 80 * 10**9})) == 32
    assert device_microbatch(512**2, Device(None)) == default_microbatch(512**2, 0) == 5


def test_every_leaf_of_weights_may_be_a_list():
    grid = js.weight_grid(beta=[1.0, 2.0], style_layers=[[1.0, 0.0], [0.5, 0.5]], content_layers=[3.0])
    assert grid.alpha.shape == (4,)
    assert grid.beta.tolist() == [1, 1, 2, 2]
    assert grid.style_layers.tolist() == [[1, 0], [0.5, 0.5]] * 2
    assert grid.content_layers.tolist() == [[3]] * 4
    assert grid.style_mix is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"hyperparams": {"b7": 1.0}},
            "the optimiser has no hyperparameter b7 to set, it keeps b1, b2, .*inject_hyper",
        ),
        (
            {"hyperparams": {"learning_rate": [0.1, 0.2]}},
            r"hyperparams\['learning_rate'\] must be one value or of shape",
        ),
        ({"chunk_steps": 0, "on_chunk": print}, "chunk_steps must be a whole number, 1 or more, got 0"),
    ],
)
def test_slips(tiny, transfer, options, message):
    _, start, operands = tiny
    with pytest.raises(ValueError, match=message) as error:
        js.sweep(transfer, start, *operands, GRID, num_steps=1, **options)
    assert "\n" not in str(error.value).split("\n---")[0]


def test_an_optimiser_without_hyperparameters_says_so(tiny):
    objective, start, operands = tiny
    plain = js.make_transfer(objective.loss, optax.adam(0.1))
    with pytest.raises(ValueError, match="no hyperparameter learning_rate to set, it keeps none: make it with optax"):
        js.sweep(plain, start, *operands, GRID, num_steps=1, hyperparams={"learning_rate": 0.1})


def test_a_state_of_other_lanes_is_refused(tiny, transfer):
    _, start, operands = tiny
    state = js.sweep(transfer, start, *operands, GRID, num_steps=0).state
    with pytest.raises(ValueError, match=r"the state's image must have shape .*\(2, h, w, 3\), got \(3, 8, 9, 3\)"):
        js.sweep(transfer, state, *operands, js.weight_grid(beta=[1.0, 2.0]), num_steps=1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda one, _: js.stack_targets([]), "targets must hold those of at least one pair"),
        (lambda one, _: js.stack_targets([one, None]), "targets must be Targets, got NoneType"),
        (lambda one, _: js.stack_targets([one], content=[0, 0]), "must name as many lanes, got 2 and 1"),
        (
            lambda one, _: js.stack_targets([one], content=[1], style=[0]),
            "content must be places from 0 to 0 in targets",
        ),
        (
            lambda one, _: js.stack_targets([one, one], content=[0.9, 1.9]),
            r"content must be places from 0 to 1 in targets, one a lane, got \[0\.9, 1\.9\]",
        ),
        (lambda one, _: js.stack_targets([one, one], style=[True, False]), "style must be places from 0 to 1"),
        (lambda one, _: js.stack_targets([one, one], style=[]), "style must be places from 0 to 1"),
        (lambda one, other: js.stack_targets([one, other]), "the content images of targets must have one shape"),
        (lambda one, other: js.stack_targets([one, one._replace(masks={})]), "either all targets must have masks"),
    ],
)
def test_targets_that_cannot_be_stacked(tiny, params, style, build, message):
    objective, start, (_, one) = tiny
    other = objective.targets(params, start[:7], style[:8, :8])
    with pytest.raises(ValueError, match=message):
        build(one, other)
