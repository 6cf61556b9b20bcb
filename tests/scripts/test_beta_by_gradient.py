"""The searches whose cost the script compares, on functions whose roots are known; the table, in a short form."""

import math
from itertools import islice, pairwise
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import beta_by_gradient

        yield beta_by_gradient


class Curve:
    """1 / (1 + exp(-steepness x)), which is `wanted` at one place; counts what is asked for."""

    def __init__(self, steepness):
        self.steepness, self.asked = steepness, []

    def value(self, x):
        self.asked.append(x)
        return 1 / (1 + math.exp(-self.steepness * x))

    def gradient(self, x):
        y = self.value(x)
        return y, self.steepness * y * (1 - y)


def test_a_grid_is_even_and_has_both_ends(script):
    curve = Curve(1)
    errors = list(script.grid(curve.value, 0.5, 5))
    low, high = script.ENDS
    assert curve.asked == pytest.approx([low, 0.75 * low + 0.25 * high, (low + high) / 2, (low + 3 * high) / 4, high])
    assert errors == pytest.approx([abs(Curve(1).value(x) - 0.5) for x in curve.asked])


@pytest.mark.parametrize("wanted", [0.2, 0.5, 0.8])
def test_newton_doubles_the_digits_and_the_secant_nearly(script, wanted):
    errors = list(islice(script.newton(Curve(0.8).gradient, wanted), 7))
    errors = errors[: errors.index(min(errors)) + 1]  # at a distance of rounding there is nothing left to follow
    assert errors[-1] < 1e-12
    near = [e for e in errors if 1e-7 < e < 0.1]
    assert len(near) > 1
    assert all(after < 5 * before**2 for before, after in pairwise(near))
    errors = list(islice(script.secant(Curve(0.8).value, wanted), 12))
    assert min(errors) < 1e-10
    both = Curve(0.8), Curve(0.8)
    errors = list(islice(script.gradient_then_secant(both[0].value, both[1].gradient, wanted), 10))
    assert min(errors) < 1e-10
    assert (len(both[0].asked), both[1].asked) == (9, [sum(script.ENDS) / 2])


@pytest.mark.parametrize("method", ["newton", "secant"])
def test_a_steep_curve_does_not_lead_away(script, method):
    """Nearly flat on both sides: the plain methods would leap out of the interval."""
    curve = Curve(30)
    f = curve.gradient if method == "newton" else curve.value
    errors = list(islice(getattr(script, method)(f, 0.3), 40))
    low, high = script.ENDS
    assert all(low <= x <= high for x in curve.asked)
    assert min(errors) < 1e-6


def test_a_slope_of_the_wrong_sign_or_none_only_halves(script):
    curve = Curve(0.8)
    errors = list(islice(script.newton(lambda x: (curve.value(x), -1.0), 0.4), 30))
    assert errors[-1] < 1e-6
    constant = list(islice(script.secant(lambda _: 0.25, 0.4), 5))
    assert constant == pytest.approx([0.15] * 5)


@pytest.mark.slow
def test_the_table(script, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["beta_by_gradient.py", "--size", "52", "--steps", "3"])
    monkeypatch.setattr(script, "GRIDS", (2, 3, 5))
    script.main()
    lines = capsys.readouterr().out.splitlines()
    cost = float(lines[1].split()[3])
    assert 3.5 < cost < 7
    rows = [line.strip("| ").split(" | ") for line in lines[5:]]
    assert [row[0].split(",")[0] for row in rows] == ["grid"] * 3 + ["Newton"] * 4 + ["one gradient"] * 4 + [
        "secants"
    ] * 3
    assert rows[4][2] == f"{2 * cost:.0f}"
    for few, many in ((rows[3], rows[6]), (rows[7], rows[10]), (rows[11], rows[13])):
        assert 0 <= float(many[3]) <= float(few[3])
        assert float(many[3]) <= float(many[4])
