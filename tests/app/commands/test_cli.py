import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import jaxstyle as js
import jaxstyle.app.execution.run_job
from jaxstyle.app import cli
from jaxstyle.app.commands.options import GROUPS
from jaxstyle.app.sweeping import live_report
from jaxstyle.app.system import kept_programs
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.locks import owned
from tests.command import FILES, POOLED, QUICKEST, contents, fails, jaxstyle, read_table

pytestmark = pytest.mark.usefixtures("xla_convolutions")


def test_sweep_writes_a_run_folder(images, capsys):
    options = "--alpha 1 2 --beta 0.1:10:3 --tv 0.5 --seed 3 --init noise --size 22".split()
    assert jaxstyle("sweep", "c.png", "s.png", *options, *QUICKEST, "--out", "a/run") == 0
    assert "6 lanes, 3 steps" in capsys.readouterr().out
    run = images / "a" / "run"
    assert set(contents(run)) == {*FILES, *(f"images/lane_{i:04d}.png" for i in range(6))}

    record = json.loads((run / "run.json").read_text())
    assert record["options"]["beta"] == [0.1, 1, 10]
    assert record["options"]["style_scale"] == 1
    assert record["options"]["learning_rate"][0] > 0
    assert record["weights"]["name"] == "random:0"
    assert len(record["weights"]["sha256"]) == len(record["inputs"]["style"][0]["sha256"]) == 64
    assert record["columns"]["settings"] == ["alpha", "beta", "tv", "learning_rate", "seed"]
    assert {"jax", "optax", "python"} <= set(record["versions"])

    rows = read_table(run / "lanes.csv")
    assert [(r["alpha"], r["beta"]) for r in rows] == [(a, b) for a in "12" for b in ("0.1", "1", "10")]
    assert {(r["tv"], r["seed"], r["steps"], r["status"]) for r in rows} == {("0.5", "3", "3", "ok")}
    for r in rows:
        terms = (float(r[k]) for k in ("alpha", "content_loss", "beta", "style_loss", "tv", "tv_loss"))
        a, c, b, s, t, v = terms
        assert float(r["total"]) == pytest.approx(a * c + b * s + t * v, rel=1e-5)
        assert (float(r["style_relu1_1"]) + float(r["style_relu1_2"])) / 2 == pytest.approx(s, rel=1e-5)
    history = read_table(run / "history.csv")
    assert [(r["lane"], r["step"]) for r in history] == [(str(i), str(j)) for i in range(6) for j in range(4)]
    assert float(history[3]["total"]) == float(rows[0]["total"]) < float(history[0]["total"])

    with Image.open(run / "images" / "lane_0004.png") as picture:
        assert picture.size == (22, 18)
        text = json.loads(picture.text["jaxstyle"])
    assert (text["alpha"], text["beta"], text["weights"], text["content"]) == (2, 1, "random:0", "c.png")


def test_equal_runs_give_equal_files(images):
    for name in ("one", "two"):
        assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run") == 0
        (images / "run").rename(name)
    assert contents(images / "one") == contents(images / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quick", "options"),
    [
        (QUICKEST, ["--optimizer", "lbfgs", "--style-layers", "relu1_1"]),
        (QUICKEST, ["--init", "style"]),
        (POOLED, ["--pooling", "average"]),
    ],
)
def test_options_change_the_picture(images, quick, options):
    for out, extra in (("plain", []), ("other", options)):
        assert jaxstyle("sweep", "c.png", "s.png", *quick, "--beta", "1", "--out", out, *extra) == 0
    assert js.load_run("plain").images.shape == js.load_run("other").images.shape
    assert (js.load_run("plain").images != js.load_run("other").images).any()


@pytest.mark.slow
def test_microbatches_change_no_number_but_by_rounding(images):
    for out, extra in (("all", []), ("two", ["--microbatch", "2"])):
        assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "0.1", "1", "10", "--out", out, *extra) == 0
    together, groups = js.load_run("all").history, js.load_run("two").history
    for name, column in together.items():
        np.testing.assert_allclose(groups[name], column, rtol=1e-3, atol=1e-7)


