"""Matches, which `Objective.match` keeps in targets: of an image, of lanes, with masks and mixes, from size to size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.objective.statistics.matched import matched
from jaxstyle.optimise.pyramid import mix, resize, run_pyramid
from jaxstyle.parallel.lanes import make_lanes
from jaxstyle.parallel.stacked_targets import match_lanes
from tests.conftest import relative_error

LAYERS = ("relu1_1", "relu2_1")
FEATURES = js.make_features(LAYERS)
OBJECTIVE = js.make_objective(
    FEATURES, content_layers=(), style_layers=LAYERS, style_loss={"relu1_1": "gram", "relu2_1": matched(count=20)}
)
ADAM = js.make_transfer(OBJECTIVE.loss, optax.adam(0.03, eps=1e-3))


@pytest.fixture(scope="module")
def problem():
    pictures = jax.random.uniform(jax.random.key(5), (4, 16, 20, 3))
    return js.load_params("random:0"), *pictures


def test_an_image_is_compared_with_what_another_was_matched_with(problem):
    params, content, style, picture, other = problem
    targets = OBJECTIVE.targets(params, content, style)
    anew = OBJECTIVE.terms(picture, params, targets, js.LossWeights()).style
    kept = OBJECTIVE.match(picture, params, targets)
    assert set(kept.matches) == {"relu2_1"}
    assert kept.matches["relu2_1"].shape == (1, 8, 10)
    same = OBJECTIVE.terms(picture, params, kept, js.LossWeights()).style
    assert {k: float(v) for k, v in same.items()} == pytest.approx({k: float(v) for k, v in anew.items()}, rel=1e-5)
    stale = OBJECTIVE.terms(picture, params, OBJECTIVE.match(other, params, targets), js.LossWeights()).style
    assert float(stale["relu2_1"]) > 1.05 * float(anew["relu2_1"])
    assert float(stale["relu1_1"]) == pytest.approx(float(anew["relu1_1"]), rel=1e-5)
    jitted = jax.jit(OBJECTIVE.match)(picture, params, targets)
    np.testing.assert_array_equal(jitted.matches["relu2_1"], kept.matches["relu2_1"])


def test_objectives_without_matches_return_their_targets(problem):
    params, content, style, picture, _ = problem
    objective = js.make_objective(FEATURES, content_layers=(), style_layers=LAYERS)
    targets = objective.targets(params, content, style)
    assert objective.match(picture, params, targets) is targets
    lanes = match_lanes(objective.match, jnp.stack([picture, content]), params, targets)
    assert lanes.matches is None
    assert lanes.content_index.tolist() == lanes.style_index.tolist() == [0, 0]


def test_each_style_and_region_has_its_own_matches(problem):
    params, content, style, picture, other = problem
    left = jnp.zeros((16, 20)).at[:, :10].set(1)
    masks = jnp.stack([left, 1 - left])
    weights = js.LossWeights(style_mix=jnp.array([0.3, 0.7]))
    for own in (None, (masks, [masks, masks[::-1]])):
        targets = OBJECTIVE.targets(params, content, [style, other], masks=own)
        kept = OBJECTIVE.match(picture, params, targets)
        assert kept.matches["relu2_1"].shape == ((2, 8, 10) if own is None else (2, 2, 8, 10))
        a, b = (OBJECTIVE.loss(picture, params, x, weights)[0] for x in (targets, kept))
        assert float(a) == pytest.approx(float(b), rel=1e-5)
    # The sample of a region's target is drawn from its part of the style alone.
    statistic, mask = matched(count=20), targets.masks["relu2_1"]
    found, of_style = (FEATURES(params, image)["relu2_1"] for image in (picture, style))
    for region in range(2):
        target = statistic.to_target(statistic.measure(of_style, mask[region]))
        alone = statistic.match(statistic.measure(found, mask[region]), target)
        np.testing.assert_array_equal(kept.matches["relu2_1"][0, region], alone)


def test_lanes_have_matches_of_their_own(problem):
    params, content, style, picture, other = problem
    pairs = [OBJECTIVE.targets(params, content, image) for image in (style, other)]
    stacked = js.stack_targets(pairs, content=[0, 0, 0], style=[0, 1, 1])
    images = jnp.stack([picture, picture, content])
    lanes = match_lanes(OBJECTIVE.match, images, params, stacked)
    for i, (image, pair) in enumerate(((picture, 0), (picture, 1), (content, 1))):
        alone = OBJECTIVE.match(image, params, pairs[pair])
        np.testing.assert_array_equal(lanes.matches["relu2_1"][i], alone.matches["relu2_1"])
    grid = js.weight_grid(beta=[1.0, 2.0, 3.0])
    start = jnp.stack([content, content, picture])
    for microbatch in (None, 2):
        found = js.sweep(ADAM, start, params, lanes, grid, num_steps=2, microbatch=microbatch)
        for i, (image, pair) in enumerate(((picture, 0), (picture, 1), (content, 1))):
            own = OBJECTIVE.match(image, params, pairs[pair])
            state, _ = js.run(ADAM, ADAM.init(start[i]), params, own, js.LossWeights(beta=grid.beta[i]), num_steps=2)
            np.testing.assert_allclose(found.images[i], state.image, atol=1e-4)
    wrong = lanes._replace(matches=jax.tree.map(lambda x: x[:2], lanes.matches))
    with pytest.raises(ValueError, match=r"targets.matches must have those of \(3,\) lanes, got shape \(2, 1, 8, 10\)"):
        js.sweep(ADAM, start, params, wrong, grid, num_steps=1)
    with pytest.raises(ValueError, match="hold matches: stack others"):
        js.stack_targets([OBJECTIVE.match(picture, params, pairs[0])])


def test_a_mix_is_content_at_one_and_picture_at_zero(problem):
    _, content, picture, *_ = problem
    found = mix(content, jnp.stack([picture] * 4), jnp.array([0.0, 0.25, 1.0, 7.0]))
    np.testing.assert_allclose(found[0], picture, atol=1e-6)
    np.testing.assert_allclose(found[1], 0.25 * content + 0.75 * picture, atol=1e-6)
    np.testing.assert_allclose(found[2:], jnp.stack([content] * 2), atol=1e-6)


@pytest.mark.slow
def test_a_pyramid_matches_anew_at_each_size(problem):
    """The content at the first size, and then its mix with the picture so far; lanes are what each is alone."""
    params, content, style, *_ = problem
    shapes, alphas = ((8, 10), (16, 20)), [0.0, 0.6]
    options = {"shapes": shapes, "num_steps": (3, 2)}
    seen, apart = [], []

    def match(image, params, targets):
        seen.append(image)
        return OBJECTIVE.match(image, params, targets)

    grid = js.weight_grid(alpha=alphas)
    lanes = make_lanes(ADAM, grid)
    start = jnp.broadcast_to(content, (2, *content.shape))
    together, _ = run_pyramid(
        lanes, OBJECTIVE.targets, params, content, style, grid,
        start=start, match=partial(match_lanes, OBJECTIVE.match), **options,
    )  # fmt: skip
    for i, alpha in enumerate(alphas):
        seen.clear()
        weights = js.LossWeights(alpha=jnp.float32(alpha))
        alone, _ = run_pyramid(
            ADAM, OBJECTIVE.targets, params, content, style, weights, start=content, match=match, **options
        )
        assert relative_error(seen[0], resize(content, shapes[0])) < 1e-6
        apart.append(relative_error(seen[1], content))
        assert relative_error(together.image[i], alone.image) < 1e-3
    assert apart[1] == pytest.approx(0.4 * apart[0], rel=0.2)
    plain, _ = run_pyramid(ADAM, OBJECTIVE.targets, params, content, style, weights, start=content, **options)
    assert relative_error(plain.image, alone.image) > 1e-4
