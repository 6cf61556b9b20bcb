import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.objective.losses import CONVENTIONS, gram_loss
from jaxstyle.objective.statistics.matched import matched
from jaxstyle.objective.statistics.nearest import nearest, relaxed_emd
from jaxstyle.objective.statistics.positions import sample_positions
from jaxstyle.objective.statistics.sliced import sliced
from jaxstyle.objective.statistics.statistic import StyleStatistic
from jaxstyle.objective.statistics.style_statistics import style_statistic
from jaxstyle.objective.weight_defaults import STYLE_LOSSES
from tests.conftest import SHALLOW, relative_error
from tests.reference import numpy_styles, numpy_vgg

RNG = np.random.default_rng(11)
MIX = RNG.normal(size=(6, 6))
F, S = RNG.normal(size=(7, 9, 6)) @ MIX + 1, RNG.normal(size=(5, 8, 6)) * RNG.uniform(0.5, 2, size=6) - 0.5
FEW = F[:2, :2]  # fewer positions than channels


def distance_of(name, style, convention="mean"):
    """The distance of an image's features from a style's, jitted, as a function of the former."""
    statistic = style_statistic(name)
    target = jax.jit(lambda s: statistic.to_target(statistic.measure(s, None)))(style)
    distance = jax.jit(lambda f, t: statistic.distance(statistic.measure(f, None), t, convention=convention))
    return lambda f: distance(f, target)


def oracle(name, f, s):
    (m, c), (n, d) = numpy_styles.moments(f), numpy_styles.moments(s)
    if name == "gram":
        return np.mean((numpy_vgg.gram(f) - numpy_vgg.gram(s)) ** 2)
    if name == "centered_gram":
        return np.mean((c - d) ** 2)
    if name == "moments":
        u, v = (np.sqrt(np.diag(a) + 1e-5) for a in (c, d))
        return np.mean((m - n) ** 2) + np.mean((u - v) ** 2)
    noise = numpy_styles.style_noise(d)
    return numpy_styles.wasserstein(m, c + noise, n, d + noise) / len(m)


ENERGY = {
    "gram": np.mean(numpy_vgg.gram(S) ** 2),
    "centered_gram": np.mean(numpy_styles.moments(S)[1] ** 2),
    "wasserstein": np.mean(S**2),
    "moments": np.mean(S**2) + 1e-5,
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["gram", "centered_gram", "wasserstein", "moments"])
def test_distances_equal_numpy_and_relative_divides_by_the_styles_energy(name):
    for f in (F, FEW):
        wanted = oracle(name, f, S)
        assert float(distance_of(name, S)(jnp.asarray(f))) == pytest.approx(wanted, rel=1e-9)
        found = distance_of(name, S, "relative")(jnp.asarray(f))
        assert float(found) == pytest.approx(wanted / ENERGY[name], rel=1e-9)
    few = distance_of(name, FEW)(jnp.asarray(F))
    assert float(few) == pytest.approx(oracle(name, F, FEW), rel=1e-8)


@pytest.mark.usefixtures("x64")
def test_wasserstein_of_gaussians_in_closed_form(rng):
    """Of independent channels it is the sum of (m - s)^2 + (u - v)^2, up to its noise of 0.2 % of the covariance."""
    flat = np.linalg.qr(rng.normal(size=(60, 7)) - 0)[0]
    white = np.linalg.qr(np.c_[np.ones(60), flat])[0][:, 1:7] * np.sqrt(60)  # mean 0, covariance 1
    u, v, m, s = rng.uniform(1, 3, 6), rng.uniform(1, 3, 6), rng.normal(size=6), rng.normal(size=6)
    image, style = ((white * a + b).reshape(6, 10, 6) for a, b in ((u, m), (v, s)))
    wanted = np.mean((m - s) ** 2 + (u - v) ** 2)
    assert float(distance_of("wasserstein", style)(jnp.asarray(image))) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("name", [name for name in STYLE_LOSSES if "matched" not in name])
def test_flat_styles_have_a_gradient(name):
    """With respect to the style, whose covariance is 0."""
    statistic = style_statistic(name.split("+")[0])

    def distance(style):
        target = statistic.to_target(statistic.measure(style, None))
        return statistic.distance(statistic.measure(jnp.asarray(F), None), target, convention="mean")

    assert np.isfinite(jax.jit(jax.grad(distance))(jnp.full_like(S, 0.5))).all()


