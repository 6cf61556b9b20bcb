"""Sweeps over many images and settings, by the command."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.app.commands import sweep
from jaxstyle.app.execution import compiled_lanes, job
from jaxstyle.app.run_folder.recorded_job import load_recorded_job
from jaxstyle.app.system.memory import OutOfMemoryError, available_memory, check_memory, memory_errors
from tests.command import FILES, QUICKEST, contents, fails, jaxstyle, read_table

pytestmark = pytest.mark.usefixtures("xla_convolutions")

BETAS = ["1e-4", "0.01", "1", "100"]


def make_folders(images):
    """Two content images of one shape and one of another, two style images."""
    rng = np.random.default_rng(8)
    for name, shape in (
        ("contents/a.png", (20, 24, 3)),
        ("contents/b.png", (24, 20, 3)),
        ("contents/c.png", (20, 24, 3)),
        ("styles/x.png", (18, 30, 3)),
        ("styles/y.png", (22, 22, 3)),
    ):
        (images / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(images / name)
    return images


@pytest.fixture
def folders(images):
    return make_folders(images)


@pytest.fixture(scope="module")
def run_of_folders(shared_images):
    """Where the folders are, with a run of all pairs."""
    with shared_images() as folder:
        make_folders(folder)
        assert jaxstyle("sweep", "contents", "styles", *QUICKEST, "--beta", "1e-4:100:4", "--out", "run") == 0
    return folder


@pytest.fixture
def all_pairs(run_of_folders, monkeypatch):
    """Its folder as the working folder."""
    monkeypatch.chdir(run_of_folders)
    return run_of_folders


@pytest.mark.slow
def test_all_pairs_of_folders_are_what_each_pair_is_alone(all_pairs):
    rows = read_table(all_pairs / "run" / "lanes.csv")
    assert [(r["content"], r["style"], r["beta"]) for r in rows] == [
        (c, s, b) for c in "012" for s in "01" for b in ("0.0001", "0.01", "1", "100")
    ]
    assert jaxstyle("sweep", "contents/b.png", "styles/y.png", *QUICKEST, "--beta", *BETAS, "--out", "one") == 0
    alone = read_table(all_pairs / "one" / "lanes.csv")
    for together, solo in zip(rows[12:16], alone, strict=True):
        for name in ("content_loss", "style_loss", "total", "style_relu1_2"):
            assert float(together[name]) == pytest.approx(float(solo[name]), rel=1e-3)
    run = js.load_run("run")
    assert [image.shape for image in run.images[::8]] == [(20, 24, 3), (24, 20, 3), (20, 24, 3)]
    for found, wanted in zip(run.images[12:16], js.load_run("one").images, strict=True):
        assert np.abs(found - wanted).mean() < 0.01
    record = json.loads((all_pairs / "run" / "run.json").read_text())
    assert [entry["file"] for entry in record["inputs"]["content"]] == ["a.png", "b.png", "c.png"]
    assert [entry["source"] for entry in record["inputs"]["style"]] == ["styles/x.png", "styles/y.png"]
    assert {"images/content_0002.png", "images/style_0001.png", "images/lane_0023.png"} < set(
        contents(all_pairs / "run")
    )


@pytest.mark.slow
def test_pairs_one_by_one(folders, capsys):
    (folders / "contents" / "notes.txt").write_text("no image")
    (folders / "contents" / "c.png").unlink()
    assert jaxstyle("sweep", "contents", "styles", *QUICKEST, "--beta", "1", "--pair", "zip", "--out", "zip") == 0
    rows = read_table(folders / "zip" / "lanes.csv")
    assert [(r["content"], r["style"]) for r in rows] == [("0", "0"), ("1", "1")]
    assert "skipped 1 of 3 in contents: notes.txt (" in capsys.readouterr().err
    assert list(json.loads((folders / "zip" / "run.json").read_text())["skipped"]) == ["notes.txt"]
    (folders / "styles" / "x.png").unlink()
    (folders / "styles" / "z.png").write_bytes((folders / "contents" / "a.png").read_bytes())
    (folders / "styles" / "w.png").write_bytes((folders / "contents" / "a.png").read_bytes())
    capsys.readouterr()
    assert jaxstyle("sweep", "contents", "styles", *QUICKEST, "--pair", "zip") == 2
    assert "there are 2 content but 3 style images" in capsys.readouterr().err


@pytest.mark.slow
def test_a_split_of_a_dataset(images, monkeypatch):
    pytest.importorskip("tensorflow_datasets", reason="pip install 'jaxstyle[tfds]'")
    from tests.tiny_dataset import build_dataset

    build_dataset(images / "tfds")
    monkeypatch.setenv("TFDS_DATA_DIR", str(images / "tfds"))
    assert jaxstyle("sweep", "tfds:tiny/plain/train[:2]", "s.png", *QUICKEST, "--beta", "1", "--out", "run") == 0
    record = json.loads((images / "run" / "run.json").read_text())
    assert [entry["file"] for entry in record["inputs"]["content"]] == ["tiny/plain/train#0", "tiny/plain/train#1"]
    sources = [f"tfds:tiny/plain/train[{i}:{i + 1}]" for i in (0, 1)]
    assert [entry["source"] for entry in record["inputs"]["content"]] == sources
    assert len(js.load_run("run").lanes) == 2


@pytest.mark.slow
def test_every_lane_setting_counts(images):
    """Each lane of a sweep over all of them is what a transfer with its settings makes."""
    (images / "grid.csv").write_text(
        "beta,tv,learning_rate,seed,style_layer_weights\n"
        "1,0,0.02,1,1 0\n1,0,0.02,2,1 0\n1,5,0.02,1,0 1\n1,0,0.2,1,1 0\n"
    )
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--init", "noise", "--grid", "grid.csv", "--out", "run") == 0
    run = js.load_run("run")
    assert len(run.lanes) == 4
    for i, (lane, image) in enumerate(zip(run.lanes, run.images, strict=True)):
        options = []
        for name in ("beta", "tv", "learning_rate", "style_layer_weights"):
            options += [f"--{name.replace('_', '-')}", lane[name]]
        options += ["--seed", int(lane["seed"]), "--init", "noise", "-o", "out.png", "--overwrite"]
        assert jaxstyle("transfer", "c.png", "s.png", *QUICKEST, *options) == 0
        with Image.open("out.png") as solo:
            assert np.abs(np.asarray(solo) / 255 - image).mean() < 2e-3
        assert min(np.abs(image - other).mean() for j, other in enumerate(run.images) if j != i) > 4e-3


@pytest.mark.slow
def test_weights_of_content_layers_count(images):
    """Each lane is what a transfer with its weights makes; a layer of weight 0 is as if it weren't there."""
    layers = ["--content-layers", "relu1_1", "relu1_2"]
    sweep = [*QUICKEST, "--style-layers", "relu1_1", "--beta", "1", "--tv", "0", "--init", "noise"]
    weights = ["1,0", "0,1", "0.5,0.5"]
    assert (
        jaxstyle("sweep", "c.png", "s.png", *sweep, *layers, "--content-layer-weights", *weights, "--out", "run") == 0
    )
    run = js.load_run("run")
    assert [lane["content_layer_weights"] for lane in run.lanes] == weights
    assert run.settings["options"]["content_layer_weights"] == [[1, 0], [0, 1], [0.5, 0.5]]
    alone = [["--content-layer-weights", each, *layers] for each in weights]
    alone += [["--content-layers", "relu1_1"], ["--content-layers", "relu1_2"], layers]
    for i, options in enumerate(alone):
        words = [*sweep, *options, "-o", "out.png", "--overwrite"]
        assert jaxstyle("transfer", "c.png", "s.png", *words) == 0
        with Image.open("out.png") as solo:
            assert np.abs(np.asarray(solo) / 255 - run.images[i % 3]).mean() < 2e-3
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(run.images[i] - run.images[j]).mean() > 4e-3


