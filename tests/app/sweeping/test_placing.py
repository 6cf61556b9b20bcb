"""Lanes with a strength get betas of their own for each pair of images; LPIPS is a known function of beta here."""

import json

import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app.cli import call
from jaxstyle.app.execution.job import load_job
from jaxstyle.app.execution.progress import Progress
from jaxstyle.app.sweeping import placing, sweep_run
from jaxstyle.evaluate.metric_names import TABLE_METRICS
from jaxstyle.optimise.stopping import DIVERGED
from tests.app.settings.test_settings import settings_of
from tests.app.sweeping.test_resume import kill_after, killed, results
from tests.command import QUICKEST, fails, jaxstyle, read_table

pytestmark = pytest.mark.usefixtures("xla_convolutions")

SWEEP = ["sweep", "c.png", "s.png", *QUICKEST, "--checkpoint-every", "0", "--beta", "auto"]
HIGHEST, SLOPE = 0.6, 2.5
EVEN = (0, 0.25, 0.5, 0.75, 1)


def lpips_of(beta, middle):
    return HIGHEST / (1 + np.exp(-SLOPE * (np.log10(beta) - middle)))


def middle_of(lane):
    """Each pair of images has its curve, and so does each tv; the first look is around a beta of 1."""
    return lane["content"] + 0.5 * lane["style"] + np.log10(lane["tv"] / 30) - 1


def above_middle(strength):
    """How many decades above the middle of the curve a strength lies; the first lies 0.8 below a share of 0.4.

    Small pictures take as many steps as there are at their size, and are taken to lag behind by 0.35 decades.
    """
    share = {0: 0.4, 0.5: 0.55, 1: 0.97}[strength]
    return -np.log(1 / share - 1) / SLOPE - (0.8 if strength == 0 else 0) - 0.35 * (1 - strength)


@pytest.fixture
def measured(monkeypatch, images):
    """Pictures that are large enough for LPIPS, and LPIPS as a function of the lane; returns what was measured."""
    rng = np.random.default_rng(5)
    for name in ("c.png", "s.png", "contents/a.png", "contents/b.png", "styles/x.png", "styles/y.png"):
        (images / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (36, 40, 3), dtype=np.uint8)).save(images / name)
    measured = []

    def measure(job, pictures, enlarge=None):
        assert len(job.lanes) == len(pictures)
        small = enlarge is not None
        assert all(np.shape(enlarge(i, p) if small else p) == (36, 40, 3) for i, p in enumerate(pictures))
        measured.append((small, len(pictures)))
        found = {name: np.zeros(len(pictures)) for name in TABLE_METRICS}
        found["lpips"] = np.array([lpips_of(lane["beta"], middle_of(lane)) for lane in job.lanes])
        return found

    monkeypatch.setattr(placing, "measure_lanes", measure)
    monkeypatch.setattr(sweep_run, "measure_lanes", measure)
    return measured


def column(folder, name):
    return np.array([float(row[name]) for row in read_table(folder / "lanes.csv")])


def test_a_sweep_places_five_lanes_by_itself(images, measured, capsys):
    assert jaxstyle(*SWEEP[:-2], "--out", "run") == 0
    assert measured == [(True, 5), (True, 5), (False, 5), (False, 5)]
    strengths, betas = column(images / "run", "strength"), column(images / "run", "beta")
    np.testing.assert_array_equal(strengths, [0, 0.25, 0.5, 0.75, 1])
    steps = np.diff(lpips_of(betas, -1))
    assert steps.max() < 1.3 * steps.mean()
    record = json.loads((images / "run" / "run.json").read_text())
    assert (record["options"]["beta"], record["options"]["strength"]) == ("auto", [0, 0.25, 0.5, 0.75, 1])
    assert record["betas"] == betas.tolist()
    assert record["corrected"] == {}
    err = capsys.readouterr().err
    assert "style weights by strength: 5 pictures of 20x18 pixels, " in err
    by_hand = [*SWEEP, "--beta", *(f"{beta:g}" for beta in betas)]
    assert jaxstyle(*by_hand, "--out", "hand") == 0
    np.testing.assert_array_equal(js.load_run("run").images, js.load_run("hand").images)
    for name in ("content_loss", "style_loss", "total"):
        assert column(images / "run", name).tolist() == column(images / "hand", name).tolist()