def test_default_run_folders_are_numbered(images):
    for number in ("0001", "0002"):
        assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1") == 0
        assert (images / "runs" / number / "sheet.png").exists()


def test_load_run(images):
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "2", "--out", "run") == 0
    run = js.load_run("run")
    assert run.images.shape == (2, 20, 24, 3)
    assert run.images.dtype == np.float32
    assert [lane["beta"] for lane in run.lanes] == [1, 2]
    assert run.history["total"].shape == (8,)
    assert run.settings["options"]["steps"] == 3
    with pytest.raises(StartError, match="not a run folder"):
        js.load_run(images)
    (images / "run" / "lanes.csv").unlink()
    with pytest.raises(RunError, match="has not finished"):
        js.load_run("run")


def test_transfer_writes_one_picture(images, capsys):
    assert jaxstyle("transfer", "c.png", "s.png", *QUICKEST, "--beta", "2", "-o", "out.png") == 0
    assert "out.png" in capsys.readouterr().out
    with Image.open("out.png") as picture:
        assert picture.size == (24, 20)
        assert json.loads(picture.text["jaxstyle"])["beta"] == 2
    assert set(os.listdir()) == {"c.png", "s.png", "out.png"}
    fails(capsys, 2, "out.png exists; .*--overwrite", "transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png")
    assert jaxstyle("transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png", "--overwrite") == 0


@pytest.mark.slow
def test_transfer_writes_what_its_options_say(images, capsys):
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    with Image.open("c.png") as picture:
        picture.save("c.jpg", exif=exif)
        picture.save("half.png")
    for out, options in (("a.jpg", []), ("b.jpg", ["--quality", "20"]), ("c2.jpg", ["--keep-metadata"]), ("d.tif", [])):
        assert jaxstyle("transfer", "c.jpg", "s.png", *QUICKEST, "-o", out, *options) == 0
    assert (images / "b.jpg").stat().st_size < (images / "a.jpg").stat().st_size
    for name, wanted in (("a.jpg", None), ("c2.jpg", "a cat")):
        with Image.open(name) as picture:
            assert picture.getexif().get(0x010E) == wanted
    with Image.open("d.tif") as picture:
        assert picture.size == (24, 20)
    capsys.readouterr()
    assert jaxstyle("transfer", "c.jpg", "s.png", *QUICKEST, "-o", "e.png", "--keep-profile") == 0
    assert "note: c.jpg has no RGB profile to keep" in capsys.readouterr().err
    tiff = ["transfer", "c.jpg", "s.png", *QUICKEST, "-o", "f.tif", "--keep-metadata"]
    fails(capsys, 2, "metadata is not copied to TIFF", *tiff)
    fails(capsys, 2, "cannot both be standard input", "transfer", "-", "-", *QUICKEST, "-o", "f.png")
    fails(
        capsys, 2, "'sky' is no colour", "transfer", "c.png", "s.png", *QUICKEST, "-o", "f.png", "--background", "sky"
    )
    few = ["transfer", "c.png", "s.png", *QUICKEST, "-o", "f.png", "--max-pixels", "400"]
    fails(capsys, 2, "c.png: .*--max-pixels", *few)


