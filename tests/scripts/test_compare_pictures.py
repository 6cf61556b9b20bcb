"""The judges against NumPy, the comparison of fronts drawn by hand, and the scripts in a short form."""

import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxstyle as js

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHALLOW = "--weights random:0 --content-layers relu1_2 --style-layers relu1_1 --steps 2 --coarse-steps 2"


@pytest.fixture
def judges(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import picture_judges

    return picture_judges


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import compare_pictures

    return compare_pictures


def of_points(judges, *points):
    """Judgements with these distances from content and style, equal by all judges of each."""
    return [judges.Judgement(near, near, far, far, far, far, 0.0, 0.0) for near, far in points]


def test_fronts_are_compared_where_both_reach(script, judges):
    first = of_points(judges, (0.4, 2.0), (0.2, 8.0), (0.5, 3.0))  # in no order; the last is worse by both
    second = of_points(judges, (0.1, 16.0), (0.3, 4.0), (0.4, 4.0))
    # From 0.2 to 0.4: the first falls from 8 to 2, the second from 8 to 4 in the middle, and stays.
    ratios = np.exp(np.interp(np.linspace(0.2, 0.4, script.POINTS), [0.2, 0.4], np.log([8, 2])))
    ratios /= np.exp(np.interp(np.linspace(0.2, 0.4, script.POINTS), [0.2, 0.3, 0.4], np.log([8, 4, 4])))
    found = script.compare(first, second, "lpips", "gram")
    assert found == pytest.approx(np.exp(np.log(ratios).mean()))
    assert script.compare(second, first, "edges", "patches") == pytest.approx(1 / found)
    assert script.compare(first, first, "lpips", "sliced") == 1
    assert np.isnan(script.compare(first, of_points(judges, (0.6, 1.0), (0.7, 1.0)), "lpips", "gram"))
    assert script.at_equal_content(first, second) == (0, 1)  # nearest to 0.3


def test_a_table_counts_what_is_won(script):
    rows = {
        name: script.Comparison({"gram|lpips": ratio}, {"frame": (1.0, 2.0, 3.0)}, ([0.5], [0.4]))
        for name, ratio in (("a", 0.5), ("b", 2.0), ("c", 1.001), ("d", np.nan))
    }
    lines = script.table(rows).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == [
        *("0.500 +", "2.000 −", "1.001 =", "-"),
        *("1.000", "1 of 3", "2.000"),
    ]


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)


def test_patches_against_numpy(judges):
    a, b = pixels(15, 17, 3), pixels(13, 20, 3, seed=1)

    def patches(x):
        places = itertools.product(range(0, x.shape[0] - 6, 2), range(0, x.shape[1] - 6, 2))
        return np.array([x[i : i + 7, j : j + 7].ravel() for i, j in places], np.float64)

    differences = np.sqrt(np.square(patches(a)[:, None] - patches(b)[None]).mean(-1))
    wanted = (differences.min(1).mean() + differences.min(0).mean()) / 2 / np.sqrt(b.var((0, 1)).mean())
    np.testing.assert_allclose(judges.patch_distance(jnp.asarray(a), jnp.asarray(b)), wanted, rtol=1e-4)
    assert judges.patch_distance(jnp.asarray(a), jnp.asarray(a)) < 2e-3


def test_artefacts_of_known_size(judges):
    flat = np.full((32, 40, 3), 0.5, np.float32)
    board = np.indices((32, 40)).sum(0)[..., None] % 2 * 2 - 1
    assert judges.checkerboard(jnp.asarray(flat)) == 0
    found = judges.checkerboard(jnp.asarray(flat + 0.1 * board, jnp.float32))
    np.testing.assert_allclose(found, 0.1 / np.sqrt(3), rtol=1e-4)  # one of three patterns
    image = pixels(64, 80, 3)
    framed = image - 0.4
    framed[6:-6, 6:-6] = image[6:-6, 6:-6]
    assert judges.frame(jnp.asarray(framed)) > judges.frame(jnp.asarray(image)) + 0.8


def test_the_earth_movers_distance_is_of_colours_alone(judges):
    image = pixels(10, 12, 3)
    shuffled = np.random.default_rng(1).permutation(image.reshape(-1, 3)).reshape(20, 6, 3)
    assert judges.emd_of_colours(image, shuffled) < 1e-4
    grey = [np.full((4, 4, 3), value, np.float32) for value in (0.0, 1.0)]
    np.testing.assert_allclose(judges.emd_of_colours(*grey), 100, atol=0.01)  # from L* 0 to 100


@pytest.mark.slow
def test_judges_rise_with_what_is_added(judges):
    params, style = js.load_lpips("alex"), pixels(64, 72, 3)
    found = [
        judges.judge(params, np.clip(style + noise, 0, 1).astype(np.float32), style, style)
        for noise in (0, 0.1 * (pixels(64, 72, 3, seed=1) - 0.5), 0.5 * (pixels(64, 72, 3, seed=1) - 0.5))
    ]
    for name in ("lpips", "edges", "gram", "sliced", "patches"):
        nothing, little, much = (getattr(one, name) for one in found)
        assert abs(nothing) < 2e-3
        assert little < much


@pytest.mark.slow
def test_runs_are_kept_and_folders_read(script, tmp_path, monkeypatch, capsys):
    runs, theirs = tmp_path / "runs", tmp_path / "theirs" / "cat_mosaic"
    theirs.mkdir(parents=True)
    for value in range(2):
        Image.fromarray(np.uint8(255 * pixels(32, 48, 3, seed=value))).save(theirs / f"{value}.png")
    inputs = ["--size", "48", "--contents", "sample:cat", "--styles", "sample:mosaic", "--runs", str(runs)]
    outputs = ["--sheet", str(tmp_path / "blind.png"), "--json", str(tmp_path / "table.json")]
    tables = []
    for second in (f"{SHALLOW} --beta 0.1 1", f"folder:{theirs.parent}"):
        monkeypatch.setattr("sys.argv", ["", f"{SHALLOW} --beta 0.1 10", second, *inputs, *outputs])
        script.main()
        tables.append(capsys.readouterr().out.splitlines()[-4:])
        monkeypatch.setattr(script, "call", None)  # nothing is left to be run
    assert all(table[0].startswith("| cat x mosaic | ") for table in tables)
    assert (tmp_path / "table.json").exists()
    assert (tmp_path / "blind.txt").read_text() in ("cat x mosaic: first, second\n", "cat x mosaic: second, first\n")
    with Image.open(tmp_path / "blind.png") as sheet:
        assert sheet.size == (4 * (48 + script.GAP), 36 + script.GAP)


@pytest.mark.slow
def test_judges_see_noise_and_frames(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    import check_judges

    settings = {"BETTER": "0.1 1 10", "ONE_SIZE": "0.1 1", "FEW": "0.01 1"}
    for name, betas in settings.items():
        monkeypatch.setattr(check_judges, name, f"{SHALLOW} --beta {betas}")
    monkeypatch.setattr(check_judges, "PAIRS", check_judges.PAIRS[-1:])
    monkeypatch.setattr("sys.argv", ["", "--size", "64", "--runs", str(tmp_path)])
    check_judges.main()
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows[0] == ["better, worse", "gram", "sliced", "patches", "frame", "checkerboard"]
    assert [row[0] for row in rows[1:]] == [
        *("coarse to fine, one size", "enough steps, too few", "as it is, with noise", "as it is, with a frame"),
    ]
    assert rows[3][-1] == rows[4][-2] == "1 of 1"  # the checkerboards of noise; a frame