@pytest.mark.slow
def test_a_run_killed_anywhere_keeps_its_betas(images, measured, monkeypatch):
    """Two looks and the lanes take a chunk or two each; the finished pictures are so uneven that one is corrected."""
    monkeypatch.setattr(placing, "correct_levels", lambda strengths, betas, *_: {2: betas[2] * 1.5})
    advanced = []
    real = Progress.advance
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", lambda self, *args: (advanced.append(self), real(self, *args))[1])
        assert jaxstyle(*SWEEP, "--out", "whole") == 0
    whole, of_whole = results(images / "whole"), json.loads((images / "whole" / "run.json").read_text())
    runs = list(dict.fromkeys(map(id, advanced)))
    moments = {"first look": set(), "second look": set(), "lanes": {"betas"}, "correction": {"betas", "corrected"}}
    for (moment, known), run in zip(moments.items(), runs, strict=True):
        with monkeypatch.context() as patch:
            kill_after(patch, Progress, "advance", [id(one) for one in advanced].index(run))
            killed(*SWEEP, "--out", "run", "--overwrite")
        record = json.loads((images / "run" / "run.json").read_text())
        assert known == record.keys() & {"betas", "corrected"}, moment
        assert jaxstyle("resume", "run") == 0
        assert results(images / "run") == whole, moment
        record = json.loads((images / "run" / "run.json").read_text())
        assert record["betas"] == of_whole["betas"]
        assert record["corrected"] == of_whole["corrected"] == {"2": column(images / "run", "beta")[2]}
        assert record["betas"][2] != column(images / "run", "beta")[2]


@pytest.mark.slow
def test_each_pair_and_each_set_of_lanes_gets_its_own(images, measured):
    several = [*SWEEP[:1], "contents", "styles", *SWEEP[3:], "--beta", "auto:3", "--tv", "30", "300"]
    assert jaxstyle(*several, "--out", "run") == 0
    rows = read_table(images / "run" / "lanes.csv")
    assert len(rows) == 2 * 2 * 2 * 3
    for row in rows:
        middle = middle_of({name: float(row[name]) for name in ("content", "style", "tv")})
        wanted = middle + above_middle(float(row["strength"]))
        assert np.log10(float(row["beta"])) == pytest.approx(wanted, abs=0.5 if row["strength"] == "1" else 0.15)
    zipped = [*several, "--pair", "zip", "--out", "zip"]
    assert jaxstyle(*zipped) == 0
    pairs = [(row["content"], row["style"], row["tv"], row["strength"], row["beta"]) for row in rows]
    assert [
        (row["content"], row["style"], row["tv"], row["strength"], row["beta"])
        for row in read_table(images / "zip" / "lanes.csv")
    ] == [pair for pair in pairs if pair[0] == pair[1]]


@pytest.mark.parametrize("moved", [{1: 0.5, 3: 7.0}, {3: 7.0}])
def test_a_lane_that_fails_when_it_runs_again_keeps_its_first_picture(images, measured, monkeypatch, moved):
    again, run_job = [], sweep_run.run_job.run_job

    def fail(job, options, storage=None):
        outcome = run_job(job, options, storage)
        if storage is None or storage.name != "corrected":
            return outcome
        again.extend(lane["beta"] for lane in job.lanes)
        status = np.where(np.arange(len(job.lanes)) == len(job.lanes) - 1, DIVERGED, outcome.status)
        return outcome._replace(status=status, images=[image * 0 for image in outcome.images])

    monkeypatch.setattr(sweep_run.run_job, "run_job", fail)
    monkeypatch.setattr(placing, "correct_betas", lambda *_: moved)
    assert jaxstyle(*SWEEP, "--out", "run") == 0
    assert again == list(moved.values())
    placed = json.loads((images / "run" / "run.json").read_text())["betas"]
    assert column(images / "run", "beta").tolist() == [placed[0], moved.get(1, placed[1]), *placed[2:]]
    assert [image.max() > 0 for image in js.load_run("run").images] == [True, 1 not in moved, True, True, True]


