"""Wrong calls of public functions: each error is one line that names the argument and the cause."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle import colour
from jaxstyle.hypergradient.implicit_gradient import implicit_gradient
from jaxstyle.objective import losses
from jaxstyle.objective.statistics.statistic import StyleStatistic
from jaxstyle.objective.statistics.style_statistics import style_statistic
from jaxstyle.objective.weight_defaults import STYLE_LOSSES
from jaxstyle.optimise.initial_images import starting_image
from jaxstyle.optimise.lbfgs import lbfgs
from tests.conftest import SHALLOW


def traced(f, *args):
    return jax.eval_shape(f, *args)


def test_features_with_a_batch_axis_are_refused(problem):
    features, *_, content, params, targets = problem

    def batched(params, image):
        return {layer: f[None] for layer, f in features(params, image).items()}

    message = r"features of relu{} must have shape \(h, w, c\), got \(1, .*; use jax.vmap for a batch"
    with pytest.raises(ValueError, match=message.format("2_2")):
        traced(lambda x: js.make_objective(batched, **SHALLOW).targets(params, x, x), content)
    with pytest.raises(ValueError, match=message.format("2_2")):
        traced(js.make_objective(batched, **SHALLOW).loss, content, params, targets, js.LossWeights())
    with pytest.raises(ValueError, match=r"features of relu1_1 must have shape \(h, w, c\), got \(36, 64\)"):
        traced(
            lambda x: js.make_objective(
                lambda *a: {"relu1_1": x[..., 0] @ jnp.ones((34, 64))}, content_layers=(), style_layers=("relu1_1",)
            ).targets({}, x, x),
            content,
        )
    x = jnp.ones((1, 4, 5, 3))
    for call, name in (
        (lambda: losses.gram_matrix(x), "features"),
        (lambda: losses.feature_loss(x, x), "features"),
        (lambda: losses.gram_loss(x[0], x[0]), "gram"),
        (lambda: losses.total_variation(x), "image"),
        (lambda: losses.gram_matrix(x[0], x[0]), "mask"),
        *((lambda s=s: s.measure(x, None), "features") for s in map(style_statistic, STYLE_LOSSES)),
        (lambda: colour.match_colours(x, x), "image"),
        (lambda: colour.with_colours_of(x, x), "image"),
        (lambda: starting_image("noise", x, x, jax.random.key(0)), "image"),
        (lambda: js.split_rows(x, None), "image"),
        (lambda: js.split_rows(jnp.ones((4, 4, 5)), None), "image"),
        (lambda: implicit_gradient(print, x, x, {}, None, js.LossWeights()), "image"),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must have shape \(.*\), got \(.*"):
            call()


def test_one_rate_a_lane_is_no_rate_a_channel(problem):
    _, _, loss, content, *_ = problem
    rates = jnp.array([0.1, 0.2, 0.3])
    message = "optimizer has an array for a hyperparameter, .*: give a number; for one a lane, .* jax.vmap"
    for wrong in (
        optax.adam(rates),
        optax.sgd(rates[:2]),
        optax.inject_hyperparams(optax.adam)(rates),
        optax.chain(optax.trace(0.9), optax.scale(np.array([[1.0], [2.0], [3.0]]))),
    ):
        with pytest.raises(ValueError, match=message):
            js.make_transfer(loss, wrong).init(content[:3])
    for right in (
        optax.adam(jnp.float32(0.1)),
        optax.sgd(lambda step: 0.1 / (step + 1)),
        optax.scale(-jnp.ones((3, 34, 1))),
        optax.inject_hyperparams(optax.adam)(0.1),
        optax.lbfgs(),
        lbfgs(),
        optax.contrib.muon(0.1),
        optax.adafactor(0.1),
        optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9)),
    ):
        jax.eval_shape(js.make_transfer(loss, right).init, content[:3])
    jax.eval_shape(jax.vmap(lambda rate: js.make_transfer(loss, optax.adam(rate)).init(content)), rates)


def test_weights_below_0_are_refused_in_every_array(problem):
    _, transfer, loss, content, params, targets = problem
    for kind in (list, np.array, jnp.array):
        with pytest.raises(ValueError, match="beta must be a number >= 0"):
            js.weight_grid(beta=kind([1.0, -1.0]))
        grid = js.LossWeights(tv=kind([1.0, -2.0]))
        with pytest.raises(ValueError, match="weights.tv must be 0 or more, got -2"):
            js.sweep(transfer, content, params, targets, grid, num_steps=1)
    for value in (-1, -1.0, np.float32(-1), jnp.float32(-1)):
        with pytest.raises(ValueError, match="weights.alpha must be 0 or more, got -1"):
            jax.eval_shape(lambda x, v=value: loss(x, params, targets, js.LossWeights(v)), content)
    jax.eval_shape(lambda v: loss(content, params, targets, js.LossWeights(v)), -1.0)  # whose value is not known


def statistic_of_positions():
    return StyleStatistic(lambda f, mask: f.mean(-1), lambda found, target, *, convention: (found - target).sum())


def test_errors_name_the_right_cause(problem):
    features, transfer, loss, content, params, targets = problem
    weights, state = js.LossWeights(), transfer.init(content)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), targets)
    halves = np.stack([np.ones(content.shape[:2]), np.zeros(content.shape[:2])])
    halves[:, ::2] = 0.5
    masked = js.make_objective(features, **SHALLOW).targets(params, content, content, masks=(halves, halves))
    stacked_masks = jax.tree.map(lambda x: x[None], masked.masks)
    grid = js.weight_grid(beta=[1.0, 2.0])
    for call, message in (
        (
            lambda: js.make_objective(features, style_loss=statistic_of_positions(), **SHALLOW).targets(
                params, content, content
            ),
            r"style_loss has a statistic whose shape depends on the image's size: \(36, 34\) and \(72, 68\)",
        ),
        (lambda: loss(content, params, both, weights), "targets.content of relu2_2 holds 2 stacked targets where"),
        (
            lambda: loss(content, params, targets._replace(style=both.style), weights),
            "targets.style of relu1_1 holds 2 stacked targets where",
        ),
        (
            lambda: loss(content, params, masked._replace(masks=stacked_masks), weights),
            "targets.masks of relu1_1 holds 1 stacked targets where",
        ),
        (
            lambda: js.make_objective(features, content_layers=(), style_layers=SHALLOW["style_layers"]).loss(
                content[:20], params, masked, weights
            ),
            r"targets.masks of relu1_1 have shape \(2, 36, 34\), but the image's features there \(20, 34, 64\)",
        ),
        (lambda: loss(content, params, masked._replace(masks=None), weights), "targets must have masks of content and"),
        (
            lambda: js.make_objective(features, style_loss="wasserstein", **SHALLOW).loss(
                content, params, masked, weights
            ),
            "targets.style of relu1_1 is of another style_loss",
        ),
        (
            lambda: js.sweep(transfer, state, params, targets, grid, num_steps=1),
            r"the state's image must have shape \(2, h, w, 3\), got \(36, 34, 3\)",
        ),
        (lambda: transfer.init(None), r"image must be an array of shape \(h, w, 3\), got NoneType"),
        (lambda: js.run(transfer, content, params, targets, weights, num_steps=1), "state must be a state, .* got Arr"),
        (lambda: js.run(transfer, state, params, targets, weights, num_steps=1.5), "num_steps must be a whole number"),
        (lambda: js.sweep(transfer, content, params, targets, grid, num_steps="3"), "num_steps must be a whole number"),
        (
            lambda: js.sweep(loss, content, params, targets, grid, num_steps=1),
            "transfer must be Transfer, got func",
        ),
        (
            lambda: js.sweep(transfer, content, params, targets, [1.0], num_steps=1),
            "weights must be LossWeights, got l",
        ),
        (
            lambda: js.make_transfer(None, optax.adam(0.1)),
            "loss must be a function, .* got None",
        ),
        (
            lambda: js.make_objective(features, style_layers={"relu1_1": 1.0}).loss,
            "style_layers must be a sequence of names of layers, got dict; the weights of layers are fields of Loss",
        ),
        (
            lambda: js.make_objective(features, content_layers=3).loss,
            "content_layers must be a sequence of names .* got int",
        ),
        (
            lambda: js.make_objective(features, content_layers="relu1_1", style_layers=["relu9"]).targets(
                params, content, content
            ),
            "no relu9 among the layers relu1_1, .*: style_layers must name layers that the network returns",
        ),
        (
            lambda: loss(content, params, targets, js.LossWeights(style_layers={"relu1_1": 1.0})),
            "weights.style_layers must be an array of numbers, in the order of style_layers, got dict",
        ),
        (
            lambda: loss(content, params, targets, js.LossWeights(None)),
            "weights.alpha must be a number, .* got None",
        ),
        (lambda: loss(content, params, targets, js.LossWeights(beta="1")), "weights.beta must be a number, .* got str"),
        (lambda: loss(content, params, targets, js.LossWeights(1j)), "weights.alpha must be a number, .* got complex"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


def test_forward_mode_is_refused_in_words_of_ours(problem):
    features, transfer, loss, content, params, targets = problem

    def objective(x):
        return loss(x, params, targets, js.LossWeights())[0]

    for call in (
        lambda: jax.jvp(objective, (content,), (content,)),
        lambda: jax.jacfwd(lambda scale: objective(scale * content))(1.0),
        lambda: jax.hessian(lambda scale: objective(scale * content))(1.0),
        lambda: jax.jvp(lambda x: features(params, x), (content,), (content,)),
        lambda: jax.jvp(
            lambda b: js.run(transfer, transfer.init(content), params, targets, js.LossWeights(1.0, b), num_steps=1)[1],
            (1.0,),
            (1.0,),
        ),
    ):
        with pytest.raises(TypeError, match=r"^forward-mode .* does not go through the network, .*: use reverse mode"):
            call()
