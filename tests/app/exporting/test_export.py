"""Exports, read back by the tools' own packages, and --log; a tool that isn't installed is left out."""

import io
import json
import math
import re
import shutil
import sqlite3
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.cli import call
from jaxstyle.app.exporting import chunk_log, to_tensorboard
from jaxstyle.app.exporting.finished_lanes import read_finished_lanes
from jaxstyle.app.exporting.new_place import new_place
from jaxstyle.app.exporting.tools import TOOLS
from jaxstyle.app.run_folder.finished_run import load_run
from jaxstyle.app.run_folder.folder import create_run
from jaxstyle.app.system.errors import StartError
from tests.command import QUICK, fails, read_table
from tests.processes import environment
from tests.run_folders import make_run

SWEEP = ["sweep", "c.png", "s.png", *QUICK[:-1], "6", "--beta", "0.1", "10", "--quiet", "--out", "run"]
LOSSES = ("content_loss", "style_loss", "tv_loss", "total")


def need(tool):
    return pytest.importorskip(TOOLS[tool].package, reason=f"the extra {tool} is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("export") / "first", betas=(0.1, 1, 10), failed=(1,), steps=4)


def start(*arguments, **variables):
    """Run the command in a process of its own, for packages that start processes or read variables when imported."""
    command = [sys.executable, "-W", "error", "-m", "jaxstyle.app.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)


def losses_of(folder, lane):
    lines = [line for line in read_table(folder / "history.csv") if line["lane"] == str(lane)]
    return {name: [float(line[name]) for line in lines] for name in LOSSES}


def final_of(folder, lane):
    return read_table(folder / "lanes.csv")[lane]


def read_events(folder):
    """The summary values in TensorBoard's files: records of length, checksum, data, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("events.out.tfevents.*")):
        data = io.BytesIO(file.read_bytes())
        while header := data.read(12):
            event = Event.FromString(data.read(struct.unpack("<Q", header[:8])[0]))
            data.read(4)
            yield from ((event.step, value) for value in event.summary.value)


def test_tensorboard_has_a_folder_a_lane(run, tmp_path):
    need("tensorboard")
    assert call(["export", str(run), "--to", "tensorboard", "--out", str(tmp_path / "tb")]) == tmp_path / "tb"
    assert sorted(p.name for p in (tmp_path / "tb").iterdir() if p.is_dir()) == ["lane_0000", "lane_0001", "lane_0002"]
    found = list(read_events(tmp_path / "tb" / "lane_0002"))
    for name, wanted in losses_of(run, 2).items():
        series = [(step, value.simple_value) for step, value in found if value.tag == name]
        assert [step for step, _ in series] == [0, 1, 2, 3]
        np.testing.assert_allclose([value for _, value in series], wanted, rtol=1e-6)
    (lpips,) = (value.simple_value for _, value in found if value.tag == "final/lpips")
    assert lpips == pytest.approx(float(final_of(run, 2)["lpips"]), rel=1e-6)
    ((step, picture),) = [(step, value.image) for step, value in found if value.tag == "picture"]
    assert step == 3
    files = (run / "images" / "lane_0002.png", io.BytesIO(picture.encoded_image_string))
    assert np.array_equal(*(np.asarray(Image.open(file)) for file in files))
    (start_info,) = [value for _, value in found if value.tag == "_hparams_/session_start_info"]
    assert b"beta" in start_info.metadata.plugin_data.content


def test_optuna_has_a_study_a_pair_and_a_trial_a_lane(tmp_path):
    optuna = need("optuna")
    run = make_run(tmp_path / "odd name?#%41", betas=(0.1, 10), styles=("swirls", "mosaic"), failed=(3,), steps=4)
    file = call(["export", str(run), "--to", "optuna"])
    assert file == run / "exports" / "optuna.db"
    creator = {"creator": lambda: sqlite3.connect(file)}
    storage = optuna.storages.RDBStorage("sqlite://", creator)
    names = optuna.get_all_study_names(storage)
    assert names == [f"odd name?#%41: cat.jpg in the style of {style}.jpg" for style in ("swirls", "mosaic")]
    study = optuna.load_study(study_name=names[0], storage=storage)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MINIMIZE"]
    for number, trial in enumerate(study.trials):
        final = final_of(run, number)
        assert trial.values == [float(final["content_loss"]), float(final["style_loss"])]
        assert trial.params["beta"] == float(final["beta"])
        assert trial.params["seed"] == 0
        assert trial.user_attrs["lpips"] == float(final["lpips"])
        assert trial.user_attrs["picture"] == str(run / "images" / f"lane_{number:04d}.png")
        assert trial.intermediate_values == dict(enumerate(losses_of(run, number)["total"]))
    assert len(study.best_trials) == 2  # each is better in one of the losses
    other = optuna.load_study(study_name=names[1], storage=storage).trials
    assert [trial.state.name for trial in other] == ["COMPLETE", "FAIL"]
    assert other[1].user_attrs["reason"] == "the loss was not finite"
    storage.engine.dispose()


def test_parquet_has_a_row_a_lane_and_a_row_a_step(run, tmp_path):
    need("parquet")
    from pyarrow import parquet

    place = call(["export", str(run), "--to", "parquet", "--out", str(tmp_path / "tables")])
    lanes = parquet.read_table(place / "lanes.parquet").to_pylist()
    for number, lane in enumerate(lanes):
        final = final_of(run, number)
        for name in ("beta", "content_loss", "style_relu3_1"):
            assert lane[name] == float(final[name])
        assert lane["lpips"] == (float(final["lpips"]) if final["lpips"] else None)
        assert (lane["run"], lane["lane"], lane["content"], lane["seed"]) == ("first", number, "cat.jpg", 0)
        assert lane["ok"] == (final["status"] == "ok")
        assert lane["picture"]["bytes"] == (run / "images" / lane["picture"]["path"]).read_bytes()
    history = parquet.read_table(place / "history.parquet").to_pydict()
    assert history["lane"] == [0] * 4 + [1] * 4 + [2] * 4
    assert history["step"] == [0, 1, 2, 3] * 3
    for name in LOSSES:
        assert history[name] == [x for lane in range(3) for x in losses_of(run, lane)[name]]


def read_wandb(file):
    """The records of a W&B file: after 7 bytes, a log of LevelDB, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


@pytest.mark.slow
def test_wandb_has_a_run_a_lane_that_can_be_uploaded(run, tmp_path):
    need("wandb")
    place = tmp_path / "w"
    done = start("export", run, "--to", "wandb", "--out", place, WANDB_MODE="offline")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"3 lanes: {place}\n", "")
    files = list(place.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 3
    by_name = {}
    for file in files:
        records = list(read_wandb(file))
        (about,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        by_name[about.display_name] = (about, records)
    assert sorted(by_name) == ["first/lane_0000", "first/lane_0001", "first/lane_0002"]
    about, records = by_name["first/lane_0002"]
    assert (about.project, about.run_group) == ("jaxstyle", "first")
    config = {item.key: json.loads(item.value_json) for item in about.config.update}
    assert (config["beta"], config["content"]) == (10, "cat.jpg")
    rows = []
    for record in records:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
    for name, wanted in losses_of(run, 2).items():
        assert [row[name] for row in rows[:4]] == wanted
    assert rows[3]["picture/_type"] == "image-file"
    codes = [record.exit.exit_code for _, some in by_name.values() for record in some if record.HasField("exit")]
    assert sorted(codes) == [0, 0, 1]
    assert not [path for path in place.rglob("*") if path.is_symlink()]


TRACKIO = """
import json, trackio
from trackio.sqlite_storage import SQLiteStorage
runs = sorted(trackio.Api().runs("jaxstyle"), key=lambda run: run.name)
print(json.dumps([[run.name, run.config, SQLiteStorage.get_logs("jaxstyle", run.name)] for run in runs]))
"""


def read_trackio(store):
    command = [sys.executable, "-c", TRACKIO]
    done = subprocess.run(command, env=environment(TRACKIO_DIR=str(store)), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_trackio_has_a_run_a_lane_in_its_own_store(run, tmp_path):
    need("trackio")
    for more in ((), ("--overwrite",)):
        done = start("export", run, "--to", "trackio", *more, TRACKIO_DIR=str(tmp_path))
        assert (done.returncode, done.stdout, done.stderr) == (0, "3 lanes: trackio has them\n", "")
        runs = read_trackio(tmp_path)
        assert [name for name, _, _ in runs] == ["first/lane_0000", "first/lane_0001", "first/lane_0002"]
        _, config, logs = runs[2]
        assert (config["beta"], config["content"], config["_Group"]) == (10, "cat.jpg", "first")
        for name, wanted in losses_of(run, 2).items():
            assert [entry[name] for entry in logs[:4]] == wanted
        assert [entry["step"] for entry in logs] == [0, 1, 2, 3, 3]
        assert logs[4]["final/lpips"] == float(final_of(run, 2)["lpips"])
        assert logs[4]["picture"]["_type"] == "trackio.image"
    again = start("export", run, "--to", "trackio", TRACKIO_DIR=str(tmp_path))
    assert again.returncode == 2
    assert again.stderr == "jaxstyle: Trackio's project jaxstyle has a run first/lane_0000; --overwrite replaces it\n"
    elsewhere = start("export", run, "--to", "trackio", "--out", "x", TRACKIO_DIR=str(tmp_path))
    assert elsewhere.stderr.startswith("jaxstyle: --out is not for trackio")


def test_artfid_has_three_folders_in_one_order(run, tmp_path, capsys):
    """The failed lane is left out, and each picture has its content and its style at the same place."""
    folder = call(["export", str(run), "--to", "artfid", "--out", str(tmp_path / "sets")])
    assert capsys.readouterr().out == f"2 of 3 lanes: {folder}\n"
    for kind, source in (("stylized", "lane_{}"), ("content", "content_0000"), ("style", "style_0000")):
        files = sorted((folder / kind).glob("*.png"))
        assert [file.stem for file in files] == ["lane_0000", "lane_0002"]
        for file in files:
            wanted = run / "images" / f"{source.format(file.stem.removeprefix('lane_'))}.png"
            assert file.read_bytes() == wanted.read_bytes()


def test_exports_replace_nothing_but_exports(run, tmp_path, capsys):
    export = ["export", run, "--to", "parquet", "--out"]
    place, own = tmp_path / "place", tmp_path / "own"
    call([*map(str, export), str(place)])
    capsys.readouterr()
    fails(capsys, 2, "place exists; give another place with --out, or --overwrite$", *export, place)
    (place / "lanes.parquet").write_bytes(b"")
    call([*map(str, export), str(place), "--overwrite"])
    capsys.readouterr()
    assert (place / "lanes.parquet").stat().st_size
    own.mkdir()
    (own / "precious").touch()
    fails(capsys, 2, "own was not made by jaxstyle export; give another place", *export, own, "--overwrite")
    assert (own / "precious").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "place"]


def test_a_run_that_is_overwritten_takes_its_exports_and_logs_along(tmp_path):
    """What the program has not made stays: other files, and links and what they lead to."""
    for tool in ("tensorboard", "optuna"):
        need(tool)
    run = make_run(tmp_path / "run", betas=(1,), steps=1)

    def write():
        for tool in ("artfid", "optuna"):
            call(["export", str(run), "--to", tool])
        with to_tensorboard.log("run", {}, run) as log:
            log(0, {"total": 1.0})
        of_wandb = run / "wandb" / "offline-run-20250101_000000-abc"
        (of_wandb / "files").mkdir(parents=True)
        (run / "wandb" / "latest-run").symlink_to(of_wandb.name)

    def overwrite():
        with create_run(str(run), overwrite=True):
            return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.name != ".lock")

    write()
    assert overwrite() == ["images"]
    make_run(tmp_path / "again", betas=(1,), steps=1).joinpath("run.json").rename(run / "run.json")
    shutil.copytree(tmp_path / "again", run, dirs_exist_ok=True)
    write()
    others = [f"{place}/mine" for place in ("exports", "exports/x", "tensorboard", "wandb")]
    for name in others:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).touch()
    call(["export", str(run), "--to", "artfid", "--out", str(tmp_path / "sets")])
    (run / "exports" / "link").symlink_to(tmp_path / "sets")
    stay = ["exports", "exports/link", "exports/x", "images", "tensorboard", "wandb", *others]
    assert overwrite() == sorted(stay)
    assert list((tmp_path / "sets").rglob("*.png"))


def test_what_fails_half_way_leaves_nothing(tmp_path):
    def fail_half_way():
        with new_place(tmp_path / "new" / "x", overwrite=False) as place:
            place.mkdir()
            (place / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert not list((tmp_path / "new").iterdir())
    with pytest.raises(StartError, match="cannot write"), new_place(tmp_path / "new" / "y", overwrite=False) as place:
        place.rmdir()


def test_what_is_no_finished_run_is_one_line(run, tmp_path, capsys):
    fails(capsys, 2, "none is not a run folder: it has no run.json$", "export", tmp_path / "none", "--to", "parquet")
    half = make_run(tmp_path / "a half")
    (half / "lanes.csv").unlink()
    line = "half has not finished; jaxstyle resume '.*a half' goes on$"
    fails(capsys, 1, line, "export", half, "--to", "parquet")
    assert not (half / "exports").exists()
    fails(capsys, 2, "invalid choice: 'clearml'", "export", run, "--to", "clearml")


@pytest.mark.parametrize("name", [name for name in TOOLS if TOOLS[name].package])
def test_a_missing_package_is_one_line_with_the_extra(run, monkeypatch, capsys, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    line = rf'needs the package {TOOLS[name].package}: pip install "jaxstyle\[{name}\]"$'
    fails(capsys, 2, f"--to {name} {line}", "export", run, "--to", name)
    if TOOLS[name].logs:
        fails(capsys, 2, f"--log {name} {line}", *SWEEP, "--log", name)


def test_lanes_without_a_history_are_read(tmp_path):
    folder = make_run(tmp_path / "run", betas=(1, 2))
    (folder / "history.csv").unlink()
    (folder / "images" / "lane_0001.png").unlink()
    first, second = read_finished_lanes(folder)
    assert (first.losses, list(first.steps), second.picture) == ({}, [], None)
    need("parquet")
    call(["export", str(folder), "--to", "parquet"])


def test_tensorboard_follows_a_run(images):
    need("tensorboard")
    seen = []
    call([*SWEEP, "--log", "tensorboard"], on_chunk=seen.append)
    found = list(read_events(images / "run" / "tensorboard"))
    for lane in (0, 1):
        for name in LOSSES:
            series = [(step, v.simple_value) for step, v in found if v.tag == f"{name}/lane_{lane:04d}"]
            wanted = [(chunk.losses_step, getattr(chunk.losses, name.removesuffix("_loss"))[lane]) for chunk in seen]
            assert [step for step, _ in series] == [step for step, _ in wanted]
            np.testing.assert_allclose([x for _, x in series], [x for _, x in wanted], rtol=1e-6)
    (options,) = [value for _, value in found if value.tag.startswith("options")]
    assert b"steps: 6" in options.tensor.string_val[0]


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["wandb", "trackio"])
def test_stores_follow_a_run(images, tool):
    need(tool)
    variables = {"TRACKIO_DIR": str(images / "store"), "WANDB_MODE": "offline"}
    done = start(*SWEEP, "--log", tool, **variables)
    assert done.returncode == 0, done.stderr
    assert "trackio" not in done.stdout.lower()
    if tool == "trackio":
        ((name, config, logs),) = read_trackio(images / "store")
        assert (name, config["steps"]) == ("run", 6)
        rows = logs
    else:
        (file,) = images.glob("run/wandb/offline-run-*/run-*.wandb")
        records = [record for record in read_wandb(file) if record.WhichOneof("record_type") == "history"]
        rows = [{i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item} for r in records]
    history = {(line["lane"], line["step"]): line for line in read_table(images / "run" / "history.csv")}
    assert rows
    for row in rows:
        step = str(int(row.get("step", row.get("_step"))))
        for lane in ("0", "1"):
            for name in LOSSES:
                found, wanted = row[f"{name}/lane_000{lane}"], float(history[lane, step][name])
                assert found == pytest.approx(wanted, rel=1e-6)


def test_a_log_that_fails_costs_a_line_and_no_run(images, monkeypatch, capsys):
    class Broken:
        @staticmethod
        def log(*_):
            raise OSError("no space")

    monkeypatch.setattr(chunk_log, "load_tool", lambda _: Broken)
    monkeypatch.setattr("jaxstyle.app.commands.run_arguments.check_tool", lambda *_: None)
    call([*SWEEP, "--log", "tensorboard"])
    line = "--log tensorboard failed, and the run goes on without it: OSError: no space"
    assert capsys.readouterr().err.count(line) == 1
    assert (images / "run" / "lanes.csv").exists()


def test_what_stops_a_run_passes_through_its_log(images):
    need("tensorboard")

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call([*SWEEP, "--log", "tensorboard"], on_chunk=stop)
    call(["resume", "run", "--quiet", "--log", "tensorboard"])
    found = {step for step, value in read_events(images / "run" / "tensorboard") if value.tag == "total/lane_0000"}
    assert len(found) >= 2


def test_a_shard_has_no_log_of_all_lanes(images, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    line = "--log writes a log of all lanes, which no process has with --shard"
    fails(capsys, 2, line, *SWEEP, "--log", "tensorboard", "--shard", "0/2")


def test_tables_of_pandas(run):
    pandas = pytest.importorskip("pandas", reason="the extra pandas is not installed")
    lanes, history = load_run(run).to_pandas()
    assert list(lanes.index) == [0, 1, 2]
    assert lanes.index.name == "lane"
    assert lanes["beta"].tolist() == [0.1, 1, 10]
    assert lanes["status"].tolist() == ["ok", "failed", "ok"]
    assert math.isnan(lanes["lpips"][1])
    assert lanes["reason"].tolist() == ["", "the loss was not finite", ""]
    assert lanes["seed"].dtype.kind == "f"
    assert history.index.names == ["lane", "step"]
    assert history.loc[(2, 3), "total"] == losses_of(run, 2)["total"][3]
    assert isinstance(history, pandas.DataFrame)


def test_without_pandas_a_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(StartError, match=re.escape('pip install "jaxstyle[pandas]"')):
        load_run(run).to_pandas()