@pytest.mark.slow
def test_a_grid_file_times_lists(images, capsys):
    (images / "grid.toml").write_text("[product]\nbeta = '0.1:10:3'\n")
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--grid", "grid.toml", "--seed", 1, 2, "--out", "run") == 0
    rows = read_table(images / "run" / "lanes.csv")
    assert [(r["beta"], r["seed"]) for r in rows] == [(b, s) for b in ("0.1", "1", "10") for s in "12"]
    capsys.readouterr()
    (images / "bad.toml").write_text("[product]\ngamma = 1\n")
    fails(capsys, 2, "bad.toml.*unknown setting 'gamma'", "sweep", "c.png", "s.png", *QUICKEST, "--grid", "bad.toml")
    for option in ("--beta", "--strength"):
        both = ["sweep", "c.png", "s.png", *QUICKEST, "--grid", "grid.toml", option, "0.5"]
        fails(capsys, 2, f"grid.toml sets beta: leave {option} out, or that in the file", *both)
    weights = ["--style-layer-weights", "1,1,1"]
    fails(capsys, 2, "3 weights of style layers for 2 layers", "sweep", "c.png", "s.png", *QUICKEST, *weights)
    weights = ["--content-layer-weights", "1,1"]
    fails(capsys, 2, "2 weights of content layers for 1 layers", "sweep", "c.png", "s.png", *QUICKEST, *weights)
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--optimizer", "lbfgs"]
    fails(capsys, 2, "--learning-rate is for --optimizer adam", *sweep, "--learning-rate", "1")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_repeated_ratios_are_noted_and_make_the_same_picture(images, capsys, optimizer):
    grid = ["--alpha", "1", "100", "--beta", "1", "100", "--tv", "0", *QUICKEST, "--optimizer", optimizer]
    assert jaxstyle("sweep", "c.png", "s.png", *grid, "--out", "run") == 0
    assert "note: 1 of 4 lanes repeats the ratio" in capsys.readouterr().err
    first, other, _, last = js.load_run("run").images
    assert np.abs(first - last).mean() < 0.1 * np.abs(first - other).mean()


