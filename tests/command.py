"""The command, as tests run it."""

import csv
import re

import pytest

from jaxstyle.app import cli

FILES = {
    "run.json",
    "lanes.csv",
    "history.csv",
    "sheet.png",
    "report.html",
    "images/content_0000.png",
    "images/style_0000.png",
}
QUICK = "--weights random:0 --content-layers relu1_1 --style-layers relu1_1 relu1_2 --optimizer adam --steps 3".split()
# For tests that are about neither styles nor time: Gram matrices compile in half the time of the default's quantiles.
QUICKEST = [*QUICK[:-2], "--style-loss", "gram", *QUICK[-2:]]
POOLED = [word.replace("relu1_2", "relu2_1") for word in QUICKEST]  # with a layer behind pooling


def jaxstyle(*arguments):
    """Exit status of the command."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    return stop.value.code


def fails(capsys, status, pattern, *arguments):
    """The command ends with this status and one line on stderr, that matches."""
    assert jaxstyle(*arguments) == status
    captured = capsys.readouterr()
    expected = re.compile("step |no metrics: |.*; compiling|.*it keeps its size")
    lines = [line for line in captured.err.splitlines() if not expected.match(line)]
    assert len(lines) == 1, captured.err
    assert re.search(pattern, lines[0]), lines[0]
    assert captured.out == ""


def read_table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def contents(folder):
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