def test_background_shows_through(images):
    Image.new("RGBA", (24, 20), (0, 0, 0, 0)).save("clear.png")
    for colour in ("black", "white"):
        sweep = ["sweep", "clear.png", "s.png", *QUICKEST, "--beta", "0", "--tv", "0", "--out", colour]
        assert jaxstyle(*sweep, "--background", colour) == 0
    assert js.load_run("black").images.mean() < 0.2 < 0.8 < js.load_run("white").images.mean()


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["no.png", "s.png"], r"no.png: no such file"),
        (["full", "s.png"], r"full holds no image that can be used: note \(it is not an image"),
        (["c.png", "text.png"], r"text.png: it is not an image"),
        (["cut.png", "s.png"], r"cut.png: .*(truncated|damaged)"),
        (["dot.png", "s.png"], r"dot.png has 1x1 pixels, .* at least 4 on each side"),
        (["c.png", "s.png", "--size", "3"], r"--size 3 makes .* the smallest that works is --size 5"),
        (["-", "-"], r"cannot both be standard input"),
        (
            ["c.png", "s.png", "--style-scale", "0.025"],
            r"0.025 \(4 pixels\) makes .* is --style-scale 0.0375 \(",
        ),
        (["c.png", "s.png", "--size", "0"], r"argument --size: '0' is not a whole number from 1"),
        (["c.png", "s.png", "--steps", "-5"], r"argument --steps"),
        (["c.png", "s.png", "--beta", "1", "lots"], r"argument --beta: 'lots' is not a number"),
        (["c.png", "s.png", "--beta", "nan"], r"argument --beta: 'nan' is not a finite number"),
        (["c.png", "s.png", "--alpha", "-1"], r"argument --alpha: -1 is negative"),
        (["c.png", "s.png", "--tv", "inf"], r"argument --tv: 'inf' is not a finite number"),
        (["c.png", "s.png", "--beta", "10:1:3"], r"argument --beta: 10:1:3: a range LOW:HIGH:COUNT needs 0 < LOW"),
        (["c.png", "s.png", "--beta", "0:1:3"], r"needs 0 < LOW < HIGH"),
        (["c.png", "s.png", "--beta", "1:10:1"], r"'1' is not a whole number from 2"),
        (["c.png", "s.png", "--beta", "1e39"], r"argument --beta: 1e39 is larger than float32 holds"),
        (["c.png", "s.png", "--learning-rate", "0"], r"argument --learning-rate: 0 is not above 0"),
        (["c.png", "s.png", "--optimizer", "newton"], r"unknown optimizer 'newton'; valid: adam, lbfgs"),
        (["c.png", "s.png", "--style-layers", "relu9_9"], r"unknown layer 'relu9_9'; valid layers: conv1_1"),
        (["c.png", "s.png", "--convention", "huber"], r"unknown convention 'huber'; valid: mean"),
        (["c.png", "s.png", "--weights", "vgg"], r"unknown weights 'vgg'"),
        (["c.png", "s.png", "--weights", "x.safetensors"], r"x.safetensors: no such file"),
        (["c.png"], r"required: STYLE"),
        (["c.png", "s.png", "--out", "c.png"], r"cannot make the run folder c.png: file exists"),
        (["c.png", "s.png", "--out", "c.png/run"], r"cannot make the run folder c.png/run: not a directory"),
        (["c.png", "s.png", "--out", "full"], r"full is not empty and is not a run folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(images, capsys, arguments, pattern):
    (images / "text.png").write_text("hello")
    (images / "cut.png").write_bytes((images / "c.png").read_bytes()[:700])
    Image.new("RGB", (1, 1)).save("dot.png")
    (images / "full").mkdir()
    (images / "full" / "note").write_text("mine")
    before = contents(images)
    fails(capsys, 2, pattern, "sweep", *POOLED, *arguments)
    assert contents(images) == before


@pytest.mark.slow
def test_an_existing_run_is_never_overwritten_unless_asked(images, capsys):
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--out", "run", "--beta", "1"]
    assert jaxstyle(*sweep, "2") == 0
    (images / "run" / "mine.txt").write_text("kept")
    before = contents(images)
    capsys.readouterr()
    fails(capsys, 2, "run holds a finished run; .*--overwrite", *sweep)
    assert contents(images) == before
    assert jaxstyle(*sweep, "--overwrite") == 0
    found = set(contents(images / "run"))
    assert found == {*FILES, "images/lane_0000.png", "mine.txt"}


def test_bad_options_of_transfer(images, capsys):
    fails(capsys, 2, "unknown suffix '.gif'; valid: .png", "transfer", "c.png", "s.png", *QUICKEST, "-o", "out.gif")
    fails(capsys, 2, "a folder that exists", "transfer", "c.png", "s.png", *QUICKEST, "-o", "no/out.png")
    fails(capsys, 2, "required: -o", "transfer", "c.png", "s.png")
    fails(capsys, 2, "file name too long", "transfer", "c.png", "s.png", "-o", "x" * 300 + ".png")
    fails(capsys, 2, "c.png is an input", "transfer", "c.png", "s.png", "-o", "c.png", "--overwrite")


def test_a_failed_lane_is_named_and_the_rest_written(images, capsys):
    # The product of both weights is beyond float32.
    ill = ["--style-layer-weights", "1e10,1e10", "--style-mix", "1", "3e38"]
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--init", "noise", "--out", "run", "--beta", "1", *ill]
    Image.fromarray(np.uint8(255 * (np.indices((20, 24)).sum(0) % 2))).save("c.png")  # a checkerboard
    assert jaxstyle(*sweep, "--init", "content") == 1
    assert "jaxstyle: lane 1 (a loss or gradient was not finite at step 0) failed" in capsys.readouterr().err
    lanes = js.load_run("run").lanes
    assert [lane["status"] for lane in lanes] == ["ok", "failed"]
    with Image.open("run/images/lane_0001.png") as kept, Image.open("c.png") as start:
        np.testing.assert_array_equal(np.asarray(kept), np.asarray(start.convert("RGB")))


def test_weights_that_are_all_0_are_refused(images, capsys):
    nothing = ["--alpha", "0", "--beta", "0", "--tv", "0"]
    wanted = "alpha, beta and tv are all 0: one must be larger"
    fails(capsys, 2, wanted, "transfer", "c.png", "s.png", *QUICKEST, *nothing, "-o", "x.png")
    wanted = "alpha, beta and tv of lane 1 are all 0"  # to float32
    some = ["--alpha", "0", "--beta", "1", "1e-40", "--tv", "0", "--out", "run"]
    fails(capsys, 2, wanted, "sweep", "c.png", "s.png", *QUICKEST, *some)
    assert not (images / "run").exists()


@pytest.mark.parametrize("command", ["sweep", "transfer", "texture"])
def test_help_shows_first_what_most_people_need(command, capsys):
    assert jaxstyle(command, "--help") == 0
    text = capsys.readouterr().out
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    groups = [*GROUPS]
    assert titles == ["positional arguments", *groups[:4], "run", "machine", "options"]
    first = text.partition(groups[0])[2].partition(f"\n{groups[1]}:")[0]
    wanted = {"--beta", "--size", "--style-scale", "--colour", "--out" if command == "sweep" else "--output"}
    assert wanted - ({"--colour"} if command == "texture" else set()) <= set(re.findall(r"--[\w-]+", first))
    assert len(re.findall(r"^  -", first, re.MULTILINE)) <= 6
    last = text.rpartition("\noptions:\n")[2]
    assert {"--help", "--debug"} <= set(re.findall(r"--[\w-]+", last))


def test_help_names_the_commands(capsys):
    assert jaxstyle("--help") == 0
    out = capsys.readouterr().out
    assert "sweep" in out
    assert "transfer" in out
    assert jaxstyle("--version") == 0
    capsys.readouterr()
    fails(capsys, 2, "invalid choice: 'swep'", "swep")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["transfer", "a", "b", "-o", "c.png", "--quiet"], "transfer"),
        (["weights", "list", "--quiet"], "weights list"),
        (["--quiet", "report", "run"], ""),
    ],
)
def test_an_unknown_option_leads_to_the_help_of_its_command(capsys, arguments, command):
    program = f"jaxstyle {command}".strip()
    fails(capsys, 2, f"^{program}: unrecognized arguments: --quiet; see {program} --help$", *arguments)


