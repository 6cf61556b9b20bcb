import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstyle.app.settings import grids
from jaxstyle.app.settings.grids import combine_values, refine, repeated_ratios
from jaxstyle.app.settings.lane_settings import LANE_SETTINGS, MAX_LANES, LaneSetting
from jaxstyle.app.settings.values import parse_weight
from jaxstyle.app.system.errors import StartError

# Products and zips.


def test_product_varies_the_last_axis_fastest():
    rows = combine_values({"alpha": [1, 2], "seed": [5], "beta": ["0.1:10:3"]})
    assert [list(row) for row in rows] == [["alpha", "seed", "beta"]] * 6
    assert [tuple(row.values()) for row in rows] == list(itertools.product([1, 2], [5], [0.1, 1, 10]))


def test_zip_varies_axes_together():
    rows = combine_values({"alpha": [1, 2], "beta": [3, 4, 5], "tv": [6, 7], "seed": [8, 9]}, zip_=("tv", "alpha"))
    got = [(r["alpha"], r["tv"], r["beta"], r["seed"]) for r in rows]
    assert got == [(a, t, b, s) for (a, t), b, s in itertools.product([(1, 6), (2, 7)], [3, 4, 5], [8, 9])]
    assert combine_values({"beta": [1, 2], "tv": [3, 4]}, zip_=("beta", "tv")) == [
        {"beta": 1, "tv": 3},
        {"beta": 2, "tv": 4},
    ]


def test_values_of_an_axis():
    assert combine_values({"beta": [1, "2", "3:300:3"]}) == [{"beta": b} for b in (1, 2, 3, 30, 300)]
    assert combine_values({"beta": 3, "tv": "1:2:2"}) == [{"beta": 3, "tv": 1}, {"beta": 3, "tv": 2}]
    assert combine_values({"beta": np.array([1.5, 2])}) == [{"beta": 1.5}, {"beta": 2}]
    assert combine_values({"style_layer_weights": [[1, 0], "0 1"]}) == [
        {"style_layer_weights": (1, 0)},
        {"style_layer_weights": (0, 1)},
    ]
    assert combine_values({}) == [{}]


def test_a_new_setting_is_one_line(monkeypatch):
    monkeypatch.setitem(LANE_SETTINGS, "histogram", LaneSetting(parse_weight, scales=True))
    rows = combine_values({"beta": [1], "histogram": ["1:100:3"]})
    assert [row["histogram"] for row in rows] == [1, 10, 100]
    assert [row["histogram"] for row in refine(rows, 1, [True] * 3, 2)] == pytest.approx([10**0.5, 10**1.5], rel=1e-6)


@pytest.mark.parametrize(
    ("axes", "zip_", "message"),
    [
        ({"gamma": [1]}, (), "unknown setting 'gamma'; valid: alpha, beta"),
        ({"beta": []}, (), "beta: no values"),
        ({"beta": [1, "x"]}, (), "beta: 'x' is not a number"),
        ({"beta": None}, (), "beta: None is not a number"),
        ({"tv": [math.nan]}, (), "tv: nan is not a finite number"),
        ({"style_layer_weights": [1, 1, 1]}, (), "style_layer_weights: 1 is not a list of weights"),
        (
            {"style_layer_weights": [[1], [1, 2]]},
            (),
            "style_layer_weights: lists of 1 and of 2 weights; all must have the same number",
        ),
        ({"beta": [1]}, ("beta", "tv"), "tv is to be zipped, but has no values"),
        ({"beta": [1, 2], "tv": [1]}, ("beta", "tv"), "equally many values, got beta 2, tv 1"),
        ({"beta": ["1:2:1001"], "alpha": ["1:2:1000"]}, (), "more than 1,000,000 lanes; take fewer values"),
        ({"beta": ["1:2:600000"] * 2}, (), "more than 1,000,000 lanes"),
    ],
)
def test_wrong_axes(axes, zip_, message):
    with pytest.raises(StartError, match=message):
        combine_values(axes, zip_=zip_)


def test_zips_count_once():
    axes = {"beta": [f"1:2:{MAX_LANES // 4}"], "tv": [f"1:2:{MAX_LANES // 4}"]}
    assert len(combine_values(axes, zip_=("beta", "tv"))) == MAX_LANES // 4


# Lanes that repeat each other.