@pytest.mark.usefixtures("x64")
def test_sliced_equals_numpy_where_both_have_as_many_positions(rng):
    """To the rounding of its directions, which are float32 and of another compilation here."""
    style = rng.normal(size=F.shape)
    directions = np.asarray(jax.random.normal(jax.random.key(3), (6, 4), jnp.float32), np.float64)
    statistic = sliced(key=3, projections=4, bins=63 * 2)
    wanted = numpy_styles.sliced(F, style, directions)
    assert float(distance_of(statistic, style)(jnp.asarray(F))) == pytest.approx(wanted, rel=1e-6)
    # Of other sizes: each half of the sorted positions has one mean.
    two = sliced(key=3, projections=1, bins=2)
    line = np.asarray(jax.random.normal(jax.random.key(3), (6, 1), jnp.float32), np.float64)
    line = line / np.linalg.norm(line)
    halves = [np.sort((f.reshape(-1, 6) @ line)[:, 0]).reshape(2, -1).mean(1) for f in (F[:6], S)]
    found = distance_of(two, S)(jnp.asarray(F[:6]))
    assert float(found) == pytest.approx(np.mean((halves[0] - halves[1]) ** 2), rel=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("block", [1, 10, 63, 2048])
def test_nearest_equals_numpy_in_blocks_of_any_size(block):
    """All 40 positions of S are taken once; 63 positions of F are no multiple of 10."""
    for both in (False, True):
        found = distance_of(nearest(count=40, block=block, both=both), S)
        forth, back = numpy_styles.nearest(F, S)
        assert float(found(jnp.asarray(F))) == pytest.approx(max(forth, back) if both else forth, rel=1e-11)
        # A single colour leaves most of the style without a partner.
        one = np.broadcast_to(F[0, 0], (4, 4, 6)) + 1e-3 * np.arange(16).reshape(4, 4, 1)
        forth, back = numpy_styles.nearest(one, S)
        assert back > forth
        assert float(found(jnp.asarray(one))) == pytest.approx(back if both else forth, rel=1e-9)


@pytest.mark.usefixtures("x64")
def test_nearest_of_patches_equals_numpy():
    a, b = (
        np.concatenate([f[i : i + f.shape[0] - 2, j : j + f.shape[1] - 2] for i in range(3) for j in range(3)], -1)
        for f in (F, S)
    )
    found = distance_of(nearest(count=18, patch=3), S)(jnp.asarray(F))
    assert float(found) == pytest.approx(numpy_styles.nearest(a, b)[0], rel=1e-11)
    with pytest.raises(ValueError, match="patches of 3x3 positions don't fit into features of 2x2"):
        distance_of(nearest(patch=3), S)(jnp.asarray(FEW))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("statistic", [nearest, relaxed_emd])
def test_of_more_than_65536_positions_every_other_one_a_side_is_compared(rng, statistic):
    found = distance_of(statistic(count=40), S)
    image = rng.normal(size=(256, 257, 6)) @ MIX
    assert float(found(jnp.asarray(image))) == float(found(jnp.asarray(image[::2, ::2])))
    all_of_fewer, some = (float(found(jnp.asarray(image[:, :256][::step, ::step]))) for step in (1, 2))
    assert all_of_fewer != some


@pytest.mark.parametrize("layer", ["relu1_1", "pixels"])
def test_every_pixel_has_a_gradient_where_there_are_very_many(params, rng, layer):
    """A position of the first layer sees 3x3 pixels, so that every other one will do; a pixel sees itself alone."""
    image, style = (jnp.asarray(rng.random((*shape, 3)), jnp.float32) for shape in ((258, 256), (40, 40)))
    objective = js.make_objective(
        js.make_features(("relu1_1", "pixels")), content_layers=(), style_layers=(layer,), style_loss="nearest"
    )
    targets = objective.targets(params, image, style)
    gradient = jax.grad(lambda x: objective.loss(x, params, targets, js.LossWeights())[0])(image)
    assert (jnp.abs(gradient).max(-1) > 0).all()


@pytest.mark.usefixtures("x64")
def test_relaxed_emd_equals_numpy():
    for f in (F, FEW):
        found = distance_of(relaxed_emd(count=40, block=10), S)(jnp.asarray(f))
        (m, c), (n, d) = numpy_styles.moments(f), numpy_styles.moments(S)
        wanted = max(numpy_styles.nearest(f, S, centred=False)) + np.abs(m - n).mean() + np.abs(c - d).mean()
        assert float(found) == pytest.approx(wanted, rel=1e-11)


@pytest.mark.usefixtures("x64")
def test_matched_equals_numpy(rng):
    """All 40 positions of S are taken; an image is compared with what another one was matched with."""
    query = rng.normal(size=F.shape) @ MIX
    for block in (10, 2048):
        statistic = matched(count=40, block=block)
        target = statistic.to_target(statistic.measure(jnp.asarray(S), None))
        found, other = (statistic.measure(jnp.asarray(f), None) for f in (F, query))
        for image, matches in ((F, None), (query, statistic.match(other, target))):
            value = statistic.distance(found, target, convention="mean", matches=matches)
            assert float(value) == pytest.approx(numpy_styles.matched(F, S, image), rel=1e-11)
    kept = jax.jit(lambda f: statistic.distance(statistic.measure(f, None), target, convention="mean", matches=matches))
    direction = rng.normal(size=F.shape)
    slope = (kept(F + 1e-6 * direction) - kept(F - 1e-6 * direction)) / 2e-6
    assert np.vdot(jax.grad(kept)(jnp.asarray(F)), direction) == pytest.approx(float(slope), rel=1e-6)
    with pytest.raises(ValueError, match=r"the image has \(2, 2\) positions, but \(7, 9\) are matched"):
        kept(FEW)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["nearest", "relaxed_emd", "sliced", "matched"])