def test_unexpected_errors_are_one_line_unless_debugging(images, capsys, monkeypatch):
    def explode(_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("jaxstyle.app.execution.job.load_job", explode)
    fails(capsys, 1, r"RuntimeError: two lines \(unexpected: --debug", "sweep", "c.png", "s.png")
    with pytest.raises(RuntimeError):
        cli.main(["sweep", "c.png", "s.png", "--debug"])


def test_a_full_disk_is_one_line_and_leaves_nothing_partial(images, capsys, monkeypatch):
    written = 0
    real_write = os.fsync

    def fsync(descriptor):
        nonlocal written
        written += 1
        if written > 9:  # two checkpoints, their folder, run.json twice and three pictures fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_write(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(kept_programs, "_keep", lambda *_: None)  # programs are kept only if no test before made them
    monkeypatch.setattr(live_report, "write_page", lambda *_, **__: None)  # at moments of its own
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--out", "run", "--beta", "1", "2"]
    fails(capsys, 1, "cannot write run/images/lane_0001.png: the disk is full", *sweep)
    names = {f"images/{kind}_0000.png" for kind in ("content", "style", "lane")}
    assert {name for name in contents(images / "run") if "checkpoint" not in name} == {"run.json", *names}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(images, capsys):
    (images / "locked").mkdir(mode=0o500)
    fails(capsys, 2, "permission denied", "sweep", "c.png", "s.png", *QUICKEST, "--out", "locked/run")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("delay", [0.0, 0.6, None])
def test_signals(images, number, status, delay):
    """While it imports (after the first import of the command), soon after, and while it runs."""
    code = "import sys; from jaxstyle.app import cli; print('ready', flush=True); cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "sweep", "c.png", "s.png", *QUICKEST[:-1], "100000", "--out", "run"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.02)
    if delay is None:
        while not (images / "run" / "run.json").exists() and process.poll() is None:
            time.sleep(0.1)
    time.sleep(delay or 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.splitlines()[-1].startswith("jaxstyle: stopped by")
    assert "Traceback" not in err
    allowed = {"c.png", "s.png", "run/run.json", "run/report.html"}
    assert {name for name in contents(images) if "checkpoint" not in name} <= allowed


def test_a_signal_while_stderr_is_silent():
    code = """
import os, signal
from jaxstyle.app.system import screen, signals
signals.install()
with screen.silent_stderr():
    os.write(2, b"of a library")
    os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (143, "jaxstyle: stopped by SIGTERM\n")


def test_one_process_owns_a_run_folder(images, capsys):
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run") == 0
    before = contents(images)
    capsys.readouterr()
    with owned(images / "run" / ".lock", "never said"):
        sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run", "--overwrite"]
        fails(capsys, 2, "another process is writing to run", *sweep)
    assert contents(images) == before


def test_a_file_that_appears_meanwhile_is_not_replaced(images, capsys, monkeypatch):
    real = js.app.execution.run_job.run_job

    def slow(*args):
        (images / "out.png").write_text("mine")
        return real(*args)

    monkeypatch.setattr("jaxstyle.app.execution.run_job.run_job", slow)
    line = r"cannot write out.png: file exists; it is in .*/out-\w+.png instead"
    fails(capsys, 1, line, "transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png")
    assert (images / "out.png").read_text() == "mine"
    (kept,) = images.glob("out-*.png")
    assert set(contents(images)) == {"c.png", "s.png", "out.png", kept.name}
    with Image.open(kept) as picture:
        assert json.loads(picture.text["jaxstyle"])["content"] == "c.png"


@pytest.mark.slow
@pytest.mark.parametrize("stream", [">&- 2>&- <&-", ">/dev/full 2>/dev/full"])
def test_closed_and_full_streams(images, stream):
    command = [sys.executable, "-m", "jaxstyle.app.cli", "transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png"]
    assert subprocess.run(f"{shlex.join(command)} {stream}", shell=True, capture_output=True).returncode == 0
    assert (images / "out.png").exists()
