import math

import numpy as np
import pytest

from jaxstyle.app.settings.lane_settings import (
    LANE_SETTINGS,
    MAX_LANES,
    between,
    lane_setting,
    parse_values,
    setting_text,
)
from jaxstyle.app.system.errors import StartError
from jaxstyle.optimise.presets import PRESETS


def test_one_value():
    assert parse_values("0.25") == (0.25,)
    assert parse_values("1e-3", "tv") == (0.001,)
    assert parse_values("0", "alpha") == (0.0,)
    assert parse_values("4294967295", "seed") == (4294967295,)
    assert isinstance(parse_values("3", "seed")[0], int)


@pytest.mark.parametrize("text", ["1,0.5,0", "1 0.5 0", " 1, 0.5,  0 "])
def test_weights_of_layers(text):
    assert parse_values(text, "style_layer_weights") == ((1.0, 0.5, 0.0),)
    assert lane_setting("style_layer_weights").parse([1, 0.5, 0]) == (1.0, 0.5, 0.0)


def test_range_is_logarithmic():
    assert parse_values("0.1:100:4") == (0.1, 1, 10, 100)
    assert parse_values("1:2:2", "learning_rate") == (1, 2)
    values = parse_values("0.003:7:9", "tv")
    np.testing.assert_allclose(values, np.geomspace(0.003, 7, 9), rtol=5e-7)
    assert len(parse_values(f"1:2:{MAX_LANES}")) == MAX_LANES


def test_range_over_all_magnitudes_stays_finite():
    values = parse_values("1e-320:3e38:5")
    np.testing.assert_allclose(np.log10(values), np.linspace(-320, math.log10(3e38), 5), rtol=1e-3)
    assert between(2.0, 8.0, 0.5) == 4


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (30.0, "30"),
        (0.0, "0"),
        (1e-05, "1e-05"),
        (2e6, "2000000"),
        ((1.0, 0.5, 0.0), "1,0.5,0"),
        (7, "7"),
    ],
)
def test_texts_of_values_are_short(value, text):
    assert setting_text(value) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("style_layer_weights", PRESETS["crowson"].style_layer_weights),
        ("style_mix", (1 / 3, 2 / 3)),
        ("beta", 0.1234567891),
        ("tv", 3.4e38),
        ("seed", 2**32 - 1),
    ],
)
def test_texts_of_values_are_read_as_the_same_values(name, value):
    assert parse_values(setting_text(value), name) == (value,)


@pytest.mark.parametrize("value", [2, 2.0, "2", np.float32(2), np.int64(2), np.float64(2)])
def test_kinds_of_numbers(value):
    for setting in ("alpha", "beta", "tv", "learning_rate"):
        parsed = lane_setting(setting).parse(value)
        assert (parsed, type(parsed)) == (2.0, float)


@pytest.mark.parametrize("value", [7, "7", " 7", np.int64(7)])
def test_kinds_of_whole_numbers(value):
    parsed = lane_setting("seed").parse(value)
    assert (parsed, type(parsed)) == (7, int)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *[("beta", v, "is not a number") for v in ("", "lots", "1:2", "1:2:", True, None, [1], {"a": 1}, 1j)],
        *[("beta", v, "is not a finite number") for v in ("nan", "inf", "-inf", math.nan, -math.inf)],
        *[("beta", v, "is negative") for v in (-1, "-0.5")],
        *[("beta", v, "larger than float32 holds") for v in (1e39, "1e300", 10**40)],
        *[("learning_rate", v, "is not above 0") for v in (0, "0.0")],
        *[
            ("seed", v, "is not a whole number from 0 to 4294967295")
            for v in (-1, 1.0, "1.0", "-1", 2**32, "9" * 5000, True, "", "²", None)
        ],
        *[
            ("style_layer_weights", v, "is not a list of weights, one a layer")
            for v in (1, "", " , ", [], None, {"a": 1})
        ],
        ("style_layer_weights", [1, -2], "-2 is negative"),
        ("style_layer_weights", "1 x", "'x' is not a number"),
        ("style_layer_weights", [[1], [2]], r"\[1\] is not a number"),
    ],
)
def test_wrong_values(name, value, message):
    with pytest.raises(StartError, match=message) as error:
        lane_setting(name).parse(value)
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("digits", [400, 5000])  # Python writes no more than 4300
def test_huge_whole_numbers(digits):
    with pytest.raises(StartError, match="is larger than float32 holds"):
        lane_setting("beta").parse(10**digits)
    with pytest.raises(StartError, match="is not a whole number from 0"):
        lane_setting("seed").parse(10**digits)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("10:1:3", "beta", "10:1:3: a range LOW:HIGH:COUNT needs 0 < LOW < HIGH"),
        ("0:1:3", "beta", "needs 0 < LOW < HIGH"),
        ("1:1:3", "beta", "needs 0 < LOW < HIGH"),
        ("1:10:1", "beta", "'1' is not a whole number from 2 to 1000000"),
        ("1:10:2.5", "beta", "'2.5' is not a whole number"),
        ("1:10:1000001", "beta", "not a whole number from 2 to 1000000"),
        ("x:10:2", "beta", "'x' is not a number"),
        ("1:inf:2", "beta", "'inf' is not a finite number"),
        ("-1:1:2", "beta", "-1 is negative"),
        ("1:10:2", "seed", "seed takes no range LOW:HIGH:COUNT; list its values"),
        (
            "1",
            "gamma",
            "unknown setting 'gamma'; valid: alpha, beta, strength, tv, learning_rate, seed, style_layer_w",
        ),
        ("1", "g" * 1000, "unknown setting 'ggg"),
    ],
)
def test_wrong_texts(text, name, message):
    with pytest.raises(StartError, match=message) as error:
        parse_values(text, name)
    assert len(str(error.value)) < 220


def test_every_setting_refuses_what_is_no_value():
    for name, setting in LANE_SETTINGS.items():
        for value in (None, "nothing", math.nan, object()):
            with pytest.raises(StartError):
                setting.parse(value)
        assert setting.parse(setting.parse("1")) == parse_values("1", name)[0]
