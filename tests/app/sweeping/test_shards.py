"""Sweeps in several processes that share a run folder, and lanes that converge."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import jaxstyle as js
from jaxstyle.app.execution.progress import Progress
from jaxstyle.app.sweeping import hosts
from jaxstyle.app.sweeping.shards import shard_folder
from jaxstyle.app.system.errors import RunError
from tests.app.sweeping.test_resume import kill_after, killed
from tests.command import FILES, QUICKEST, contents, fails, jaxstyle, read_table
from tests.processes import environment
from tests.run_folders import make_run

SWEEP = ["sweep", "c.png", "s.png", *QUICKEST, "--beta", "0.1:10:5", "--microbatch", "2", "--checkpoint-every", "0"]


@pytest.mark.slow
def test_shards_one_of_them_killed_and_resumed_make_the_run_of_one_process(images, monkeypatch, capsys):
    assert jaxstyle(*SWEEP, "--out", "whole") == 0
    assert jaxstyle(*SWEEP, "--out", "a run", "--shard", "0/2") == 0
    assert "shard 0 of 2 is done; when all are, jaxstyle merge 'a run'\n" in capsys.readouterr().out
    holds = "a run holds shards of a run: jaxstyle merge 'a run' joins them once all are done"
    fails(capsys, 2, "a run lacks shard 1-of-2: start it with --shard", "merge", "a run")
    fails(capsys, 2, f"{holds}; or give another folder$", *SWEEP, "--out", "a run")
    with monkeypatch.context() as patch:
        kill_after(patch, Progress, "advance", 1)
        killed(*SWEEP, "--out", "a run", "--shard", "1/2")
    capsys.readouterr()
    fails(capsys, 1, "shard 1-of-2 is not done: jaxstyle resume 'a run/shards/1-of-2' goes on", "merge", "a run")
    advice = f"^jaxstyle: {holds}; jaxstyle resume 'a run/shards/1-of-2' goes on with one$"
    fails(capsys, 2, advice, "resume", "a run")
    assert jaxstyle("resume", "a run/shards/1-of-2") == 0
    capsys.readouterr()
    fails(capsys, 2, f"{holds}$", "resume", "a run")
    assert jaxstyle("merge", "a run") == 0
    assert set(contents(images / "a run")) == set(contents(images / "whole"))
    assert set(contents(images / "a run")) == {*FILES, *(f"images/lane_{i:04d}.png" for i in range(5))}
    found, wanted = js.load_run("a run"), js.load_run("whole")
    for name, column in wanted.history.items():
        np.testing.assert_allclose(found.history[name], column, rtol=1e-3, atol=1e-7)
    assert np.abs(found.images - wanted.images).mean() < 1e-3
    for name in ("lane", "beta", "status", "steps"):
        assert [row[name] for row in found.lanes] == [row[name] for row in wanted.lanes]
    options = [{**run.settings, "command": ""} for run in (found, wanted)]
    assert options[0] == options[1]
    assert "--shard" not in found.settings["command"]


@pytest.mark.slow
def test_shards_of_different_runs_are_not_joined(images, capsys):
    assert jaxstyle(*SWEEP, "--out", "run", "--shard", "0/2") == 0
    assert jaxstyle(*SWEEP, "--steps", "4", "--out", "run", "--shard", "1/2") == 0
    capsys.readouterr()
    fails(capsys, 2, "1-of-2 and run/shards/0-of-2 are not of one run", "merge", "run")
    (images / "run" / "shards" / "0-of-3").mkdir()
    fails(capsys, 2, "run holds shards of 2 and of 3", "merge", "run")
    fails(capsys, 2, "c.png holds no shards", "merge", "c.png")


@pytest.mark.parametrize("command", [["report"], ["select"], ["export", "--to", "artfid"], ["resume"]])
def test_what_needs_a_merged_run_says_so(images, capsys, command):
    make_run(images / "a run" / "shards" / "1-of-2", betas=(1,), steps=1)
    line = "^jaxstyle: a run holds shards of a run: jaxstyle merge 'a run' joins them once all are done"
    advice = "; jaxstyle resume 'a run/shards/1-of-2' goes on with one" if command == ["resume"] else ""
    fails(capsys, 2, f"{line}{advice}$", *command, "a run")


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


def start_two(*arguments, code="from jaxstyle.app import cli; cli.main()"):
    """Start two processes of the command that join each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-c", code, *arguments, "--distributed", "--coordinator", place]
    piped = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return [subprocess.Popen([*command, "--process", f"{i}/2"], env=environment(), **piped) for i in range(2)]