def rows_of(*weights, **others):
    return [{"alpha": a, "beta": b, "tv": t, **others} for a, b, t in weights]


def test_same_ratios_repeat():
    assert repeated_ratios(rows_of((1, 1, 0), (2, 2, 0), (1, 2, 0))) == (
        "1 of 3 lanes repeats the ratio alpha : beta : tv of another (lane 1 that of lane 0), "
        "of which an optimizer that is invariant to the loss's scale makes the same picture"
    )
    assert repeated_ratios(rows_of((1, 1, 30), (2, 2, 60), (4, 4, 120))).startswith("2 of 3 lanes repeat the ratio")
    assert repeated_ratios(rows_of((0, 1, 0), (0, 7, 0))) is not None
    assert repeated_ratios(rows_of((1, 1, 1), (1, 1, 1))) is not None


def test_other_ratios_do_not_repeat():
    assert repeated_ratios([]) is None
    assert repeated_ratios(rows_of((1, 1, 30), (2, 2, 30))) is None  # tv stays: another picture
    assert repeated_ratios(rows_of((1, 1, 0), (1, 1, 1), (0, 1, 0), (1, 0, 0), (0, 0, 1))) is None
    assert repeated_ratios(rows_of((1, 1, 1), (1, 1.00001, 1))) is None
    assert repeated_ratios(rows_of((1e-9, 1e9, 0), (2e-9, 1e9, 0))) is None
    assert repeated_ratios(rows_of((1, 2, 0), seed=1) + rows_of((2, 4, 0), seed=2)) is None
    assert repeated_ratios(rows_of((1, 2, 0), learning_rate=0.1) + rows_of((2, 4, 0), learning_rate=0.2)) is None


def test_seeds_count_only_for_a_start_with_noise():
    rows = rows_of((1, 2, 0), seed=1) + rows_of((1, 2, 0), seed=2) + rows_of((1, 3, 0), seed=1)
    assert repeated_ratios(rows) is None
    warning = repeated_ratios(rows, noisy=False)
    assert warning.startswith("1 of 3 lanes repeats the ratio alpha : beta : tv of another (lane 1 that of lane 0)")
    assert warning.endswith("makes the same picture; a seed counts only for an --init with noise")
    assert repeated_ratios(rows_of((1, 2, 0), (2, 4, 0), seed=1), noisy=False).endswith("makes the same picture")


def test_weights_left_out_are_one_value_for_all():
    assert repeated_ratios([{"alpha": 1, "beta": 1}, {"alpha": 2, "beta": 2}]) is None
    assert repeated_ratios([{"beta": 1}, {"beta": 2}]) is None
    assert repeated_ratios([{"beta": 1}, {"beta": 1}]) is not None


def test_weights_of_style_layer_weights_are_part_of_beta():
    rows = [
        {"alpha": 1, "beta": 2, "tv": 3, "style_layer_weights": (1, 0.5)},
        {"alpha": 1, "beta": 1, "tv": 3, "style_layer_weights": (2, 1)},
        {"alpha": 1, "beta": 1, "tv": 3, "style_layer_weights": (1, 2)},
    ]
    assert repeated_ratios(rows).startswith("1 of 3 lanes")
    assert repeated_ratios(rows[1:]) is None
    assert repeated_ratios([rows[0], {**rows[1], "style_layer_weights": (2, 1, 1)}]) is None


def test_weights_of_content_layers_are_part_of_alpha():
    rows = [
        {"alpha": 2, "beta": 2, "tv": 0, "content_layer_weights": (1, 0.5)},
        {"alpha": 1, "beta": 2, "tv": 0, "content_layer_weights": (2, 1)},
        {"alpha": 1, "beta": 2, "tv": 0, "content_layer_weights": (1, 2)},
    ]
    assert repeated_ratios(rows).startswith("1 of 3 lanes")
    assert repeated_ratios(rows[1:]) is None


