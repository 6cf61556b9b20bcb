import json
from fractions import Fraction

import numpy as np
import pytest

from jaxstyle.evaluate.cross_validation import cross_validate
from jaxstyle.evaluate.select import closest, knee, pareto_front
from tests.command import fails, jaxstyle, read_table
from tests.run_folders import add_strengths, make_run

nan, inf = np.nan, np.inf


def naive_front(content, style, ok):
    """Find the front by its definition, comparing every lane with every other."""
    alive = [o and np.isfinite(c) and np.isfinite(s) for c, s, o in zip(content, style, ok, strict=True)]

    def dominated(i):
        return any(
            alive[j]
            and content[j] <= content[i]
            and style[j] <= style[i]
            and (content[j] < content[i] or style[j] < style[i])
            for j in range(len(content))
        )

    return [alive[i] and not dominated(i) for i in range(len(content))]


def naive_scores(content, style, ok, weight):
    """Compute exact scores as fractions; lanes that failed get None."""
    front = [i for i, on in enumerate(naive_front(content, style, ok)) if on]

    def axis(values, i):
        values = [Fraction(float(v)) if np.isfinite(v) else None for v in values]
        low, high = min(values[j] for j in front), max(values[j] for j in front)
        if low == high:
            return Fraction(values[i] > low)
        return min(max((values[i] - low) / (high - low), Fraction(0)), Fraction(1))

    alive = [o and np.isfinite(c) and np.isfinite(s) for c, s, o in zip(content, style, ok, strict=True)]
    w = Fraction(weight)
    return [w * axis(content, i) + (1 - w) * axis(style, i) if a else None for i, a in enumerate(alive)]


