"""Sweeps in several processes that share a run folder, and over several devices."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.progress import Progress
from tests.command import FILES, QUICK, contents, fails, jaxstyle, read_table
from tests.test_resume import kill_after, killed

SWEEP = ["sweep", "c.png", "s.png", *QUICK, "--beta", "0.1:10:5", "--microbatch", "2", "--checkpoint-every", "0"]


@pytest.mark.slow
def test_shards_one_of_them_killed_and_resumed_make_the_run_of_one_process(images, monkeypatch, capsys):
    assert jaxstyle(*SWEEP, "--out", "whole") == 0
    assert jaxstyle(*SWEEP, "--out", "run", "--shard", "0/2") == 0
    assert "shard 0 of 2 is done" in capsys.readouterr().out
    fails(capsys, 2, "run lacks shard 1-of-2: start it with --shard", "merge", "run")
    fails(capsys, 2, "run holds shards of a run: jaxstyle merge run joins them", *SWEEP, "--out", "run")
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", 1)
        killed(*SWEEP, "--out", "run", "--shard", "1/2")
    capsys.readouterr()
    fails(capsys, 1, "shard 1-of-2 is not done: jaxstyle resume run/shards/1-of-2 goes on", "merge", "run")
    assert jaxstyle("resume", "run/shards/1-of-2") == 0
    assert jaxstyle("merge", "run") == 0
    assert set(contents(images / "run")) == set(contents(images / "whole"))
    assert set(contents(images / "run")) == {*FILES, *(f"images/lane_{i:04d}.png" for i in range(5))}
    found, wanted = js.load_run("run"), js.load_run("whole")
    for name, column in wanted.history.items():
        np.testing.assert_allclose(found.history[name], column, rtol=1e-3, atol=1e-7)
    assert np.abs(found.images - wanted.images).mean() < 1e-3
    for name in ("lane", "beta", "status", "steps"):
        assert [row[name] for row in found.lanes] == [row[name] for row in wanted.lanes]
    options = [{**run.settings, "command": ""} for run in (found, wanted)]
    assert options[0] == options[1]
    assert "--shard" not in found.settings["command"]


def test_shards_of_different_runs_are_not_joined(images, capsys):
    assert jaxstyle(*SWEEP, "--out", "run", "--shard", "0/2") == 0
    assert jaxstyle(*SWEEP, "--steps", "4", "--out", "run", "--shard", "1/2") == 0
    capsys.readouterr()
    fails(capsys, 2, "1-of-2 and run/shards/0-of-2 are not of one run", "merge", "run")
    (images / "run" / "shards" / "0-of-3").mkdir()
    fails(capsys, 2, "run holds shards of 2 and of 3", "merge", "run")
    fails(capsys, 2, "c.png holds no shards", "merge", "c.png")


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["--shard", "2/2"], "2/2: the shards of 2 are numbered from 0 to 1"),
        (["--shard", "1"], "argument --shard"),
        (["--shard", "0/9", "--out", "run"], "there are only 5 lanes"),
        (["--shard", "0/2"], "--shard needs --out"),
        (["--shard", "0/2", "--out", "run", "--refine", "1"], "--refine looks at all lanes"),
        (["--distributed"], "--distributed needs --out"),
        (["--distributed", "--out", "run", "--shard", "0/2"], "leave --shard out"),
        (["--distributed", "--out", "run", "--refine", "1"], "--refine looks at all lanes.* with --distributed"),
        (["--distributed", "--out", "run", "--process", "0/2"], "--coordinator and --process go together"),
        (["--distributed", "--out", "run", "--coordinator", "here", "--process", "0/2"], "give HOST:PORT"),
        (["--coordinator", "here:1", "--process", "0/2"], "are for --distributed"),
        (["--process", "2/2"], "2/2: the processes of 2 are numbered from 0 to 1"),
    ],
)
def test_shards_that_make_no_sense(images, capsys, options, pattern):
    before = contents(images)
    fails(capsys, 2, pattern, *SWEEP, *options)
    assert contents(images) == before


def two_processes(*arguments):
    """Exit status, stdout and stderr of two processes of the command that join each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-m", "jaxstyle.app.cli", *arguments, "--distributed", "--coordinator", place]
    piped = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [subprocess.Popen([*command, "--process", f"{i}/2"], env=environment, **piped) for i in range(2)]
    try:
        found = [process.communicate(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *texts) for process, texts in zip(started, found, strict=True)]


