"""Sweeps that are stopped, are killed or run out of disk, and are resumed."""

import errno
import io
import json
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxstyle.app.checkpoints import checkpoints
from jaxstyle.app.checkpoints.saved_file import DamagedError, Saved, read_saved, write_saved
from jaxstyle.app.execution import lanes_of_shape, run_job
from jaxstyle.app.execution.progress import Progress
from jaxstyle.app.sweeping import sweep_run
from jaxstyle.app.system import signals
from jaxstyle.app.system.errors import RunError
from tests.command import FILES, QUICKEST, contents, fails, jaxstyle, read_table

pytestmark = pytest.mark.usefixtures("xla_convolutions")

SWEEP = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "12", "--beta", "0.1", "1", "10", "--checkpoint-every", "0"]


class KilledError(BaseException):
    """Passes through every handler, as a kill does."""


def kill_after(monkeypatch, owner, name, calls):
    """Kill the process when it calls a function for the next time after so many calls."""
    real, made = getattr(owner, name), []

    def dying(*args, **kwargs):
        made.append(1)
        if len(made) > calls:
            raise KilledError
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, dying)


def killed(*arguments):
    from jaxstyle.app import cli

    with pytest.raises(KilledError):
        cli.main([str(a) for a in arguments])


def results(folder):
    """Read all files of a run but run.json, and without the report's command: both name the run folder."""
    found = {name: data for name, data in contents(folder).items() if name != "run.json"}
    found["report.html"] = re.sub(rb'(?<=id="made" tabindex="0"><code>)[^<]*', b"", found["report.html"])
    return found


@pytest.fixture(scope="module")
def whole(shared_images):
    with shared_images() as folder:
        assert jaxstyle(*SWEEP, "--out", "whole") == 0
        return results(folder / "whole")


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (Progress, "advance", 2),
        (sweep_run.results, "write_atomic", 3),
        pytest.param(run_job, "prepare", 0, marks=pytest.mark.slow),
        pytest.param(lanes_of_shape, "take_steps", 0, marks=pytest.mark.slow),
        pytest.param(sweep_run, "measure_lanes", 0, marks=pytest.mark.slow),
        pytest.param(sweep_run.results, "write_report", 0, marks=pytest.mark.slow),
        pytest.param(sweep_run.Checkpoints, "remove", 0, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_anywhere_is_resumed_to_the_same_bits(images, whole, monkeypatch, capsys, owner, name, calls):
    with monkeypatch.context() as patch:
        kill_after(patch, owner, name, calls)
        killed(*SWEEP, "--out", "run")
    unfinished = b'id="unfinished"' in (images / "run" / "report.html").read_bytes()
    assert unfinished != (owner is sweep_run.Checkpoints)
    capsys.readouterr()
    fails(capsys, 2, "run holds a run that has not finished: jaxstyle resume run goes on", *SWEEP, "--out", "run")
    assert jaxstyle("resume", "run") == 0
    assert results(images / "run") == whole
    assert jaxstyle("resume", "run") == 0
    assert "the run in run has finished" in capsys.readouterr().err


def refuse_checkpoints(monkeypatch, after):
    """Let the disk be full for all checkpoints after so many."""
    real, made = write_saved, []

    def write(*args):
        made.append(1)
        if len(made) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*args)

    monkeypatch.setattr(checkpoints, "write_saved", write)


def test_checkpoints_that_cannot_be_written_cost_nothing_but_a_line(images, whole, monkeypatch, capsys):
    refuse_checkpoints(monkeypatch, 3)
    capsys.readouterr()
    assert jaxstyle(*SWEEP, "--out", "run") == 0
    err = capsys.readouterr().err
    assert err.count("cannot write a checkpoint into run/checkpoint: the disk is full") == 1
    assert results(images / "run") == whole