def random_lanes(seed, lanes=30, ties=True):
    """Make lanes of which some failed; with ties they lie on a coarse lattice, so that many are equal."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, (2, lanes)) * 0.5 if ties else rng.lognormal(size=(2, lanes))
    content, style = values.astype(np.float64)
    content[rng.integers(lanes, size=2)] = [nan, inf]
    style[rng.integers(lanes, size=2)] = [nan, -inf]
    return content, style, rng.random(lanes) < 0.85


# The front.


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ties", [True, False])
def test_front_is_that_of_the_definition(seed, ties):
    content, style, ok = random_lanes(seed, ties=ties)
    front = pareto_front(content, style, ok)
    assert front.dtype == bool
    assert front.tolist() == naive_front(content, style, ok)
    assert pareto_front(content, style).tolist() == naive_front(content, style, np.ones(len(ok), bool))


def test_front_of_known_lanes():
    #         on   on  equal  worse style  worse content  both worse
    content = [1, 2, 2, 1, 4, 5]
    style = [5, 3, 3, 6, 3, 9]
    assert pareto_front(content, style).tolist() == [True, True, True, False, False, False]
    # Without lanes 1 and 2, the fifth is on the front, since failed lanes dominate nothing.
    ok = [True, False, False, True, True, True]
    assert pareto_front(content, style, ok).tolist() == [True, False, False, False, True, False]


def test_failed_lanes_never_dominate():
    assert pareto_front([-inf, nan, 0, 1], [0, -5, -inf, 1]).tolist() == [False, False, False, True]
    assert pareto_front([0, 1], [0, 1], [False, True]).tolist() == [False, True]
    assert pareto_front([0.0, -0.0], [1, 1]).all()
    assert not pareto_front([nan, 1], [1, nan]).any()


def test_front_of_many_lanes():
    x = np.random.default_rng(0).permutation(200_000).astype(float)
    front = pareto_front(np.concatenate([x, x + 1]), np.concatenate([-x, -x + 1]))
    assert front[: len(x)].all()
    assert not front[len(x) :].any()


# The knee.


def test_knee_of_a_hyperbola():
    # y = 1/x from 1/a to a: by symmetry, the point (1, 1) is the farthest below the chord.
    x = np.geomspace(0.01, 100, 41)
    assert knee(x, 1 / x) == 20
    assert knee(x, 7 / x) == 20


def test_knee_is_where_the_slope_is_that_of_the_chord():
    # y = (1 - sqrt(x))^2 from (0, 1) to (1, 0): its slope is -1 at x = 1/4.
    x = np.linspace(0, 1, 401)
    assert x[knee(x, (1 - np.sqrt(x)) ** 2)] == pytest.approx(0.25, abs=1e-12)
    # On a quarter of an ellipse it is at 1 - 1/sqrt(2) of each axis.
    angle = np.linspace(0, np.pi / 2, 201)
    assert knee(300 * (1 - np.cos(angle)), 0.01 * (1 - np.sin(angle))) == 100


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("digits", [1, 9])
def test_knee_is_the_farthest_from_the_chord(seed, digits):
    rng = np.random.default_rng(seed)
    content = rng.lognormal(size=60)
    style = np.round(3e4 / content * rng.lognormal(size=60, sigma=0.3), digits - 5)
    content, ok = np.round(content, digits), rng.random(60) < 0.8
    front = [i for i, on in enumerate(naive_front(content, style, ok)) if on]
    a, b = min(front, key=lambda i: content[i]), max(front, key=lambda i: content[i])
    scale = np.array([content[b] - content[a], style[a] - style[b]])
    chord = (np.array([content[b], style[b]]) - [content[a], style[a]]) / scale

    def below(i):
        to = (np.array([content[i], style[i]]) - [content[a], style[a]]) / scale
        return (to[0] * chord[1] - to[1] * chord[0]) / np.linalg.norm(chord)

    found = knee(content, style, ok)
    assert found in front
    distances = [below(i) for i in front]
    assert max(distances) > 0.01
    assert below(found) == pytest.approx(max(distances), abs=1e-12)


def test_knee_without_one_is_the_most_balanced_lane():
    x = np.linspace(0, 1, 11)
    assert knee(x, 1 - x) == 5  # straight
    assert knee(x, np.sqrt(1 - x**2)) == 7  # concave: (0.7, 0.714)
    assert knee(x * 0.1 + 0.3, (1 - x) * 300) == 5  # straight, with rounding
    assert knee([0, 0.7, 0.78, 1], [1, 0.7, 0.69, 0]) == 1  # concave: lane 2 is farther from the chord, on its far side


def test_knee_is_below_the_chord_not_above():
    assert knee([0, 0.2, 0.8, 1], [1, 0.75, 0.7, 0]) == 1


def test_knee_of_few_lanes():
    assert knee([nan, 2.0], [1, 1]) == 1
    assert knee([3.0, 3.0, 4.0], [2, 2, 2]) == 0  # equal ones: the first
    assert knee([2, 1], [1, 2]) == 1  # two ends, alike in all but the content loss
    assert knee([1, 2], [1, 2], [False, False]) is None
    assert knee([nan], [1]) is None
    assert closest([nan], [1], 0.5) is None


def test_knee_ignores_lanes_off_the_front():
    x = np.geomspace(0.01, 100, 41)
    content, style = np.append(x, [1e30, 50, 0.02]), np.append(1 / x, [1e30, 1e9, 50.5])
    assert knee(content, style) == 20


# Closest to a trade-off.


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
def test_closest_has_the_lowest_score(seed, ties, weight):
    content, style, ok = random_lanes(seed, ties=ties)
    scores = naive_scores(content, style, ok, weight)
    found = closest(content, style, weight, ok)
    assert naive_front(content, style, ok)[found]
    assert float(scores[found] - min(s for s in scores if s is not None)) < 1e-12


def test_closest_at_the_ends_of_the_weight():
    content, style = [1, 1, 2, 5, 5], [9, 8, 4, 1, 3]
    assert closest(content, style, 1) == 1  # lane 0 is as good in content, but dominated
    assert closest(content, style, 0) == 3
    # Normalised, lane 2 is (1/4, 3/7), which is better than (1, 0) if w > 4/11, and than (0, 1) if w < 16/23.
    assert closest(content, style, 4 / 11 - 1e-6) == 3
    assert closest(content, style, 4 / 11 + 1e-6) == 2
    assert closest(content, style, 16 / 23 - 1e-6) == 2
    assert closest(content, style, 16 / 23 + 1e-6) == 1


@pytest.mark.parametrize("seed", range(10))
def test_more_content_weight_never_gives_more_content_loss(seed):
    content, style, ok = random_lanes(seed, ties=False)
    chosen = [closest(content, style, w, ok) for w in np.linspace(0, 1, 21)]
    assert (np.diff(content[chosen]) <= 0).all()
    assert (np.diff(style[chosen]) >= 0).all()


# Both, however the lanes are given.


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("pick", [knee, lambda c, s, ok: closest(c, s, 0.3, ok)])
def test_units_and_order_do_not_matter(seed, pick):
    rng = np.random.default_rng(seed)
    content, style, ok = random_lanes(seed, ties=seed % 2 == 0)
    found = pick(content, style, ok)
    for scale in (1e-300, 1e-7, 3.0, 1e12, 1e300):
        assert pick(content * scale, style, ok) == found
        assert pick(content, style * scale, ok) == found
    order = rng.permutation(len(ok))
    again = order[pick(content[order], style[order], ok[order])]
    assert (content[again], style[again]) == (content[found], style[found])
    assert (
        pareto_front(content[order], style[order], ok[order]).tolist()
        == pareto_front(content, style, ok)[order].tolist()
    )


def test_losses_of_any_size():
    x = np.geomspace(0.01, 100, 41)
    assert knee(x * 1e306, (1 / x - 50) * 3e306) == 20
    assert knee([0, 5e-324, 1e-323], [3, 1, 0]) == 1
    assert knee(x.astype(np.float32), (1 / x).astype(np.float32)) == 20
    assert knee([0, 1, 10], [10, 1, 0]) == 1
    big = 1.7e308
    assert knee([-big, -big / 2, big], [1, 0.2, 0]) == 1


# Cross-validation.


def pairs_of_images(seed=0, pairs=6, settings=7):
    """Make convex fronts, whose scale spans decades and whose best setting shifts from pair to pair."""
    rng = np.random.default_rng(seed)
    position = np.linspace(-2, 2, settings) + rng.normal(0, 0.5, (pairs, 1))
    content = rng.lognormal(0, 3, (pairs, 1)) * (1 / (1 + np.exp(-2 * position)) + 0.1)
    style = rng.lognormal(0, 3, (pairs, 1)) * (1 / (1 + np.exp(2 * position + 1)) + 0.01)
    return content, style


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("folds", [None, 3])
def test_cross_validation_is_that_of_a_loop(seed, weight, folds):
    content, style = pairs_of_images(seed)
    ok = np.random.default_rng(seed).random(content.shape) < 0.95
    ok[:, 2:4] = True
    result = cross_validate(content, style, ok, content_weight=weight, folds=folds)
    table = [naive_scores(c, s, o, weight) for c, s, o in zip(content, style, ok, strict=True)]

    def mean(setting, pairs, failed):
        scores = [table[p][setting] for p in pairs]
        if failed is None and None in scores:
            return None
        return sum(failed if s is None else s for s in scores) / len(scores)

    def choose(pairs):
        means = {j: mean(j, pairs, None) for j in range(7)}
        return min((m, j) for j, m in means.items() if m is not None)[1]

    count = folds or 6
    by_fold = []
    for k in range(count):
        out = [p for p in range(6) if p % count == k]
        chosen = choose([p for p in range(6) if p not in out])
        assert result.chosen_by_fold[k] == chosen
        by_fold.append(float(mean(chosen, out, Fraction(1))))
    assert result.fold.tolist() == [p % count for p in range(6)]
    np.testing.assert_allclose(result.score_by_fold, by_fold, rtol=0, atol=1e-14)
    assert result.score == pytest.approx(sum(by_fold) / count, abs=1e-14)
    assert result.spread == pytest.approx(np.sqrt(np.square(by_fold - np.mean(by_fold)).sum() / (count - 1)), abs=1e-14)
    assert result.chosen == choose(range(6))
    fixed = [mean(j, range(6), None) for j in range(7)]
    np.testing.assert_allclose(result.fixed_scores, [nan if f is None else float(f) for f in fixed], atol=1e-14)
    assert result.best.tolist() == [closest(c, s, weight, o) for c, s, o in zip(content, style, ok, strict=True)]
    lowest = [float(min(s for s in row if s is not None)) for row in table]
    np.testing.assert_allclose(result.best_scores, lowest, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(np.isnan(result.scores), ~ok)
    assert result.score >= result.best_scores.mean()


def test_one_setting_that_fits_all_costs_nothing():
    content = np.outer([1, 50, 0.3], [0, 1, 4, 10])
    style = np.outer([7, 0.01, 2], [10, 1, 0.5, 0])
    result = cross_validate(content, style, content_weight=0.5)
    assert result.chosen == 1
    assert result.chosen_by_fold.tolist() == [1, 1, 1]
    assert result.best.tolist() == [1, 1, 1]
    np.testing.assert_allclose(result.fixed_scores, [0.5, 0.1, 0.225, 0.5], rtol=1e-14)
    np.testing.assert_allclose([result.score, *result.best_scores], 0.1, rtol=1e-14)
    assert result.spread == pytest.approx(0, abs=1e-15)


def test_a_pair_held_out_has_no_say():
    content, style = pairs_of_images(3)
    before = cross_validate(content, style, content_weight=0.4)
    content[2], style[2] = style[2, ::-1].copy() * 1e6, content[2, ::-1].copy()
    after = cross_validate(content, style, content_weight=0.4)
    assert before.chosen_by_fold[2] == after.chosen_by_fold[2]
    assert (before.scores[2] != after.scores[2]).any()
    others = np.arange(6) != 2
    np.testing.assert_array_equal(before.scores[others], after.scores[others])


def test_pairs_count_the_same_whatever_their_scale():
    content, style = pairs_of_images(1)
    result = cross_validate(content, style, content_weight=0.4)
    scale = np.array([[1e-9], [1e9], [2], [1], [1e3], [1e-3]])
    again = cross_validate(content * scale, style / scale, content_weight=0.4)
    np.testing.assert_allclose(again.scores, result.scores, rtol=0, atol=1e-13)
    assert again.chosen == result.chosen
    order = [3, 1, 0, 6, 2, 5, 4]
    permuted = cross_validate(content[:, order], style[:, order], content_weight=0.4)
    assert order[permuted.chosen] == result.chosen
    assert [order[j] for j in permuted.chosen_by_fold] == result.chosen_by_fold.tolist()


def test_groups_are_held_out_together():
    content, style = pairs_of_images(5)
    names = ["cat", "dog", "cat", "owl", "dog", "cat"]
    result = cross_validate(content, style, content_weight=0.4, groups=names)
    assert result.fold.tolist() == [0, 1, 0, 2, 1, 0]
    assert len(result.chosen_by_fold) == 3
    two = cross_validate(content, style, content_weight=0.4, groups=np.array([7, 1, 7, 3, 1, 7]), folds=2)
    assert two.fold.tolist() == [0, 1, 0, 0, 1, 0]
    assert two.score == pytest.approx((4 * two.score_by_fold[0] + 2 * two.score_by_fold[1]) / 6, abs=1e-14)


def test_a_setting_that_failed_in_training_is_not_chosen():
    content = np.outer([1, 1, 1], [0.0, 1, 4, 10])
    style = np.outer([1, 1, 1], [10, 1, 0.5, 0])
    content[1, 1] = nan  # setting 1, the best, failed on pair 1
    result = cross_validate(content, style, content_weight=0.5)
    assert result.chosen == 2
    assert result.chosen_by_fold.tolist() == [2, 1, 2]
    np.testing.assert_allclose(result.score_by_fold, [0.225, 1, 0.225], rtol=1e-14)  # fold 1 chose one that failed
    np.testing.assert_allclose(result.fixed_scores, [0.5, nan, 0.225, 0.5], rtol=1e-14)
    assert result.best.tolist() == [1, 2, 1]


def test_scores_stay_in_the_unit_interval():
    # Lane 3 went astray on pair 0, and mustn't make all others alike. On pair 1 one lane beats all.
    content, style = [[0, 1, 10, 1e9], [3, 1, 2, 1]], [[10, 1, 0, 5], [3, 1, 1, 2]]
    scores = cross_validate(content, style, content_weight=0.5).scores
    np.testing.assert_allclose(scores, [[0.5, 0.1, 0.5, 0.75], [1, 0, 0.5, 0.5]], rtol=1e-14)


# What can't be used.


@pytest.mark.parametrize(
    ("content", "style", "ok", "message"),
    [
        ([], [], None, r"at least one of each, got \(0,\) and \(0,\)"),
        ([1, 2], [1, 2, 3], None, r"one shape \(lanes\).* got \(2,\) and \(3,\)"),
        ([[1, 2]], [[1, 2]], None, r"one shape \(lanes\)"),
        (1.0, 2.0, None, r"one shape \(lanes\)"),
        (["a", "b"], [1, 2], None, r"must be numbers"),
        ([None, 1], [1, 2], None, r"must be numbers"),
        ([1j, 1], [1, 2], None, r"must be numbers"),
        ([[1], [1, 2]], [1, 2], None, r"must be numbers"),
        ([1, 2], [1, 2], [True], r"ok must be booleans of shape \(2,\), got bool of shape \(1,\)"),
        ([1, 2], [1, 2], [1, 0], r"ok must be booleans .* got int64"),
    ],
)
def test_broken_lanes(content, style, ok, message):
    calls = [
        lambda: pareto_front(content, style, ok),
        lambda: knee(content, style, ok),
        lambda: closest(content, style, 0.5, ok),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("weight", [-0.1, 1.1, nan, inf])
def test_broken_weight(weight):
    with pytest.raises(ValueError, match="content_weight must be from 0 to 1"):
        closest([1], [1], weight)
    with pytest.raises(ValueError, match="content_weight must be from 0 to 1"):
        cross_validate([[1], [1]], [[1], [1]], content_weight=weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": [1, 2, 3]}, r"one shape \(pairs, settings\)"),
        ({"content": np.zeros((0, 3)), "style": np.zeros((0, 3))}, r"at least one of each"),
        ({"content": [[1, 2, 3]], "style": [[1, 2, 3]]}, r"two or more pairs or groups, got 1"),
        ({"folds": 1}, r"folds must be None or a whole number from 2 to 3, got 1"),
        ({"folds": 4}, r"from 2 to 3, got 4"),
        ({"folds": 2.5}, r"from 2 to 3, got 2.5"),
        ({"groups": ["a", "b"]}, r"groups must be 3 ids, one a pair, got 2"),
        ({"groups": ["a", "a", "a"]}, r"two or more pairs or groups, got 1"),
        ({"groups": ["a", "b", "a"], "folds": 3}, r"from 2 to 2, got 3"),
        ({"ok": np.ones((3, 2), bool)}, r"ok must be booleans of shape \(3, 3\)"),
        ({"ok": [[True] * 3, [False] * 3, [True] * 3]}, r"every setting failed on pair 1: leave that pair out"),
        ({"ok": ~np.eye(3, dtype=bool)}, r"no setting worked on all pairs"),
        ({"ok": np.eye(3, dtype=bool)}, r"no setting worked on all training pairs of fold 0"),
    ],
)
def test_broken_pairs(changes, message):
    usual = {"content": [[1, 2, 3]] * 3, "style": [[3, 2, 1]] * 3, "ok": None, "content_weight": 0.5}
    with pytest.raises(ValueError, match=message) as error:
        cross_validate(**{**usual, **changes})
    assert "\n" not in str(error.value)


def test_the_command_holds_out_each_style_and_each_content(tmp_path, capsys):
    """Cross-validate in a loop over the images that are held out, by the exact scores of every pair."""
    betas, contents, styles = (0.01, 0.1, 1, 10), ("cat", "coffee"), ("swirls", "mosaic", "woodcut")
    make_run(tmp_path / "run", betas=betas, tvs=(30,), contents=contents, styles=styles, size=16, steps=1)
    lanes = read_table(tmp_path / "run" / "lanes.csv")
    pairs = [(c, s) for c in range(2) for s in range(3)]
    scores = np.zeros((6, 4))
    for i in range(6):
        losses = [[float(row[name]) for row in lanes[4 * i : 4 * i + 4]] for name in ("content_loss", "style_loss")]
        scores[i] = [float(score) for score in naive_scores(*losses, [True] * 4, 0.5)]

    assert jaxstyle("select", tmp_path / "run", "--json") == 0
    found = json.loads(capsys.readouterr().out)["cross_validation"]
    assert list(found["held_out"]) == ["style", "content"]
    for kind, place in (("style", 1), ("content", 0)):
        of_pair = np.array([pair[place] for pair in pairs])
        chosen = [int(scores[of_pair != k].mean(axis=0).argmin()) for k in range(of_pair.max() + 1)]
        by_fold = [scores[of_pair == k, index].mean() for k, index in enumerate(chosen)]
        held_out = found["held_out"][kind]
        assert held_out["chosen_by_fold"] == [found["settings"][i] for i in chosen]
        assert held_out["score"] == pytest.approx(np.mean(by_fold))  # folds of one size
        assert held_out["spread"] == pytest.approx(np.std(by_fold, ddof=1))

    assert jaxstyle("select", tmp_path / "run") == 0
    out = capsys.readouterr().out
    for kind in ("style", "content"):
        assert f"chosen without a {kind} and scored on it: {found['held_out'][kind]['score']:.3f} (spread" in out
    assert jaxstyle("select", tmp_path / "run", "--json", "--hold-out", "pair") == 0
    assert list(json.loads(capsys.readouterr().out)["cross_validation"]["held_out"]) == ["pair"]


def test_strengths_are_chosen_where_betas_differ_from_pair_to_pair(tmp_path, capsys):
    """One strength for all pairs scores as one beta did before each pair got betas of its own."""
    images = {"betas": (0.01, 0.1, 1, 10, 100), "contents": ("cat", "coffee"), "styles": ("swirls", "mosaic")}
    found = []
    for name in ("beta", "strength"):
        make_run(tmp_path / name, tvs=(30,), **images, size=16, steps=1)
        if name == "strength":
            add_strengths(tmp_path / name)
        assert jaxstyle("select", tmp_path / name, "--json", "--hold-out", "style") == 0
        found.append(json.loads(capsys.readouterr().out)["cross_validation"])
    assert found[1]["settings"] == [f"strength {strength:g}" for strength in (0, 0.25, 0.5, 0.75, 1)]
    assert found[1]["fixed_scores"] == found[0]["fixed_scores"]
    place = found[0]["settings"].index(found[0]["chosen"])
    assert found[1]["chosen"] == found[1]["settings"][place]
    assert found[1]["held_out"]["style"]["score"] == found[0]["held_out"]["style"]["score"]


def test_one_style_can_not_be_held_out(tmp_path, capsys):
    make_run(tmp_path / "run", betas=(0.1, 1), contents=("cat", "coffee"), size=16, steps=1)
    assert jaxstyle("select", tmp_path / "run", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["cross_validation"]["held_out"]) == ["content"]
    reason = "no cross-validation by style: it takes 2 style images with a lane that is done, and there is 1; give anot"
    fails(capsys, 2, reason, "select", tmp_path / "run", "--hold-out", "style")
