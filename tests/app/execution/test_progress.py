"""Progress is told to a callback, a log and a screen; a callback that fails stops the run."""

import json

import numpy as np
import pytest

from jaxstyle.app.cli import call
from jaxstyle.app.execution.progress import Counts, Progress
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.system.errors import StartError
from jaxstyle.objective.objective import Losses
from tests.app.sweeping.test_resume import SWEEP, results
from tests.command import QUICKEST, read_table


@pytest.mark.slow
def test_a_callback_is_told_what_tables_and_log_say_and_what_it_raises_stops_the_run(images, capsys):
    chunks = []
    sweep = [*SWEEP, "--log-json", "log", "--quiet", "--out", "whole"]
    call(sweep, on_chunk=chunks.append)
    assert "step " not in capsys.readouterr().err
    history = {
        (int(row["lane"]), int(row["step"])): [float(row[name]) for name in LOSSES]
        for row in read_table(images / "whole" / "history.csv")
    }
    steps = [chunk.steps_done for chunk in chunks]
    assert len(steps) > 1
    assert steps == sorted(set(steps))
    assert steps[-1] == 12
    entries = [json.loads(line) for line in (images / "log").read_text().splitlines()]
    for chunk, entry in zip(chunks, entries, strict=True):
        assert (chunk.lanes, chunk.counts) == ([0, 1, 2], (3, 0, 0))
        assert entry["counts"] == chunk.counts._asdict()
        assert (entry["steps_done"], entry["steps"]) == (chunk.steps_done, chunk.steps) == (chunk.steps_done, 12)
        assert entry["losses_step"] == chunk.losses_step == chunk.steps_done - 1
        for i, name in enumerate(LOSSES):
            wanted = [history[lane, chunk.losses_step][i] for lane in chunk.lanes]
            np.testing.assert_allclose(chunk.losses[i], wanted, rtol=1e-6)
            np.testing.assert_allclose(entry["losses"][name], np.percentile(wanted, (0, 50, 100)), rtol=1e-6)
    record = json.loads((images / "whole" / "run.json").read_text())
    assert record["command"] == " ".join(["jaxstyle", *sweep])

    calls = []

    def fails(chunk):
        calls.append(chunk.steps_done)
        if len(calls) == 2:
            raise KeyError("the callback's own")

    with pytest.raises(KeyError, match="the callback's own") as caught:
        call([*SWEEP, "--out", "run"], on_chunk=fails)
    (note,) = caught.value.__notes__
    assert note.startswith("stopped after ")
    assert note.endswith(" of 12 steps; jaxstyle resume run goes on")
    assert len(calls) == 2
    more = []
    call(["resume", "run"], on_chunk=lambda chunk: more.append((chunk.steps_done, chunk.losses_step)))
    assert all(losses_step == done - 1 for done, losses_step in more)
    more = [done for done, _ in more]
    assert more[0] > calls[-1]
    assert more[-1] == 12
    assert results(images / "run") == results(images / "whole")


def test_a_callback_that_fails_at_the_last_step_of_a_run_that_nothing_keeps(images):
    def fails(chunk):
        if chunk.steps_done == chunk.steps:
            raise SystemExit(5)

    with pytest.raises(SystemExit, match="5"):
        call(["transfer", "c.png", "s.png", *QUICKEST, "-o", "out.png"], on_chunk=fails)
    assert not (images / "out.png").exists()


def test_errors_are_raised(images):
    with pytest.raises(StartError, match="nothing is not a run folder"):
        call(["resume", "nothing"])
    with pytest.raises(StartError, match="unknown optimizer"):
        call(["sweep", "c.png", "s.png", *QUICKEST, "--optimizer", "sgd"])


def test_the_pace_leaves_out_the_first_chunk_and_what_was_done_before(monkeypatch):
    """2 lanes take 20 steps, 8 of which were done before."""
    now, chunks = [100.0], []
    monkeypatch.setattr("jaxstyle.app.execution.progress.time.monotonic", lambda: now[0])
    progress = Progress(20, 40.0, [chunks.append], lanes=range(6, 9))
    progress.resume_at(16.0, 8)
    losses = Losses(*(np.array([1.0, np.nan]) for _ in range(4)))
    for steps, seconds, active in ((1, 30.0, 2), (4, 8.0, 2), (4, 2.0, 1)):
        now[0] += seconds
        progress.advance(steps, 2.0 * steps, Counts(active, 0, 2 - active), [0, 1], losses, progress.step + steps - 1)
    assert [chunk.seconds for chunk in chunks] == [30, 38, 40]
    assert [chunk.steps_done for chunk in chunks] == [9, 13, 17]
    assert [chunk.lanes for chunk in chunks] == [[6, 7]] * 3
    assert [chunk.lane_steps_per_second for chunk in chunks] == [None, 1.0, 12 / 10]
    assert [chunk.seconds_left for chunk in chunks] == [None, 7 * 2 / (8 / 8), 3 * 2 / (16 / 10)]
    assert progress.describe_steps() == "after 17 of 20 steps"