def two_processes(*arguments):
    """Wait for both; returns exit status, stdout and stderr of each."""
    return finish(start_two(*arguments))


def finish(started):
    try:
        found = [process.communicate(timeout=240) for process in started]
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
    # The product of both weights is beyond float32.
    options = ["--init", "noise", "--beta", "1", "--style-layer-weights", "1e10,1e10", "--style-mix", "1", "3e38"]
    first, second = two_processes("sweep", "c.png", "s.png", *QUICKEST, *options, "--out", "run")
    assert (first[0], second[0]) == (1, 1)
    for _, _, err in (first, second):
        assert "lane 1 (a loss or gradient was not finite at step 0)" in err.splitlines()[-1]
        assert "failed and kept the last good image" in err.splitlines()[-1]
    assert [row["status"] for row in read_table(images / "run" / "lanes.csv")] == ["ok", "failed"]


@pytest.mark.parametrize(
    ("signs", "done", "waits"),
    [
        (range(5, 400, 10), 400, (400, 402)),  # it lives, and then is done
        ((), 30, (30, 32)),  # it is done before it shows a sign
        ((5, 15), None, (160, 170)),  # it is killed
        ((), None, (150, 152)),  # it never comes
        ((5, 15), 20, (160, 170)),  # it is killed when it is done, and its sign stays
    ],
)
def test_others_are_waited_for_as_long_as_they_live(tmp_path, monkeypatch, signs, done, waits):
    """Seconds of a made-up clock at which another process shows signs of life, is done, and the waiting ends."""
    run, now = tmp_path / "a run", [0]
    folder = shard_folder(run, (1, 2))
    (folder / "checkpoint").mkdir(parents=True)
    sign = folder / hosts._SIGN

    def sleep(seconds):
        now[0] += seconds
        if now[0] in signs:
            sign.touch()
            os.utime(sign, (1, now[0]))
        if now[0] == done:
            (folder / "checkpoint" / "done.000000.ckpt").touch()
            if waits[0] == done:
                sign.unlink(missing_ok=True)

    monkeypatch.setattr(hosts, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    if done is None:
        advice = "jaxstyle resume '.*/1-of-2' goes on with it, then jaxstyle merge '.*/a run'$"
        with pytest.raises(RunError, match=f"the process of shard 1-of-2 is gone.*: {advice}"):
            hosts._wait_for(run, (1, 2))
    else:
        hosts._wait_for(run, (1, 2))
    assert waits[0] <= now[0] <= waits[1]


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "number"), [(1, signal.SIGTERM), (0, signal.SIGKILL), (1, signal.SIGKILL)])
def test_a_process_that_ends_takes_no_other_along(images, capsys, victim, number):
    """Process 0, where the others met, is killed: the others finish, and a person merges."""
    sweep = [*SWEEP, "--steps", "300", "--out", "run"]
    impatient = "hosts._BEAT_SECONDS, hosts._SILENCE_SECONDS = 0.5, 8"
    code = f"from jaxstyle.app import cli; from jaxstyle.app.sweeping import hosts; {impatient}; cli.main()"
    started = start_two(*sweep, code=code)
    lost = images / "run" / "shards" / f"{victim}-of-2"
    try:
        while not list(lost.glob("checkpoint/lanes*")):
            assert [process.poll() for process in started] == [None, None]
            time.sleep(0.05)
    finally:
        started[victim].send_signal(number)
    done = finish(started)
    status, _, err = done[victim]
    assert status == (143 if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        assert re.search(r"stopped by SIGTERM after \d+ of 300 steps; jaxstyle resume run/shards/1-of-2 goes on$", err)
    status, out, err = done[1 - victim]
    if victim == 0:
        assert status == 0
        assert "shard 1 of 2 is done; when all are, jaxstyle merge run" in out
    else:
        assert status == 1
        assert err.splitlines()[-1].startswith("jaxstyle: the process of shard 1-of-2 is gone")
    assert jaxstyle("resume", lost) == 0
    assert jaxstyle("merge", "run") == 0
    assert [row["steps"] for row in read_table(images / "run" / "lanes.csv")] == ["300"] * 5


@pytest.mark.slow
def test_lanes_that_have_converged_stop_and_cost_nothing_more(images, capsys):
    sweep = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "150", "--beta", "0", "1", "--tv", "0"]
    sweep += ["--checkpoint-every", "0"]
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
    assert entries[-1]["counts"]["active"] <= 1
    assert all(len(entry["losses"]["total"]) == 3 for entry in entries if entry["losses"]["total"])