@pytest.mark.slow
def test_shards_place_their_own_lanes(images, measured):
    assert jaxstyle(*SWEEP, "--out", "whole") == 0
    for i in range(2):
        assert jaxstyle(*SWEEP, "--out", "run", "--shard", f"{i}/2") == 0
    assert jaxstyle("merge", "run") == 0
    assert column(images / "run", "beta").tolist() == column(images / "whole", "beta").tolist()
    np.testing.assert_allclose(js.load_run("run").images, js.load_run("whole").images, atol=1.01 / 255)
    record = json.loads((images / "run" / "run.json").read_text())
    assert record["betas"] == column(images / "run", "beta").tolist()


@pytest.mark.parametrize(("given", "strengths"), [("auto:1", [0.5]), ("auto:2", [0, 1])])
def test_few_lanes(images, measured, given, strengths):
    assert jaxstyle(*SWEEP, "--beta", given, "--out", "run") == 0
    assert measured[0] == (True, 5)
    assert column(images / "run", "strength").tolist() == strengths
    wanted = [above_middle(strength) - 1 for strength in strengths]
    np.testing.assert_allclose(np.log10(column(images / "run", "beta")), wanted, atol=0.5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--alpha", "0"), "alpha is 0"),
        (("--size", "30"), "images of less than 32 pixels a side have no LPIPS"),
        ((), "LPIPS hardly changes with beta"),
    ],
)
def test_where_there_are_no_levels_a_line_says_so_and_betas_have_ratios(
    images, measured, monkeypatch, capsys, options, reason
):
    if not options:
        monkeypatch.setattr(placing, "measure_lanes", lambda job, pictures, _: {"lpips": np.zeros(len(pictures))})
    monkeypatch.setattr(sweep_run, "measure_lanes", lambda *_: {})
    assert jaxstyle(*SWEEP, *options, "--out", "run") == 0
    np.testing.assert_allclose(column(images / "run", "beta"), np.geomspace(0.01, 100, 5), rtol=1e-6)
    lines = [line for line in capsys.readouterr().err.splitlines() if "no levels of strength" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"note: c.png in the style of s.png has no levels of strength ({reason}): ")


def test_small_pictures_that_fail_are_left_out(images, measured, monkeypatch):
    """All lanes above a beta of 100 fail in the first look."""
    real = placing.run_job.run_job

    def failing(job, options=None, storage=None):
        outcome = real(job, options, storage)
        if storage is not None and storage.name.startswith("placing"):
            outcome.status[[i for i, lane in enumerate(job.lanes) if lane["beta"] > 100]] = 2
        return outcome

    monkeypatch.setattr(placing.run_job, "run_job", failing)
    assert jaxstyle(*SWEEP, "--out", "run") == 0
    betas = column(images / "run", "beta")
    steps = np.diff(lpips_of(betas, -1))
    assert steps.max() < 1.5 * steps.mean()


def test_transfer_by_strength(images, measured, capsys):
    transfer = ["transfer", "c.png", "s.png", *QUICKEST]
    assert jaxstyle(*transfer, "--strength", "0.5", "-o", "half.png") == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("strength"))
    assert line.startswith("strength 0.5 is beta ")
    assert jaxstyle(*transfer, "--beta", line.rpartition(" ")[2], "-o", "beta.png") == 0
    with Image.open("half.png") as half, Image.open("beta.png") as beta:
        np.testing.assert_array_equal(np.asarray(half), np.asarray(beta))
        of_half, of_beta = (json.loads(picture.text["jaxstyle"]) for picture in (half, beta))
    assert (of_half["strength"], of_half["beta"]) == (0.5, of_beta["beta"])


def test_refined_lanes_have_strengths_between(images, measured):
    assert jaxstyle(*SWEEP, "--refine", "2", "--out", "run") == 0
    betas, strengths = column(images / "run", "beta"), column(images / "run", "strength")
    assert len(betas) == 7
    assert not set(strengths[5:]) & set(strengths[:5])
    np.testing.assert_allclose(strengths[5:], np.interp(np.log(betas[5:]), np.log(betas[:5]), strengths[:5]), atol=1e-3)


