import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.network.layers import block_of
from jaxstyle.objective.regions import layer_masks
from jaxstyle.objective.statistics.style_statistics import style_statistic
from jaxstyle.objective.weight_defaults import STYLE_LOSSES
from jaxstyle.parallel.stacked_targets import StackedTargets, parts_by_lane, targets_of_lane
from tests.conftest import SHALLOW
from tests.reference import numpy_styles

WHOLE = [name for name in STYLE_LOSSES if name not in ("nearest", "matched", "relaxed_emd")]  # these sample the style
LAYERS = ("relu1_1", "relu2_1", "relu2_2")


@pytest.fixture(scope="module")
def features():
    return js.make_features(LAYERS)


def layer_sizes(layers, shape):
    """Sizes of VGG's layers by counting the poolings before them."""
    halvings = {layer: block_of(layer) - (not layer.startswith("pool")) for layer in layers}
    return {layer: (shape[0] >> n, shape[1] >> n) for layer, n in halvings.items()}


def style_of(features, params, image, targets, name="gram", weights=None):
    loss = jax.jit(js.make_objective(features, style_loss=name, **SHALLOW).loss)
    return loss(image, params, targets, weights or js.LossWeights())[1].style


def halves(image, soft=False):
    h, w = image.shape[:2]
    left = np.broadcast_to(np.linspace(1, 0, w) if soft else np.arange(w) < w // 4 * 2, (h, w)).astype(np.float32)
    return np.stack([left, 1 - left])


def test_masks_are_averaged_over_the_pixels_of_each_position(rng):
    masks = rng.uniform(size=(2, 13, 11))
    layers = ("relu1_2", "pool1", "relu3_1", "pool3")
    found = layer_masks(jnp.asarray(masks, jnp.float32), layer_sizes(layers, masks.shape[1:]))
    for layer, side in (("relu1_2", 1), ("pool1", 2), ("relu3_1", 4), ("pool3", 8)):
        h, w = 13 // side, 11 // side
        assert found[layer].shape == (2, h, w)
        for k, i, j in np.ndindex(2, h, w):
            block = masks[k, side * i : side * (i + 1), side * j : side * (j + 1)]
            assert float(found[layer][k, i, j]) == pytest.approx(block.mean(), rel=1e-5)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_mask_of_ones_is_no_mask(features, params, content, style, name):
    ones = [np.ones((1, *image.shape[:2])) for image in (content, style)]
    plain = js.make_objective(features, style_loss=name, **SHALLOW).targets(params, content, style)
    masked = js.make_objective(features, style_loss=name, **SHALLOW).targets(params, content, style, masks=tuple(ones))
    assert plain.masks is None
    image = content[::-1]
    found, wanted = (style_of(features, params, image, targets, name) for targets in (masked, plain))
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["gram", "centered_gram", "moments", "wasserstein"])
def test_weighted_moments_equal_numpy(name, rng):
    f, s, t, r = (rng.normal(size=n) for n in ((6, 7, 5), (5, 4, 5), (6, 7), (5, 4)))
    t, r = np.abs(np.sin(t)), np.abs(np.sin(r)) * (np.arange(4) > 0)
    statistic = style_statistic(name)
    measure = [statistic.measure(*map(jnp.asarray, pair)) for pair in ((f, t), (s, r))]
    found = float(statistic.distance(measure[0], statistic.to_target(measure[1]), convention="mean"))
    (m, c), (n, d) = numpy_styles.moments(f, t**2), numpy_styles.moments(s, r**2)
    noise = numpy_styles.style_noise(d)
    wanted = {
        "gram": np.mean((c + np.outer(m, m) - d - np.outer(n, n)) ** 2),
        "centered_gram": np.mean((c - d) ** 2),
        "moments": np.mean((m - n) ** 2) + np.mean((np.sqrt(np.diag(c) + 1e-5) - np.sqrt(np.diag(d) + 1e-5)) ** 2),
        "wasserstein": numpy_styles.wasserstein(m, c + noise, n, d + noise) / 5,
    }
    assert found == pytest.approx(wanted[name], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_an_image_that_has_each_regions_style_in_its_place_has_no_loss(features, params, style, name):
    """Also with soft masks, and masks that overlap."""
    image = jnp.concatenate([style, 1 - style[::-1]], 1)
    objective = js.make_objective(features, style_loss=name, **SHALLOW)
    both = jax.jit(jax.value_and_grad(lambda *arguments: objective.loss(*arguments)[0]))
    for masks in (halves(image), halves(image, soft=True), np.maximum(halves(image), 1e-3)):
        targets = objective.targets(params, image, image, masks=(masks, masks))
        value, gradient = both(image, params, targets, js.LossWeights(alpha=0.0))
        assert abs(float(value)) < 1e-5
        assert float(jnp.abs(gradient).max()) < 1e-4


def test_regions_count_by_area_and_styles_by_their_mix(features, params, content, style):
    """The loss of a picture in two regions, each with a style of its own, from its parts."""
    masks, other = halves(content), 1 - style
    first, second = (np.stack([np.full(style.shape[:2], float(i == k)) for i in (0, 1)]) for k in (0, 1))
    both = js.make_objective(features, **SHALLOW).targets(
        params, content, [style, other], masks=(masks, [first, second])
    )
    weights = js.LossWeights(style_mix=jnp.array([2.0, 3.0]))
    found = style_of(features, params, content, both, weights=weights)
    terms = []
    for layer in SHALLOW["style_layers"]:
        f, grams = np.asarray(features(params, content)[layer], np.float64), []
        for image in (style, other):
            s = np.asarray(features(params, image)[layer], np.float64)
            grams.append(np.einsum("hwc,hwd->cd", s, s) / s[..., 0].size)
        of_layer = np.asarray(layer_masks(jnp.asarray(masks), layer_sizes([layer], masks.shape[1:]))[layer], np.float64)
        shares = (of_layer**2).sum((1, 2)) / (of_layer**2).sum()
        for mask, gram, share, mix in zip(of_layer, grams, shares, (2, 3), strict=True):
            own = np.einsum("hwc,hwd->cd", f * mask[..., None], f * mask[..., None]) / (mask**2).sum()
            terms.append(mix * share * np.mean((own - gram) ** 2) / 2)
    assert float(found) == pytest.approx(sum(terms), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gram", "wasserstein"])
def test_an_empty_region_is_an_error_or_counts_for_nothing_where_it_is_traced(features, params, content, style, name):
    def make(content_masks, style_masks):
        return js.make_objective(features, style_loss=name, **SHALLOW).targets(
            params, content, style, masks=(content_masks, style_masks)
        )

    def loss(content_masks, style_masks):
        weights = js.LossWeights(alpha=0.0)
        targets = make(content_masks, style_masks)
        return js.make_objective(features, style_loss=name, **SHALLOW).loss(content[::-1], params, targets, weights)[0]

    full, nothing = halves(style), halves(style) * [[[1]], [[0]]]
    of_content = halves(content)
    with pytest.raises(ValueError, match="region 1 of the style masks is empty at layer relu1_1"):
        make(of_content, nothing)
    with pytest.raises(ValueError, match="region 1 of the content masks is empty at layer relu1_1"):
        make(of_content * [[[1]], [[0]]], full)
    both = jax.jit(jax.value_and_grad(loss))
    value, gradient = both(jnp.asarray(of_content), jnp.asarray(nothing, jnp.float32))
    assert 0 < value < both(jnp.asarray(of_content), jnp.asarray(full))[0]
    assert jnp.isfinite(gradient).all()
    assert both(jnp.zeros_like(of_content), jnp.asarray(full))[0] == 0


def test_masks_that_are_known_may_be_constants_of_a_jitted_function(features, params, content, style):
    def of(masks):
        return jax.eval_shape(
            lambda x: js.make_objective(features, **SHALLOW).targets(params, x, style, masks=masks), content
        )

    one = jnp.ones((1, *content.shape[:2]))
    assert of((one, jnp.ones((1, *style.shape[:2])))).masks["relu1_1"].shape == one.shape
    with pytest.raises(ValueError, match="content masks must be between 0 and 1"):
        of((2 * one, jnp.ones((1, *style.shape[:2]))))


def test_errors(features, params, content, style):
    def make(content_masks, style_masks, styles=style, **options):
        masks = (content_masks, style_masks)
        return js.make_objective(features, **SHALLOW, **options).targets(params, content, styles, masks=masks)

    good, fine = halves(content), halves(style)
    with pytest.raises(
        ValueError, match=r"content masks must have the shape \(regions, \d+, \d+\) of their image, got"
    ):
        make(good[:, :-1], fine)
    with pytest.raises(ValueError, match="style masks must have the shape"):
        make(good, fine[0])
    with pytest.raises(ValueError, match="content masks must be between 0 and 1: divide bytes by 255"):
        make(good * 255, fine)
    with pytest.raises(ValueError, match="masks of each of the 2 style images, got 1"):
        make(good, [fine], [style, style])
    with pytest.raises(ValueError, match=r"as many regions, got \[2, 1\]"):
        make(good, [fine, fine[:1]], [style, style])
    with pytest.raises(ValueError, match="the content masks have 1 regions, the style masks 2"):
        style_of(features, params, content, make(good[:1], fine))


def test_lanes_of_different_contents_have_their_own_masks(features, params, content, style):
    contents, masks = (content, content[::-1]), (halves(content), halves(content)[::-1])
    targets = [
        js.make_objective(features, style_loss="moments", **SHALLOW).targets(params, c, style, masks=(m, halves(style)))
        for c, m in zip(contents, masks, strict=True)
    ]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *targets)
    of_lanes = StackedTargets(stacked.content, stacked.style, jnp.array([1, 0]), jnp.array([0, 1]), stacked.masks)
    for i in (0, 1):
        found = targets_of_lane(of_lanes, jax.tree.map(lambda x, i=i: x[i], parts_by_lane(of_lanes)))
        wanted = targets[1 - i]._replace(style=targets[i].style)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_masks_go_to_the_size_of_any_features(params, content, style):
    """Of a network whose strides are not VGG's: equal parts of the image, by area."""
    network = js.make_features(("relu1_1", "relu2_1"))

    def thirds(params, image):  # every third position: 12 x 12 of 36 x 34
        return {layer: f[::3, ::3] for layer, f in network(params, image).items()}

    masks, full = halves(content, soft=True), halves(style)
    layers = {"content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1")}
    targets = js.make_objective(thirds, **layers).targets(params, content, style, masks=(masks, full))
    h, w = content.shape[:2]
    found = thirds(params, content)
    for layer, mask in targets.masks.items():
        assert mask.shape == (2, *found[layer].shape[:2])
        a, b = mask.shape[1:]
        # The integral of the masks over each part, from their cumulative sums.
        sums = np.pad(np.asarray(masks, np.float64).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
        down, across = np.arange(a + 1) * h / a, np.arange(b + 1) * w / b
        rows = np.stack([[np.interp(down, np.arange(h + 1), s[:, j]) for j in range(w + 1)] for s in sums])
        both = np.stack([[np.interp(across, np.arange(w + 1), r[:, i]) for i in range(a + 1)] for r in rows])
        wanted = np.diff(np.diff(both, axis=1), axis=2) * a * b / (h * w)
        np.testing.assert_allclose(mask, wanted, atol=1e-5)
    losses = jax.eval_shape(js.make_objective(thirds, **layers).loss, content, params, targets, js.LossWeights())[1]
    assert losses.style.shape == ()
