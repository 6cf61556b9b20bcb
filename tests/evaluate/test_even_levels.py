"""Even levels of a distance that rises with beta, against curves whose levels are known in closed form."""

import numpy as np
import pytest

from jaxstyle.evaluate.even_levels import (
    FIRST_LEVEL,
    Curve,
    correct_levels,
    fit_curve,
    place_levels,
    saturation,
    unevenness,
    wide_betas,
)

HIGHEST, MIDDLE, SLOPE = 0.6, 0.7, 2.5


def distance(beta):
    """A logistic curve of log10(beta)."""
    return HIGHEST / (1 + np.exp(-SLOPE * (np.log10(beta) - MIDDLE)))


def beta_at(share):
    """Where `distance` has this share of its highest value: the logistic curve turned around."""
    return 10 ** (MIDDLE - np.log(1 / share - 1) / SLOPE)


def lag(strengths, progress):
    """What style weights are divided by, since few steps say too little."""
    return 10 ** (0.7 * (1.5 - progress) * (1 - np.asarray(strengths)))


@pytest.fixture
def curve():
    betas = np.geomspace(1e-4, 1e6, 201)
    return fit_curve(betas, distance(betas))


def test_wide_betas_span_eight_decades_around_one():
    np.testing.assert_allclose(wide_betas(30.0, 5), [3e-3, 0.3, 30, 3e3, 3e5])


def test_a_curve_is_the_nearest_that_never_falls(rng):
    """The nearest is, at each point, the largest over a of the smallest over b of the mean from a to b."""
    y = np.sort(rng.uniform(0, 0.5, 12)) + rng.normal(0, 0.1, 12)
    betas = np.geomspace(1, 100, 12)
    order = rng.permutation(12)
    found = fit_curve(betas[order], y[order])
    wanted = [max(min(y[a : b + 1].mean() for b in range(i, 12)) for a in range(i + 1)) for i in range(12)]
    np.testing.assert_allclose(found.distances, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.log_betas, np.linspace(0, 2, 12), atol=1e-12)


def test_failed_points_are_left_out_and_flat_curves_have_no_levels():
    found = fit_curve([1, 10, 100, 1000], [0.1, np.nan, 0.4, np.inf])
    np.testing.assert_allclose(found.log_betas, [0, 2])
    np.testing.assert_allclose(found.distances, [0.1, 0.4])
    assert fit_curve([1, 10], [0.1, 0.119]) is None
    assert fit_curve([1, 10], [0.0, 0.041]) is not None  # seven steps of a cat in a painting of a shipwreck, by Gram
    assert fit_curve([1, 10], [0.4, 0.1]) is None
    assert fit_curve([1, 10, 100], [np.nan, 0.4, np.nan]) is None
    with pytest.raises(ValueError, match="equally many"):
        fit_curve([1, 10], [0.1])
    with pytest.raises(ValueError, match="above 0"):
        fit_curve([0, 10], [0.1, 0.4])


def test_levels_are_even_between_the_ends(curve):
    assert saturation(curve) == pytest.approx(np.log10(beta_at(0.97)), abs=1e-3)
    strengths = np.linspace(0.35, 0.9, 8)
    found = place_levels(curve, strengths, progress=1.0) * lag(strengths, 1)
    np.testing.assert_allclose(distance(found) / HIGHEST, FIRST_LEVEL + 0.9 * strengths, atol=2e-3)
    first, last = place_levels(curve, [0, 1], progress=1.0)
    assert first * lag(0, 1) == pytest.approx(beta_at(0.4) / 10**0.8, rel=1e-2)
    assert last == pytest.approx(beta_at(0.97), rel=1e-2)
    assert (np.diff(place_levels(curve, np.linspace(0, 1, 50), progress=1.0)) > 0).all()


def test_early_pictures_have_come_less_far(curve):
    """If shares are a power of what they will be, the levels of the early curve are those of the late one."""
    early = Curve(curve.log_betas, HIGHEST * (curve.distances / HIGHEST) ** (1 / 0.25**0.2))
    strengths = np.linspace(0.35, 0.9, 8)
    found = place_levels(early, strengths, progress=0.25, end=6.0) * lag(strengths, 0.25)
    late = place_levels(curve, strengths, progress=1.0, end=6.0) * lag(strengths, 1)
    np.testing.assert_allclose(found, late, rtol=1e-2)


def test_units_do_not_matter(curve):
    strengths = np.linspace(0, 1, 5)
    found = place_levels(curve, strengths, progress=0.5)
    other = Curve(curve.log_betas + 2, 3 * curve.distances)
    np.testing.assert_allclose(place_levels(other, strengths, progress=0.5), 100 * found, rtol=1e-9)
    for wrong in ({"strengths": [1.1]}, {"strengths": [np.nan]}, {"progress": 0}, {"progress": 1.5}):
        with pytest.raises(ValueError, match="from 0 to 1"):
            place_levels(curve, **{"strengths": strengths, "progress": 1.0} | wrong)


def test_few_points_with_a_plateau():
    """Where a curve starts late and ends early, nothing is placed on its plateaus but the last lane."""
    curve = fit_curve(wide_betas(1, 9), [0.02, 0.01, 0.0, 0.0, 0.3, 0.58, 0.6, 0.59, 0.61])
    found = np.log10(place_levels(curve, np.linspace(0, 1, 5), progress=1.0, end=3.0))
    assert ((found[1:4] > -1) & (found[1:4] < 1)).all()
    assert found[4] == pytest.approx(3)


def test_unevenness():
    assert unevenness([0, 0.25, 0.5, 1], [0.1, 0.2, 0.3, 0.5]) == pytest.approx(1)
    assert unevenness([0, 0.5, 1], [0, 0.3, 0.4]) == pytest.approx(1.5)


def test_a_correction_moves_the_lane_that_helps_most():
    strengths = np.linspace(0, 1, 5)
    betas = beta_at(np.array([0.1, 0.3, 0.4, 0.75, 0.97]))
    before = unevenness(strengths, distance(betas))
    moved = correct_levels(strengths, betas, distance(betas), 1)
    assert list(moved) == [2]
    betas[2] = moved[2]
    assert distance(betas[2]) / HIGHEST == pytest.approx((0.3 + 0.75) / 2, abs=0.03)
    assert unevenness(strengths, distance(betas)) < 1.15 < 1.6 < before


def test_corrections_stay_within_their_count_and_leave_the_ends(rng):
    strengths = np.linspace(0, 1, 11)
    betas = beta_at(np.sort(rng.uniform(0.05, 0.97, 11)))
    unevennesses = [unevenness(strengths, distance(betas))]
    for count in range(4):
        moved = correct_levels(strengths, betas, distance(betas), count)
        assert len(moved) <= count
        assert not {0, 10} & moved.keys()
        after = betas.copy()
        after[list(moved)] = list(moved.values())
        unevennesses.append(unevenness(strengths, distance(after)))
    assert unevennesses[1] == unevennesses[0] > 1.4
    assert unevennesses[4] < unevennesses[0]


def test_nothing_is_corrected_where_it_is_even_or_cannot_help():
    even = beta_at(np.array([0.1, 0.32, 0.52, 0.76, 0.97]))
    assert correct_levels(np.linspace(0, 1, 5), even, distance(even), 3) == {}
    assert correct_levels([0, 1], [1, 10], [0.1, 0.5], 3) == {}
    assert correct_levels([0, 0.5, 1], [1, 3, 10], [0.1, np.nan, 0.5], 3) == {}
    assert correct_levels([0, 0.5, 1], [1, 3, 10], [0.5, 0.2, 0.1], 3) == {}