def test_a_hard_mask_leaves_out_what_is_beside_it(name):
    """Of the image and of the style; what is there of other values changes nothing."""
    statistic = {
        "nearest": nearest(count=24, both=True),
        "relaxed_emd": relaxed_emd(count=24),
        "sliced": sliced(bins=8),
        "matched": matched(count=24),
    }[name]
    measure, measured = jax.jit(statistic.measure), []
    for f, columns in ((F, 6), (S, 5)):
        wide = np.concatenate([f[:, :columns], 100 + f], 1)
        mask = np.arange(wide.shape[1]) < columns
        mask = np.broadcast_to(mask, wide.shape[:2]).astype(float)
        measured.append((measure(wide, mask), f[:, :columns]))
    (image, f), (style, s) = measured
    found = statistic.distance(image, statistic.to_target(style), convention="mean")
    alone = [measure(x, jnp.ones(x.shape[:2])) for x in (f, s)]
    wanted = statistic.distance(alone[0], statistic.to_target(alone[1]), convention="mean")
    # The sample of 25 positions is another one where they stand beside others.
    assert float(found) == pytest.approx(float(wanted), rel=1e-9 if name == "sliced" else 0.1)


@pytest.mark.usefixtures("x64")
def test_weights_count_as_repeated_positions(rng):
    """A mask of sqrt(2/3) beside 1/sqrt(3) counts twice as much: for `sliced`, as a position that is there twice."""
    twice = rng.uniform(size=F.shape[:2]) < 0.5
    mask = np.where(twice, np.sqrt(2 / 3), np.sqrt(1 / 3))
    repeated = np.concatenate([F[twice], F[twice], F[~twice]])[None]
    statistic = sliced(key=3, projections=4, bins=7)
    found = statistic.measure(jnp.asarray(F), jnp.asarray(mask))
    wanted = statistic.measure(jnp.asarray(repeated), jnp.ones(repeated.shape[:2]))
    np.testing.assert_allclose(found, wanted, rtol=1e-10)
    # Equal weights are what no mask is, where the shares hold whole positions.
    plain = sliced(key=3, projections=4, bins=9)
    np.testing.assert_allclose(
        plain.measure(jnp.asarray(F), jnp.full(F.shape[:2], 0.5)), plain.measure(jnp.asarray(F), None), rtol=1e-10
    )
    nearer = nearest(count=40)
    target = nearer.to_target(nearer.measure(jnp.asarray(S), None))
    measured = [
        nearer.measure(jnp.asarray(f), jnp.asarray(m)) for f, m in ((F, mask), (repeated, np.ones(repeated.shape[:2])))
    ]
    found, wanted = (float(nearer.distance(x, target, convention="mean")) for x in measured)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_samples_are_spread_evenly_over_what_has_a_weight():
    places = np.asarray(sample_positions(jnp.ones((32, 48)), 96))
    assert len(set(places.tolist())) == 96
    rows, columns = np.divmod(places, 48)
    cells = np.zeros((4, 6), int)
    np.add.at(cells, (rows // 8, columns // 8), 1)
    assert cells.min() >= 3
    assert cells.max() <= 5
    weights = jnp.zeros((32, 48)).at[5:9, 7:20].set(1.0).at[30, 3].set(52.0)
    rows, columns = np.divmod(np.asarray(sample_positions(weights, 104)), 48)
    inside = (rows >= 5) & (rows < 9) & (columns >= 7) & (columns < 20)
    assert inside.sum() == 52
    assert set(zip(rows[~inside], columns[~inside], strict=True)) == {(30, 3)}
    assert len(set(np.asarray(sample_positions(jnp.zeros((4, 4)), 16)).tolist())) == 16  # nothing has a weight
    assert set(np.asarray(sample_positions(jnp.ones((1, 1)), 5)).tolist()) == {0}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_gradients_equal_finite_differences(name, few, rng):
    f = jnp.asarray(FEW if few else F)
    distance = jax.jit(distance_of(name, S))
    direction = jnp.asarray(rng.normal(size=f.shape))
    slope = (distance(f + 1e-6 * direction) - distance(f - 1e-6 * direction)) / 2e-6
    assert jnp.vdot(jax.grad(distance)(f), direction) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.usefixtures("x64")
def test_gradient_of_wasserstein_by_eigenvalues():
    """With respect to features it is 2 (f - mean) (1 - T) / (N c), with T the optimal map between the covariances."""
    (m, c), (n, d) = numpy_styles.moments(F), numpy_styles.moments(S)
    noise = numpy_styles.style_noise(d)
    root = numpy_styles.power(d + noise, 0.5)
    optimal = root @ numpy_styles.power(root @ (c + noise) @ root, -0.5) @ root
    wanted = 2 / F.size * ((F - m) @ (np.eye(6) - optimal) + (m - n))
    found = jax.grad(distance_of("wasserstein", S))(jnp.asarray(F))
    assert relative_error(found, wanted) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("name", STYLE_LOSSES)
@pytest.mark.parametrize("case", ["full", "few", "dead", "flat", "zero"])
def test_zero_with_a_finite_gradient_at_the_style_itself(name, case, rng):
    f = {"full": F, "few": FEW, "dead": F * [1, 0, 0, 2, 0, 1], "flat": np.ones_like(F), "zero": np.zeros_like(F)}[case]
    f = jnp.asarray(f, jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(distance_of(name, f)))(f)
    assert abs(float(value)) <= 1e-5 * float(jnp.square(f).mean())
    slope = 0.3 if name == "relaxed_emd" else 1e-3  # absolute values have no slope 0, not even where they are least
    assert float(jnp.abs(gradient).max()) < slope
    # ... and finite anywhere else, from the flattest start to the wildest.
    starts = jnp.zeros_like(f), 1000 * f[::-1], jnp.asarray(rng.normal(size=f.shape), f.dtype)
    for convention in ("mean", "relative"):
        both = jax.jit(jax.value_and_grad(distance_of(name, f, convention)))
        for value, gradient in map(both, starts):
            assert jnp.isfinite(value)
            assert jnp.isfinite(gradient).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_targets_in_float32_serve_features_in_float64(name):
    """A statistic of random parts draws the same ones in both."""
    f = jnp.asarray(F)
    found, wanted = (distance_of(name, jnp.asarray(S, dtype))(f) for dtype in (jnp.float32, jnp.float64))
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


@pytest.mark.parametrize("name", ["nearest", "relaxed_emd", "matched"])
@pytest.mark.parametrize("level", [1, 100])
def test_flat_features_are_alike(name, level, rng):
    """What rounding leaves of features that equal their mean is no direction."""
    statistic = style_statistic(name)
    f, s = (jnp.asarray(np.broadcast_to(level * rng.uniform(size=64), (8, 9, 64)), jnp.float32) for _ in range(2))
    found, target = statistic.measure(f, None), statistic.to_target(statistic.measure(s, None))
    if name == "matched":  # whose distance is of features as they are; only its search takes the mean off
        assert (statistic.match(found, target) == statistic.match(found, target)[0, 0]).all()
    elif name == "nearest":
        assert float(statistic.distance(found, target, convention="mean")) < 0.01
    else:
        assert jnp.isfinite(statistic.distance(found, target, convention="mean"))


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_ignores_the_order_of_pixels_and_is_the_same_vmapped_and_jitted(name, rng):
    f = jnp.asarray(F, jnp.float32)
    distance = distance_of(name, jnp.asarray(S, jnp.float32))
    shuffled = rng.permutation(F.reshape(-1, 6)).reshape(9, 7, 6).astype(np.float32)
    assert float(distance(jnp.asarray(shuffled))) == pytest.approx(float(distance(f)), rel=1e-4)
    images = jnp.stack([f, f[::-1] * 2, f - 1])
    gradient = jax.grad(distance)
    with jax.disable_jit():
        loop = jnp.stack([gradient(image) for image in images])
    assert relative_error(jax.jit(jax.vmap(gradient))(images), loop) < 1e-4


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_statistics_of_bfloat16_features_are_float32(name):
    f, s = (jnp.asarray(x, jnp.bfloat16) for x in (F, S))
    statistic = style_statistic(name)
    measured = statistic.measure(f, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(measured)} == {jnp.dtype("float32")}
    value, gradient = jax.value_and_grad(distance_of(name, s))(f)
    wanted, exact = jax.value_and_grad(distance_of(name, s.astype(jnp.float32)))(f.astype(jnp.float32))
    # Wasserstein's nearly centred features are rounded once more.
    assert float(value) == pytest.approx(float(wanted), rel=1e-3 if name == "wasserstein" else 1e-4)
    assert gradient.dtype == jnp.bfloat16
    assert relative_error(gradient, exact) < 0.01


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_conventions_and_names(name):
    f, s = jnp.asarray(F, jnp.float32), jnp.asarray(S, jnp.float32)
    for convention in CONVENTIONS:
        if "gram" in name or convention in ("mean", "relative"):
            assert distance_of(name, s, convention)(f) > 0
        else:
            with pytest.raises(
                ValueError, match=f"convention '{convention}' is for Gram matrices; style_loss '{name}'"
            ):
                distance_of(name, s, convention)(f)
    with pytest.raises(ValueError, match="unknown style_loss 'x'; valid: gram, centered_gram, wasserstein, moments"):
        style_statistic("x")
    with pytest.raises(ValueError, match="unknown convention"):
        distance_of(name, s, "x")(f)


def test_a_statistic_of_ones_own(params, content, style):
    def measure(features, mask):
        assert mask is None
        return features.max((0, 1))

    def distance(found, target, *, convention):
        assert convention == "mean"
        return jnp.abs(found - target).sum()

    own = StyleStatistic(measure, distance)
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    objective = js.make_objective(features, style_loss=own, **SHALLOW)
    targets = objective.targets(params, content, style)
    found = objective.loss(content, params, targets, js.LossWeights())[1].style
    a, b = features(params, content), features(params, style)
    wanted = [np.abs(np.max(a[k], (0, 1)) - np.max(b[k], (0, 1))).sum() for k in SHALLOW["style_layers"]]
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-5)
    with pytest.raises(ValueError, match="unknown style_loss"):
        js.make_objective(features, style_loss="x")


@pytest.mark.slow
def test_gram_is_losses_style_loss_and_targets_have_a_styles_axis(params, content, style):
    features = js.make_features(("relu1_1", "relu2_1", "relu2_2"))
    for name in STYLE_LOSSES:
        targets = js.make_objective(features, style_loss=name, **SHALLOW).targets(params, content, [style, content])
        assert {len(leaf) for leaf in jax.tree.leaves(targets.style)} == {2}
    assert style_statistic("gram").distance is gram_loss


@pytest.mark.parametrize("ratio", [10, 100])
def test_wasserstein_of_nearly_flat_bfloat16_features(rng, ratio):
    """Where means are many times the deviations, covariances must not be lost in the difference of large numbers."""
    f, s = (jnp.asarray(ratio + rng.standard_normal((20, 20, 8)), jnp.bfloat16) for _ in range(2))
    value, gradient = jax.value_and_grad(distance_of("wasserstein", s))(f)
    wanted, exact = jax.value_and_grad(distance_of("wasserstein", s.astype(jnp.float32)))(f.astype(jnp.float32))
    assert float(value) == pytest.approx(float(wanted), rel=1e-3)
    assert relative_error(gradient, exact) < 0.01
    flat = jnp.full((20, 20, 8), ratio, jnp.bfloat16)
    for image, style in ((flat, s), (f, flat), (flat, flat)):
        value, gradient = jax.value_and_grad(distance_of("wasserstein", style))(image)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
