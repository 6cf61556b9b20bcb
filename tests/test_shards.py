"""Sweeps in several processes that share a run folder, and over several devices."""

import json

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
    ],
)
def test_shards_that_make_no_sense(images, capsys, options, pattern):
    before = contents(images)
    fails(capsys, 2, pattern, *SWEEP, *options)
    assert contents(images) == before


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