def test_results_that_no_checkpoint_holds_are_kept_elsewhere(images, whole, monkeypatch, capsys):
    refuse_checkpoints(monkeypatch, 1)
    real = sweep_run.results.write_atomic

    def write(path, data):
        if path.parts[0] == "run":
            raise RunError(f"cannot write {path}: it is gone")
        real(path, data)

    monkeypatch.setattr(sweep_run.results, "write_atomic", write)
    capsys.readouterr()
    line = r"run/images/content_0000.png: it is gone; the results are in (\S+) instead; jaxstyle resume run goes on$"
    assert jaxstyle(*SWEEP, "--out", "run") == 1
    kept = re.search(line, capsys.readouterr().err, re.MULTILINE)[1]
    assert results(images / kept) == whole


@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")]
)
def test_a_signal_lets_the_chunk_finish_and_saves(images, whole, monkeypatch, capsys, number, status, name):
    real, sent = Progress.advance, []

    def advance(self, *args):
        real(self, *args)
        if self.step >= 3 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", advance)
        assert jaxstyle(*SWEEP[:-1], "60", "--out", "run") == status
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith(f"jaxstyle: stopped by {name} after ")
    assert err.endswith("of 12 steps; jaxstyle resume run goes on")
    (saved,) = (images / "run" / "checkpoint").glob("lanes_0000.*")
    assert read_saved(saved).about["step"] >= 3
    assert jaxstyle("resume", "run") == 0
    assert results(images / "run") == whole


def resumed_after(monkeypatch, chunks, sweep):
    """The results of a sweep that is killed after so many chunks and resumed."""
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", chunks)
        killed(*sweep, "--out", "run", "--overwrite")
    assert jaxstyle("resume", "run", "--quiet") == 0
    return results(Path("run"))


@pytest.mark.slow
def test_stages_refinement_and_snapshots_are_resumed_too(images, monkeypatch):
    sweep = [*SWEEP, "--min-size", "12", "--coarse-steps", "7", "--refine", "2", "--save-every", "5"]
    assert jaxstyle(*sweep, "--out", "whole") == 0
    whole = results(images / "whole")
    assert {row["steps"] for row in read_table(images / "whole" / "lanes.csv")} == {"19"}
    steps = [f"images/lane_{lane:04d}/step_{step:06d}.png" for lane in range(5) for step in (5, 10, 15)]
    assert set(whole) == {*(FILES - {"run.json"}), *(f"images/lane_{i:04d}.png" for i in range(5)), *steps}
    with Image.open(images / "whole" / steps[0]) as early, Image.open(images / "whole" / steps[1]) as late:
        assert (early.size, late.size) == ((12, 10), (24, 20))
    for chunks in (3, 9):
        assert resumed_after(monkeypatch, chunks, sweep) == whole


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [[], ["--tolerance", "0.5"]], ids=["all", "compacted"])
def test_matches_are_resumed_at_every_size(images, monkeypatch, tolerance):
    """They are not made again: the picture that they were made of is gone."""
    sweep = [*SWEEP, "--min-size", "12", "--coarse-steps", "7", "--style-loss", "matched", "--alpha", "0", "0.5"]
    sweep += ["--beta", "0.1", "10", "--style-layers", "relu1_1"]
    sweep += ["--steps", "60", *tolerance] if tolerance else []
    assert jaxstyle(*sweep, "--out", "whole") == 0
    whole = results(images / "whole")
    taken = {int(row["steps"]) for row in read_table(images / "whole" / "lanes.csv")}
    # Lanes that have stopped are left out from step 50 on.
    assert (min(taken) < 50 < max(taken)) if tolerance else (taken == {19})
    for chunks in (2, 5):
        assert resumed_after(monkeypatch, chunks, sweep) == whole