def test_strength_and_beta_exclude_each_other(images, measured, capsys):
    (images / "grid.csv").write_text("beta,strength\n1,0\n2,1\n")
    both = "give one of the two"
    fails(capsys, 2, both, *SWEEP, "--beta", "1", "--strength", "0.5", "--out", "run")
    fails(capsys, 2, both, *SWEEP[:-2], "--grid", "grid.csv", "--out", "run")
    fails(capsys, 2, "grid.csv sets beta, strength: leave --beta out", *SWEEP, "--grid", "grid.csv", "--out", "run")
    fails(capsys, 2, "give it alone", *SWEEP, "--beta", "auto:3", "10", "--out", "run")
    fails(capsys, 2, "give it alone", *SWEEP, "--beta", "auto:3", "--strength", "0", "--out", "run")
    fails(capsys, 2, "'0' is not a whole number from 1 to 1000", *SWEEP, "--beta", "auto:0", "--out", "run")
    fails(capsys, 2, "1.5 is not from 0 to 1", *SWEEP[:-2], "--strength", "1.5", "--out", "run")
    fails(capsys, 2, "'auto' is not a number", "transfer", "c.png", "s.png", "--beta", "auto", "-o", "x.png")
    assert not (images / "run").exists()


def test_grids_take_strengths_or_betas(images):
    (images / "strength.csv").write_text("strength\n0\n0.7\n")
    (images / "beta.csv").write_text("beta\n3\n7\n")
    lanes = {}
    for name in ("strength", "beta"):
        command = f"sweep c.png s.png {' '.join(QUICKEST)} --grid {name}.csv"
        lanes[name] = load_job(settings_of(command)).lanes
    assert [lane["strength"] for lane in lanes["strength"]] == [0, 0.7]
    assert [(lane["beta"], "strength" in lane) for lane in lanes["beta"]] == [(3, False), (7, False)]


@pytest.mark.parametrize("named", ["--alpha 1 10", "--grid tv.csv", "--preset nnst"])
def test_where_weights_are_named_betas_are_not_placed(images, named, monkeypatch):
    (images / "tv.csv").write_text("tv\n3\n7\n")
    found = []
    monkeypatch.setattr("jaxstyle.app.execution.job.load_job", lambda settings: found.append(settings) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call(["sweep", "c.png", "s.png", *named.split()])
    assert (found[0].lanes["beta"], found[0].lanes["strength"]) != ("auto", EVEN)
    with pytest.raises(ZeroDivisionError):
        call(["sweep", "c.png", "s.png", "--tv", "3", "7", "--preset", "gatys"])
    assert (found[1].lanes["beta"], found[1].lanes["strength"]) == ("auto", EVEN)


@pytest.mark.parametrize("preset", ["crowson", "gatys"])
def test_strengths_come_before_the_beta_of_a_preset(preset):
    settings = settings_of(f"sweep c s --preset {preset} --strength 0.5")
    assert (settings.lanes["beta"], settings.lanes["strength"]) == (None, (0.5,))
    settings = settings_of(f"sweep c s --preset {preset} --beta auto:2")
    assert (settings.lanes["beta"], settings.lanes["strength"]) == ("auto", (0, 1))


def test_the_small_pictures_take_a_tenth_of_the_work(images):
    """At 128 and at 256 px, as run: 22 steps, which are the least, and 40 of 5 pictures at 60 px beside 5 lanes."""
    for name in ("c.png", "s.png"):
        Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(images / name)
    for size, least, most in ((128, 0.09, 0.105), (256, 0.03, 0.1)):
        job = load_job(settings_of(f"sweep c.png s.png --weights random:0 --size {size}"))
        assert placing.extra_work(job, {}) == 0  # betas were given
        assert least < (alone := placing.extra_work(job, {"betas": []})) <= most
        again = placing.extra_work(job, {"betas": [], "corrected": {"1": 2.0}})
        assert again - alone == pytest.approx(1 / 5)