@pytest.mark.parametrize("init", ["content", "style", "s.png", "noise", "gray", "statistics"])
def test_seeds_repeat_lanes_unless_the_start_has_noise(capsys, init):
    lanes = [{"alpha": 1.0, "beta": 2.0, "tv": 3.0, "seed": seed} for seed in (1, 2)]
    sweep._warn(SimpleNamespace(lanes=lanes, settings=SimpleNamespace(init=init)))
    noted = capsys.readouterr().err
    assert noted.startswith("note: 1 of 2 lanes repeats") == (init in ("content", "style", "s.png"))
    assert "a seed counts only for an --init with noise" in noted or not noted


def test_refining_adds_lanes_around_the_knee(images):
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", *BETAS, "--refine", "2", "--out", "run") == 0
    found = [float(row["beta"]) for row in read_table(images / "run" / "lanes.csv")]
    assert found[:4] == [1e-4, 1e-2, 1, 100]
    assert len(found) == len(set(found)) == 6
    assert json.loads((images / "run" / "run.json").read_text())["lanes"] == 6
    assert len(js.load_run("run").images) == 6


@pytest.mark.slow
def test_out_of_memory_takes_smaller_groups(images, capsys, monkeypatch):
    real, checks = check_memory, []

    def check(compiled):
        checks.append(compiled)
        if len(checks) < 3:
            raise OutOfMemoryError
        real(compiled)

    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--style-layers", "relu1_1", "--beta", "0.1", "0.3", "1", "3", "10"]
    assert jaxstyle(*sweep, "--out", "whole") == 0
    capsys.readouterr()
    monkeypatch.setattr(compiled_lanes, "check_memory", check)
    assert jaxstyle(*sweep, "--out", "groups") == 0
    err = capsys.readouterr().err
    assert "out of memory with 5 lanes at once; trying 3\n" in err
    assert "out of memory with 3 lanes at once; trying 2\n" in err
    for name, column in js.load_run("whole").history.items():
        np.testing.assert_allclose(js.load_run("groups").history[name], column, rtol=1e-3, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("known", "pattern"),
    [((4_000_000, 1_000_000), "--size 288 should fit"), ((), "--size 448 should fit"), ((1, 0), "--size 448")],
)
def test_too_large_for_one_lane_says_what_fits(images, capsys, monkeypatch, known, pattern):
    Image.new("RGB", (640, 16)).save("c.png")

    def check(_):
        raise OutOfMemoryError(*known)

    monkeypatch.setattr(compiled_lanes, "check_memory", check)
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--size", "640"]
    fails(capsys, 1, f"out of memory: one lane of 640x16 pixels takes more than there is; {pattern}", *sweep)