@pytest.mark.slow
def test_a_run_killed_after_lanes_have_converged_and_been_left_out(images, monkeypatch):
    sweep = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "150", "--beta", "0", "1", "1e4", "--tv", "0"]
    sweep += ["--tolerance", "0.05", "--checkpoint-every", "0"]
    assert jaxstyle(*sweep, "--out", "whole") == 0
    real, left_out = Progress.advance, []

    def dies(self, steps, work, counts, *others):
        left_out.extend([counts] * (counts.converged > 0))
        if len(left_out) > 3:
            raise KilledError
        real(self, steps, work, counts, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", dies)
        killed(*sweep, "--out", "run")
    newest = max((images / "run" / "checkpoint").glob("lanes_0000.*"))
    assert 0 < len(read_saved(newest).arrays["computed"]) < 3
    assert jaxstyle("resume", "run") == 0
    assert results(images / "run") == results(images / "whole")


@pytest.mark.slow
def test_a_run_is_resumed_from_anywhere(images, whole, monkeypatch):
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", 2)
        killed(*SWEEP, "--out", "run")
    (images / "elsewhere").mkdir()
    monkeypatch.chdir(images / "elsewhere")
    assert jaxstyle("resume", "../run") == 0
    assert results(images / "run") == whole


def interrupted(monkeypatch, *options):
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", 3)
        killed(*SWEEP, *options, "--out", "run")


@pytest.mark.slow
def test_what_has_changed_is_refused_by_name(images, monkeypatch, capsys):
    (images / "grid.csv").write_text("seed\n1\n")
    interrupted(monkeypatch, "--grid", "grid.csv")
    before = contents(images / "run")

    def refuses(pattern):
        capsys.readouterr()
        fails(capsys, 2, f"cannot resume run: {pattern}", "resume", "run")
        assert contents(images / "run") == before

    for name, kind in (("c.png", "content"), ("s.png", "style")):
        data = (images / name).read_bytes()
        with Image.open(images / name) as picture:
            pixels = np.asarray(picture).copy()
        pixels[0, 0, 0] ^= 1
        Image.fromarray(pixels).save(images / name)
        refuses(f"the {kind} image {name} has changed")
        (images / name).write_bytes(data)
    (images / "grid.csv").write_text("seed\n2\n")
    refuses("the lanes of grid.csv are not those")
    (images / "grid.csv").write_text("seed\n1\n")
    record = json.loads((images / "run" / "run.json").read_text())
    for kind, option, value in (("options", "steps", 13), ("options", "weights", "random:1"), ("run", "refine", 2)):
        edited = {**record, kind: {**record[kind], option: value}}
        (images / "run" / "run.json").write_text(json.dumps(edited))
        before = contents(images / "run")
        refuses(f"run.json says {option} {value}, but the run was started with")
    monkeypatch.setattr("jaxstyle.app.run_folder.recorded_job.Settings", lambda **_: (_ for _ in ()).throw(TypeError))
    (images / "run" / "run.json").unlink()
    before = {name: data for name, data in before.items() if name != "run.json"}
    assert jaxstyle("resume", "run") == 2
    assert "whose options differ from those of" in capsys.readouterr().err
    fails(capsys, 2, "nothing is not a run folder", "resume", "nothing")


def test_a_run_whose_content_was_piped_in_asks_for_it_again(images, monkeypatch, capsys):
    """A run is killed before its first step, and resumed without the image, with another one, and with the same one."""

    def pipe(name):
        data = (images / name).read_bytes() if name else b""
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    def run_sweep(*_):
        raise KilledError

    monkeypatch.setattr(sweep_run, "run_sweep", run_sweep)
    pipe("c.png")
    killed("sweep", "-", "s.png", *QUICKEST, "--beta", "1", "--out", "a run")
    taken = "a run holds a run that has not finished: jaxstyle resume 'a run' goes on, --overwrite starts again$"
    fails(capsys, 2, taken, *SWEEP, "--out", "a run")
    again = "cannot resume a run: its content image came through a pipe; pipe the same one in again: "
    pipe("")
    fails(capsys, 2, f"^jaxstyle: {again}jaxstyle resume 'a run' < IMAGE$", "resume", "a run")
    Image.open(images / "c.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(images / "other.png")
    pipe("other.png")
    reason = "the content image piped in is not the one that it was started with; pipe that one in, or start"
    fails(capsys, 2, reason, "resume", "a run")
    pipe("c.png")
    killed("resume", "a run")


def test_a_missing_image_is_named_with_the_directory_where_the_run_was_started(images, monkeypatch, capsys):
    def run_sweep(*_):
        raise KilledError

    monkeypatch.setattr(sweep_run, "run_sweep", run_sweep)
    (images / "in").mkdir()
    (images / "c.png").rename(images / "in" / "c.png")
    there = f", in {re.escape(str(images))}, where the run was started"
    for out, name, options in (
        ("content", "in/c.png", ["in/c.png", "s.png"]),
        ("init", "in/c.png", ["s.png", "s.png", "--init", "in/c.png"]),
        ("whole", f"{images}/in/c.png", [f"{images}/in/c.png", "s.png"]),
    ):
        killed("sweep", *options, *QUICKEST, "--beta", "1", "--out", out)
        (images / "moved").mkdir()
        (images / "in").rename(images / "moved" / "in")
        line = f"cannot read {re.escape(name)}: no such file"
        fails(capsys, 2, f"{line}$", "resume", out)
        with monkeypatch.context() as patch:
            patch.chdir(images / "moved")
            fails(capsys, 2, f"{line}{there if out != 'whole' else ''}$", "resume", f"../{out}")
        (images / "moved" / "in").rename(images / "in")
        (images / "moved").rmdir()


def test_a_signal_names_the_command_that_goes_on():
    with sweep_run.advising_resume(Path("r k2")):
        assert signals.advice() == "; jaxstyle resume 'r k2' goes on"


def test_damage_is_found_and_the_checkpoint_before_is_taken(images, whole, monkeypatch, capsys):
    interrupted(monkeypatch)
    folder = images / "run" / "checkpoint"
    older, newest = sorted(folder.glob("lanes_0000.*"))
    data = newest.read_bytes()
    newest.write_bytes(data[:-1000])
    capsys.readouterr()
    assert jaxstyle("resume", "run") == 0
    assert f"checkpoint run/checkpoint/{newest.name} is damaged: its checksum is wrong" in capsys.readouterr().err
    assert results(images / "run") == whole
    assert older.exists() is False


@pytest.mark.slow
def test_every_checkpoint_damaged(images, monkeypatch, capsys):
    interrupted(monkeypatch)
    for file in (images / "run" / "checkpoint").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    capsys.readouterr()
    fails(capsys, 2, "cannot resume run: every checkpoint is damaged: .*--overwrite", "resume", "run")
    (images / "run" / "run.json").write_text("{")
    assert jaxstyle(*SWEEP, "--out", "run", "--overwrite") == 0


@pytest.mark.slow
def test_a_damaged_record_is_written_again(images, whole, monkeypatch, capsys):
    interrupted(monkeypatch)
    record = (images / "run" / "run.json").read_bytes()
    (images / "run" / "run.json").write_bytes(record[:100])
    start = next((images / "run" / "checkpoint").glob("start.*"))
    start.write_bytes(b"")
    capsys.readouterr()
    assert jaxstyle("resume", "run") == 0
    err = capsys.readouterr().err
    assert "damaged in run/checkpoint: start.000000.ckpt" in err
    assert "run/run.json is damaged or gone; it is written again" in err
    assert results(images / "run") == whole
    assert (images / "run" / "run.json").read_bytes() == record


def test_any_flipped_byte_and_any_cut_is_found(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True), "c": np.zeros((0, 2), np.uint8)}
    path = tmp_path / "x.ckpt"
    write_saved(path, Saved({"step": 3, "words": ["é"]}, arrays))
    found = read_saved(path)
    assert found.about == {"step": 3, "words": ["é"]}
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found.arrays[name], array)
    data = path.read_bytes()
    for i in range(len(data)):
        path.write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        with pytest.raises(DamagedError):
            read_saved(path)
        path.write_bytes(data[:i])
        with pytest.raises(DamagedError):
            read_saved(path)
    path.write_bytes(data + b"x")
    with pytest.raises(DamagedError):
        read_saved(path)
    path.unlink()
    with pytest.raises(DamagedError):
        read_saved(path)
