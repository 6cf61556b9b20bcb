"""Printing on streams that lack letters, are full, or are missing."""

import io
import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from jaxstyle.app import cli
from jaxstyle.app.system import screen
from jaxstyle.app.system.errors import WriteError
from tests.command import QUICKEST, jaxstyle

pytestmark = pytest.mark.usefixtures("xla_convolutions")

NAME = 'Кот \x1b[31m\n\udcff"<&'
ESCAPED = r'\u041a\u043e\u0442 \x1b[31m\n\udcff"<&'


def stream(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="\n")


def printed(file):
    return file.buffer.getvalue().decode(file.encoding)


class Broken(io.StringIO):
    """A stream on which writing fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, _):
        raise self.error


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_names_that_a_stream_cannot_hold_are_escaped(monkeypatch, encoding):
    out, err = stream(encoding), stream(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    screen.say_done(NAME)
    screen.tell(NAME)
    assert printed(out) == printed(err) == ESCAPED + "\n"


def test_letters_that_a_stream_knows_stay(capsys):
    screen.say("Кот")
    screen.tell("é\udcff")
    assert capsys.readouterr() == ("Кот\n", "é\\udcff\n")


def test_streams_that_are_not_there_or_fail(monkeypatch, capsys):
    class Window:
        text = ""

        def write(self, text):
            self.text += text

    closed = io.StringIO()
    closed.close()
    for out in (None, Window(), Broken(BrokenPipeError())):
        monkeypatch.setattr(sys, "stdout", out)
        screen.say("x")
        screen.say_done("y")
        screen.drop_output()
        if isinstance(out, Window):
            assert out.text == "x\ny\n"
    assert capsys.readouterr().err == ""
    for out, reason in ((closed, "closed file"), (Broken(OSError(28, "No space left")), "no space left")):
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(WriteError, match=f"cannot write to standard output: .*{reason}"):
            screen.say("x")
        screen.say_done("done: y")
        assert capsys.readouterr().err == "done: y\n"
    for err in (None, closed, Broken(OSError(9, "Bad file descriptor"))):
        monkeypatch.setattr(sys, "stderr", err)
        screen.tell("x")
        assert screen.is_terminal() is False


def test_commands_are_quoted_for_a_shell():
    assert screen.command_for("resume", Path("runs/0001")) == "jaxstyle resume runs/0001"
    assert shlex.split(screen.command_for("merge", Path("my 'run'"))) == ["jaxstyle", "merge", "my 'run'"]
    assert screen.command_for("resume", Path("-r")) == "jaxstyle resume ./-r"
    assert [screen.as_operand(name) for name in ("-", "-a.png", "a-.png")] == ["-", "./-a.png", "a-.png"]


@pytest.mark.slow
def test_any_name_in_every_output(images, monkeypatch):
    """Names of pictures, run folders and outputs hold bytes that are not text, and line ends."""
    (images / "c.png").rename(images / f"{NAME}.png")
    (images / "s.png").rename(images / f"s{NAME}.png")
    inputs = [f"{NAME}.png", f"s{NAME}.png"]
    run, escaped = f"run{NAME}", f"run{ESCAPED}"

    def outputs(*arguments):
        out, err = stream("cp1252"), stream("cp1252")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            assert jaxstyle(*arguments) == 0, printed(err)
        assert "\x1b" not in printed(out) + printed(err)
        return printed(out)

    assert outputs("sweep", *inputs, *QUICKEST, "--beta", "1", "--out", run).endswith(f": {escaped}/report.html\n")
    assert "\\udcff" in (images / run / "report.html").read_text("utf-8")
    assert json.loads((images / run / "run.json").read_text())["options"]["content"] == f"{NAME}.png"
    with Image.open(images / run / "images" / "lane_0000.png") as picture:
        assert json.loads(picture.text["jaxstyle"])["content"] == f"{screen.printable(NAME)}.png"
    assert f"{ESCAPED}.png in the style of s{ESCAPED}.png\n" in outputs("select", run)
    assert json.loads(outputs("select", run, "--json"))["pairs"][0]["image"] == f"{run}/images/lane_0000.png"
    assert outputs("report", run) == f"{escaped}/report.html\n"
    assert outputs("resume", run) == ""
    assert outputs("transfer", *inputs, *QUICKEST, "-o", f"o{NAME}.png").endswith(f": o{ESCAPED}.png\n")
    assert (images / f"o{NAME}.png").is_file()


def test_a_full_stdout_fails_what_only_prints_and_nothing_else(images, monkeypatch, capsys):
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--beta", "1", "--out", "run"]
    full = OSError(28, os.strerror(28))
    monkeypatch.setattr(sys, "stdout", Broken(full))
    assert jaxstyle(*sweep) == 0
    assert capsys.readouterr().err.splitlines()[-1].endswith(": run/report.html")
    for arguments in (["select", "run"], ["select", "run", "--json"], ["weights", "list"]):
        assert jaxstyle(*arguments) == 1
        line = "jaxstyle: cannot write to standard output: no space left on device\n"
        assert capsys.readouterr().err == line
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError()))
    assert jaxstyle("select", "run") == 0


@pytest.mark.slow
def test_a_program_without_a_console(images, monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    sweep = ["sweep", "c.png", "s.png", *QUICKEST, "--beta", "1"]
    assert cli.call(sweep).as_posix() == "runs/0001"
    assert cli.call(["resume", "runs/0001"]).as_posix() == "runs/0001"
    assert cli.call(["select", "runs/0001"]) is None
    assert cli.call(["report", "runs/0001"]).as_posix() == "runs/0001/report.html"
    assert cli.call(["select", "runs/0001", "--best-to", "best.png"]).as_posix() == "best.png"
    assert cli.call(["transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png"]).as_posix() == "out.png"