@pytest.mark.slow
def test_two_processes_that_join_each_other_make_the_run_of_two_shards(images, monkeypatch, capsys):
    for shard in ("0/2", "1/2"):
        assert jaxstyle(*SWEEP, "--out", "shards", "--shard", shard) == 0
    assert jaxstyle("merge", "shards") == 0
    wanted = contents(images / "shards")

    done = two_processes(*SWEEP, "--out", "run")
    assert [status for status, _, _ in done] == [0, 0], done
    assert "report.html" in done[0][1]
    found = contents(images / "run")
    assert set(found) == set(wanted)
    of_command = {"run.json", "report.html"}
    assert all(found[name] == wanted[name] for name in wanted if name not in of_command)
    settings = json.loads(found["run.json"])
    command = settings["command"].split()
    assert not {"--distributed", "--coordinator", "--process"} & set(command)
    assert command[-2:] == ["--out", "run"]
    assert settings["run"] == json.loads(wanted["run.json"])["run"]
    assert [status for status, _, _ in two_processes(*SWEEP, "--out", "run")] == [2, 2]

    assert jaxstyle(*SWEEP, "--out", "resumed", "--shard", "0/2") == 0
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", 1)
        killed(*SWEEP, "--out", "resumed", "--shard", "1/2")
    done = two_processes("resume", "resumed")
    assert [status for status, _, _ in done] == [0, 0], done
    found = contents(images / "resumed")
    assert set(found) == set(wanted)
    assert all(found[name] == wanted[name] for name in wanted if name not in of_command)
    capsys.readouterr()
    fails(capsys, 2, "resumed holds no shards of a run", "resume", "resumed", "--distributed")


@pytest.mark.slow
def test_lanes_that_fail_in_one_of_two_processes(images):
    options = ["--convention", "gatys", "--init", "noise", "--beta", "1", "--alpha", "1", "3e38"]
    first, second = two_processes("sweep", "c.png", "s.png", *QUICK, *options, "--out", "run")
    assert (first[0], second[0]) == (1, 1)
    for _, _, err in (first, second):
        assert "lane 1 (a loss or gradient was not finite at step 0)" in err.splitlines()[-1]
        assert "failed and kept the last good image" in err.splitlines()[-1]
    assert [row["status"] for row in read_table(images / "run" / "lanes.csv")] == ["ok", "failed"]


def test_lanes_that_have_converged_stop_and_cost_nothing_more(images, capsys):
    sweep = ["sweep", "c.png", "s.png", *QUICK[:-1], "150", "--beta", "0", "1", "--tv", "0", "--checkpoint-every", "0"]
    assert jaxstyle(*sweep, "--tolerance", "0.05", "--out", "run", "--log-json", "log") == 0
    rows = read_table(images / "run" / "lanes.csv")
    assert [row["status"] for row in rows] == ["ok", "ok"]
    for lane, row in enumerate(rows):
        steps = int(row["steps"])
        assert row["reason"] == f"converged at step {steps}"
        assert steps < 150
        history = [r for r in read_table(images / "run" / "history.csv") if r["lane"] == str(lane)]
        assert [int(r["step"]) for r in history] == list(range(steps + 1))
        totals = np.array([float(r["total"]) for r in history])
        best = np.minimum.accumulate(totals)
        settled = best[:-25] - best[25:] <= 0.05 * best[:-25]
        assert settled[-1]
        assert not settled[:-1].any()
        assert float(row["total"]) == pytest.approx(totals[-1], rel=1e-4)
    entries = [json.loads(line) for line in (images / "log").read_text().splitlines()]
    assert entries[-1]["lanes"]["active"] <= 1
    assert all(len(entry["losses"]["total"]) == 3 for entry in entries if entry["losses"]["total"])