@pytest.mark.parametrize("seed", range(5))
def test_repeats_are_counted_exactly(seed):
    # Integers: the ratio in lowest terms is the oracle.
    weights = np.random.default_rng(seed).integers(0, 6, (80, 3))
    rows = rows_of(*(weights * [0.1, 1e-4, 3e5]).tolist())
    distinct = {tuple(w // max(math.gcd(*w.tolist()), 1)) for w in weights}
    assert repeated_ratios(rows).startswith(f"{80 - len(distinct)} of 80 lanes")


def test_values_of_ranges_repeat_though_rounded():
    rows = combine_values({"alpha": ["0.1:10:9"], "beta": ["0.01:1:9"], "tv": [0]})
    assert repeated_ratios(rows).startswith("64 of 81 lanes")  # 17 ratios
    assert repeated_ratios(combine_values({"alpha": [1], "beta": ["0.01:1:900"], "tv": [30]})) is None


def test_adam_is_invariant_to_what_is_called_a_repeat(x64):
    def last(alpha, beta, tv):
        def loss(x):
            return alpha * jnp.sum((x - 1) ** 2) + beta * jnp.sum((x**2 - 3) ** 2) + tv * jnp.sum(jnp.diff(x) ** 2)

        optimizer, gradient = optax.adam(0.03, b2=0.99), jax.jit(jax.grad(loss))
        x = jnp.linspace(-1, 2, 8)
        state = optimizer.init(x)
        for _ in range(20):
            updates, state = optimizer.update(gradient(x), state)
            x = optax.apply_updates(x, updates)
        return np.asarray(x)

    for other, repeats in [((7, 14, 21), True), ((7, 14, 3), False)]:
        assert (repeated_ratios(rows_of((1, 2, 3), other)) is not None) == repeats
        assert (np.abs(last(1, 2, 3) - last(*other)).max() < 1e-6) == repeats


# Finer grids.


def betas(rows):
    return [row["beta"] for row in rows]


def test_refine_fills_both_sides_evenly():
    rows = combine_values({"beta": ["0.01:100:5"], "tv": [30], "seed": [1]})
    finer = refine(rows, 2, [True] * 5, 4)
    np.testing.assert_allclose(np.log10(betas(finer)), [-2 / 3, -1 / 3, 1 / 3, 2 / 3], rtol=0, atol=1e-6)
    assert all(row["tv"] == 30 and row["seed"] == 1 for row in finer)
    np.testing.assert_allclose(np.log10(betas(refine(rows, 2, [True] * 5, 3))), [-2 / 3, -1 / 3, 0.5], atol=1e-6)


def test_refine_at_the_end_of_the_sweep_has_one_side():
    rows = combine_values({"beta": [1, 10, 100]})
    np.testing.assert_allclose(np.log10(betas(refine(rows, 2, [True] * 3, 3))), [1.25, 1.5, 1.75], atol=1e-6)
    np.testing.assert_allclose(np.log10(betas(refine(rows, 0, [True] * 3, 1))), [0.5], atol=1e-6)


def test_refine_reaches_to_the_neighbours_on_the_front():
    rows = combine_values({"beta": ["0.001:1000:7"]})
    front = [False, True, False, True, False, False, True]
    found = np.log10(betas(refine(rows, 3, front, 5)))
    np.testing.assert_allclose(found, [-1.5, -0.5, 0.5, 1.5, 2.5], atol=1e-6)
    # Beyond the front's end, the next lane bounds it.
    front = [False, False, False, True, False, True, False]
    np.testing.assert_allclose(np.log10(betas(refine(rows, 3, front, 3))), [-0.5, 0.5, 1.5], atol=1e-6)


def test_refine_two_settings_is_a_product():
    rows = combine_values({"beta": ["0.1:10:3"], "tv": ["1:100:3"]})
    finer = refine(rows, 4, [True] * 9, 4)
    assert [(r["beta"], r["tv"]) for r in finer] == list(itertools.product([0.3162278, 3.162278], [3.162278, 31.62278]))
    for count, lanes in [(1, 1), (2, 2), (3, 3), (5, 4), (6, 6), (7, 6), (9, 9), (16, 16), (1000, 31 * 32)]:
        finer = refine(rows, 4, [True] * 9, count)
        assert len(finer) == lanes
        assert not [row for row in finer if row in rows]
        assert len({tuple(row.values()) for row in finer}) == lanes


def test_refine_three_settings():
    rows = combine_values({"beta": ["0.1:10:3"], "tv": ["1:100:3"], "learning_rate": ["0.01:1:3"]})
    assert len(refine(rows, 13, [True] * 27, 8)) == 8
    assert len(refine(rows, 13, [True] * 27, 64)) == 64


@pytest.mark.parametrize("seed", range(30))
def test_refine_never_repeats_and_stays_between_the_neighbours(seed):
    rng = np.random.default_rng(seed)
    rows = combine_values({"beta": rng.choice(np.logspace(-3, 3, 13), rng.integers(2, 9), replace=False), "tv": [0, 5]})
    front, index, count = rng.random(len(rows)) < 0.5, int(rng.integers(len(rows))), int(rng.integers(1, 12))
    picked = rows[index]["beta"]
    below = [r["beta"] for r in rows if r["beta"] < picked]
    above = [r["beta"] for r in rows if r["beta"] > picked]
    low = max((r["beta"] for r, on in zip(rows, front, strict=True) if on and r["beta"] < picked), default=None)
    high = min((r["beta"] for r, on in zip(rows, front, strict=True) if on and r["beta"] > picked), default=None)
    low = max(below, default=picked) if low is None else low
    high = min(above, default=picked) if high is None else high
    finer = refine(rows, index, front, count)
    assert len(finer) == count
    assert all(low < b < high for b in betas(finer))
    assert not set(betas(finer)) & set(betas(rows))
    assert len(set(betas(finer))) == count
    assert all(row["tv"] == rows[index]["tv"] for row in finer)
    # No gap that is left is wider than twice any that was made: the widest was always taken.
    ran = sorted({*betas(rows), *betas(finer)})
    gaps = [(math.log(b / a), {a, b} & set(betas(finer))) for a, b in itertools.pairwise(ran) if low <= a and b <= high]
    assert max(g for g, _ in gaps) <= 2 * min(g for g, made in gaps if made) * (1 + 1e-5)


def test_refine_leaves_what_has_no_scale():
    rows = combine_values({"beta": [1, 10], "tv": [0, 30], "seed": [1, 2], "style_layer_weights": [[1, 0], [0, 1]]})
    index = rows.index({"beta": 10, "tv": 0, "seed": 2, "style_layer_weights": (0, 1)})
    finer = refine(rows, index, [True] * 16, 2)  # from tv 0 no ratio leads anywhere
    assert [{**row, "beta": None} for row in finer] == [{**rows[index], "beta": None}] * 2
    np.testing.assert_allclose(np.log10(betas(finer)), [1 / 3, 2 / 3], atol=1e-6)
    assert refine(combine_values({"seed": [1, 2, 3]}), 1, [True] * 3, 5) == []
    assert refine(combine_values({"style_scale": [0.5, 1, 2]}), 1, [True] * 3, 5) == []  # their images are not read
    assert refine([{"beta": 1.0, "tv": 2.0}], 0, [True], 5) == []
    rows = [{"beta": b, "picture": "cat.png"} for b in (1.0, 100.0)]
    assert refine(rows, 0, [True, True], 1) == [{"beta": 10.0, "picture": "cat.png"}]


def test_refine_where_no_number_is_left_between():
    assert refine([{"beta": 1.0}, {"beta": 1.0000001}], 0, [True, True], 3) == []
    assert betas(refine([{"beta": 1e-300}, {"beta": 3e38}], 0, [True, True], 1)) == [pytest.approx(5.477226e-131)]


@pytest.mark.parametrize(
    ("index", "front", "count"), [(3, [True] * 3, 1), (-1, [True] * 3, 1), (0, [True], 1), (0, [True] * 3, 0)]
)
def test_refine_refuses_what_is_no_lane(index, front, count):
    with pytest.raises(ValueError, match="refine needs an index below 3, a front of 3 and a count of 1 or more"):
        refine(combine_values({"beta": [1, 2, 3]}), index, front, count)


def test_refining_the_knee_goes_on_from_a_sweep():
    # Losses of a smooth trade-off whose knee is at beta 2; two finer grids close in on it.
    from jaxstyle.evaluate.select import knee, pareto_front

    def losses(rows):
        x = np.log10([row["beta"] / 2 for row in rows])
        return 1 / (1 + 10.0**-x), 1 / (1 + 10.0**x) ** 2

    rows = combine_values({"beta": ["0.001:1000:7"]})
    widths = []
    for _ in range(3):
        content, style = losses(rows)
        picked = knee(content, style)
        widths.append(abs(math.log10(rows[picked]["beta"] / 2)))
        rows += grids.refine(rows, picked, pareto_front(content, style), 6)
    assert widths[-1] < 0.1