def test_memory_is_checked_before_and_recognised_after():
    class Compiled:
        class Analysis:
            temp_size_in_bytes, output_size_in_bytes, alias_size_in_bytes = 2**60, 5, 3

        memory_analysis = Analysis

    assert 2**20 < available_memory() < 2**50
    with pytest.raises(OutOfMemoryError) as caught:
        check_memory(Compiled())
    assert caught.value.needed == 2**60 + 2
    Compiled.Analysis.temp_size_in_bytes = 0
    check_memory(Compiled())
    for error in (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes"), MemoryError()):
        with pytest.raises(OutOfMemoryError), memory_errors():
            raise error
    with pytest.raises(RuntimeError, match="else"), memory_errors():
        raise RuntimeError("something else")


@pytest.mark.slow
def test_metrics_are_columns_and_judge_the_right_images(images):
    sweep = ["sweep", "sample:cat", "sample:swirls", *QUICKEST, "--size", "52", "--beta", "0", "10"]
    assert jaxstyle(*sweep, "--weights", "bundled", "--steps", "10", "--tv", "0", "--out", "run") == 0
    same, changed = js.load_run("run").lanes
    assert same["lpips"] < 1e-3 < changed["lpips"]
    assert same["ssim"] > 0.99 > changed["ssim"]
    assert changed["style_distance"] < same["style_distance"]
    params = js.load_lpips("alex")
    of_run = [js.app.pictures.read_image.read_image(f"run/images/{name}_0000.png") for name in ("content", "style")]
    wanted = js.metrics.measure(params, js.load_run("run").images[1], *of_run)
    for name in ("lpips", "ssim", "edge_similarity", "style_distance", "colour_distance"):
        assert changed[name] == pytest.approx(float(getattr(wanted, name)), rel=0.05)


def select(capsys, *arguments):
    assert jaxstyle("select", "run", *arguments) == 0
    return capsys.readouterr().out


def test_select_one_pair(images, capsys):
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", *BETAS, "--out", "run") == 0
    capsys.readouterr()
    found = json.loads(select(capsys, "--json"))
    (pair,) = found["pairs"]
    assert (pair["content"], pair["style"], found["cross_validation"]) == ("c.png", "s.png", None)
    losses = np.array([(lane["content_loss"], lane["style_loss"]) for lane in js.load_run("run").lanes])
    beaten = [(np.all(losses <= point, axis=1) & np.any(losses < point, axis=1)).any() for point in losses]
    assert pair["front"] == list(np.flatnonzero(~np.array(beaten)))
    assert pair["lane"] in pair["front"]
    assert pair["settings"]["beta"] == read_table(images / "run" / "lanes.csv")[pair["lane"]]["beta"]
    ends = [json.loads(select(capsys, "--json", "--content-weight", w))["pairs"][0]["lane"] for w in (0, 1)]
    assert ends == [int(losses[:, 1].argmin()), int(losses[:, 0].argmin())]
    out = select(capsys, "--best-to", "best.png")
    assert "c.png in the style of s.png" in out
    assert f"picked: run/images/lane_{pair['lane']:04d}.png" in out
    assert (images / "best.png").read_bytes() == (
        images / "run" / "images" / f"lane_{pair['lane']:04d}.png"
    ).read_bytes()
    fails(capsys, 2, "cannot write best.png: file exists", "select", "run", "--best-to", "best.png")
    fails(capsys, 2, "best.gif does not end in .png", "select", "run", "--best-to", "best.gif")
    fails(capsys, 2, "no column 'lpips'; it has content_loss", "select", "run", "--measures", "lpips", "style_loss")
    fails(capsys, 2, "argument --content-weight: 2 is not from 0 to 1", "select", "run", "--content-weight", "2")
    fails(capsys, 2, "nothing is not a run folder", "select", "nothing")
    (images / "run" / "lanes.csv").unlink()
    fails(capsys, 2, "no lane that is done", "select", "run")


@pytest.mark.slow
def test_select_over_pairs_cross_validates(all_pairs, capsys):
    found = json.loads(select(capsys, "--json", "--best-to", "best"))
    assert len(found["pairs"]) == 6
    assert len(list((all_pairs / "best").iterdir())) == 6
    validation = found["cross_validation"]
    assert validation["settings"] == [f"beta {b}" for b in ("0.0001", "0.01", "1", "100")]
    assert {kind: len(one["chosen_by_fold"]) for kind, one in validation["held_out"].items()} == {
        "style": 2,
        "content": 3,
    }
    assert validation["best_by_pair_score"] <= min(validation["fixed_scores"])
    assert validation["fixed_scores"][validation["settings"].index(validation["chosen"])] == min(
        validation["fixed_scores"]
    )
    by_style = json.loads(select(capsys, "--json", "--hold-out", "style"))["cross_validation"]
    assert by_style["held_out"] == {"style": validation["held_out"]["style"]}
    out = select(capsys)
    assert "one setting for all: beta" in out
    for kind in ("style", "content"):
        assert f"chosen without a {kind} and scored on it: {validation['held_out'][kind]['score']:.3f} (spread" in out
    in_thirds = json.loads(select(capsys, "--json", "--folds", "3"))["cross_validation"]
    assert in_thirds["held_out"] == {"content": validation["held_out"]["content"]}


@pytest.mark.slow
def test_measures_where_higher_is_better_are_turned_around(images, capsys):
    sweep = ["sweep", "sample:cat", "sample:swirls", *QUICKEST, "--size", "52", "--beta", "0", "10"]
    assert jaxstyle(*sweep, "--out", "run") == 0
    capsys.readouterr()
    found = json.loads(select(capsys, "--json", "--measures", "ssim", "style_distance", "--content-weight", "1"))
    rows = js.load_run("run").lanes
    assert found["pairs"][0]["lane"] == max(range(2), key=lambda i: rows[i]["ssim"])


def test_report_is_made_again(images, capsys):
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run") == 0
    before = (images / "run" / "report.html").read_bytes()
    (images / "run" / "report.html").unlink()
    capsys.readouterr()
    assert jaxstyle("report", "run") == 0
    assert capsys.readouterr().out == "run/report.html\n"
    assert (images / "run" / "report.html").read_bytes() == before
    assert set(contents(images / "run")) == {*FILES, "images/lane_0000.png"}


@pytest.mark.slow
def test_bfloat16_is_close_to_float32(images):
    sweep = [
        "sweep",
        "sample:cat",
        "sample:swirls",
        *QUICKEST,  # with Adam: L-BFGS would magnify the difference from step to step
        *"--size 31 --steps 10 --beta 1 --style-loss wasserstein".split(),
        *"--weights bundled --content-layers relu2_1 --style-layers relu1_1 relu2_1".split(),
    ]
    for dtype in ("float32", "bfloat16"):
        assert jaxstyle(*sweep, "--dtype", dtype, "--out", dtype) == 0
    full, half = (js.load_run(dtype) for dtype in ("float32", "bfloat16"))
    np.testing.assert_allclose(half.history["total"], full.history["total"], rtol=0.02)
    error = np.square(half.images - full.images).mean()
    assert error > 0
    assert -10 * math.log10(error) > 30


def test_auto_chooses_the_precision_once(images, monkeypatch):
    """run.json names it, and a run that goes on elsewhere keeps it."""
    with monkeypatch.context() as patch:
        patch.setattr(job, "fast_dtype", lambda device: "bfloat16")
        assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run") == 0
    record = json.loads((images / "run" / "run.json").read_text())
    assert record["options"]["dtype"] == "bfloat16"
    assert load_recorded_job(images / "run", record, "resume").settings.dtype == "bfloat16"
    options = record["options"] | {"dtype": "auto"}
    assert load_recorded_job(images / "run", record | {"options": options}, "resume").settings.dtype == "float32"
