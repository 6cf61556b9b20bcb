"""Lanes that fail or are retried, several devices, and chunks of steps."""

import json
import re
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxstyle as js
from jaxstyle.app.execution import chunk_loop, job, lanes_of_shape, optimizer_choice
from jaxstyle.app.execution.progress import Progress
from tests.app.sweeping.test_resume import KilledError, killed, results
from tests.command import QUICKEST, jaxstyle, read_table
from tests.processes import environment


@pytest.fixture
def descent(monkeypatch):
    """Replace adam, whose steps within bounds can't diverge, by plain gradient descent without bounds."""
    monkeypatch.setitem(
        job.OPTIMIZERS, "adam", optimizer_choice.OptimizerChoice(optax.inject_hyperparams(optax.sgd), 0.03, 1)
    )
    monkeypatch.setattr(job, "make_transfer", partial(job.make_transfer, bounds=None))


@pytest.mark.slow
def test_lanes_that_fail_change_no_bit_of_the_others(images, descent, capsys):
    """Of five lanes, one goes where the loss is not finite, and one diverges."""
    well = ["1,0,0.5", "2,0,0.5", "3,0,0.5", "4,0,0.5", "5,0,0.5"]
    ill = [well[0], "2,0,1e37", well[2], "4,0,1e6", well[4]]
    sweep = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "30", "--init", "noise"]
    for name, rows, status in (("well", well, 0), ("ill", ill, 1)):
        (images / f"{name}.csv").write_text("\n".join(["beta,tv,learning_rate", *rows, ""]))
        assert jaxstyle(*sweep, "--grid", f"{name}.csv", "--out", name) == status
    err = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r"jaxstyle: lanes 1 \(a .* not finite at step [01]\), 3 \(diverged at step \d+\) failed", err)
    found, wanted = js.load_run("ill"), js.load_run("well")
    for lane in (0, 2, 4):
        np.testing.assert_array_equal(found.images[lane], wanted.images[lane])
        assert found.lanes[lane] == wanted.lanes[lane]
        rows = [run.history["total"][run.history["lane"] == lane] for run in (found, wanted)]
        np.testing.assert_array_equal(*rows)
    for lane in (1, 3):
        row = read_table(images / "ill" / "lanes.csv")[lane]
        assert (row["status"], row["steps"] in row["reason"]) == ("failed", True)
        steps = [r["step"] for r in read_table(images / "ill" / "history.csv") if r["lane"] == str(lane)]
        assert steps == [str(i) for i in range(int(row["steps"]) + 1)]
    totals = found.history["total"][found.history["lane"] == 3]
    assert totals[-1] > 100 * totals[0]
    record = json.loads((images / "ill" / "run.json").read_text())
    assert record["options"]["grid"] == "ill.csv"


@pytest.mark.slow
def test_lanes_that_fail_are_retried_with_smaller_steps(images, descent, monkeypatch, capsys):
    """Lane 1 never stays finite; lane 2 diverges until its learning rate is small enough."""
    (images / "grid.csv").write_text("beta,tv,learning_rate\n1,0,0.5\n2,0,1e37\n3,0,1e6\n")
    sweep = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "30", "--init", "noise", "--grid", "grid.csv"]
    sweep += ["--checkpoint-every", "0"]
    for out, options, failed in (("once", [], "lanes 1 .* 2"), ("run", ["--retry", "4"], "lane 1")):
        assert jaxstyle(*sweep, *options, "--out", out) == 1
        assert re.match(rf"jaxstyle: {failed} \(.*\) failed", capsys.readouterr().err.splitlines()[-1])
    once, again = js.load_run("once"), js.load_run("run")
    assert [lane["retries"] for lane in once.lanes] == [0, 0, 0]
    assert (once.lanes[0], _history(once, 0)) == (again.lanes[0], _history(again, 0))
    np.testing.assert_array_equal(once.images[0], again.images[0])
    assert (again.lanes[1]["status"], again.lanes[1]["retries"]) == ("failed", 4)
    saved = again.lanes[2]
    assert (saved["status"], saved["reason"], saved["steps"]) == ("ok", "", 30)
    assert 1 <= saved["retries"] <= 4
    assert saved["learning_rate"] == pytest.approx(1e6 * 0.1 ** saved["retries"], rel=1e-6)
    totals = _history(again, 2)
    assert len(totals) == 31
    assert totals[-1] < totals[0]
    assert totals[0] == pytest.approx(_history(once, 2)[0], rel=1e-5)

    whole = results(images / "run")
    (images / "run").rename("whole")
    real = Progress.advance

    def dies(self, *args):
        if self.step > 70:  # in the second retry
            raise KilledError
        real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", dies)
        killed(*sweep, "--retry", "4", "--out", "run")
    assert list((images / "run" / "checkpoint").glob("lanes_0000_retry2.*"))
    assert jaxstyle("resume", "run") == 1
    assert results(images / "run") == whole


def _history(run, lane):
    return run.history["total"][run.history["lane"] == lane].tolist()


@pytest.mark.slow
def test_what_lbfgs_is_retried_with():
    """The longest step allowed gives the length of the first step."""
    image, gradient = np.full((6, 5, 3), 0.5, np.float32), np.random.default_rng(0).normal(size=(6, 5, 3))
    for arguments, length in (((), 0.01), ((0.1,), 0.001)):
        optimizer = optax.with_extra_args_support(job.OPTIMIZERS["lbfgs"].make(*arguments))
        state = optimizer.init(jnp.asarray(image))
        update = jax.jit(partial(optimizer.update, value=jnp.float32(1)))
        change, _ = update(jnp.asarray(gradient, jnp.float32), state, image)
        assert np.sqrt(np.mean(np.square(np.asarray(change, float)))) == pytest.approx(length, rel=1e-5)


def test_small_sizes_take_more_lanes_at_once(images, monkeypatch):
    """At 6x5 and 12x10 pixels, as many lanes are computed at once as take the memory of one group of 24x20 pixels."""
    built, build = [], lanes_of_shape.CompiledLanes

    def record(*args, group, **options):
        built.append(group)
        return build(*args, group=group, **options)

    monkeypatch.setattr(lanes_of_shape, "CompiledLanes", record)
    small = ["--min-size", "6", "--coarse-steps", "1", "--microbatch", "1", "--style-layers", "relu1_1"]
    small += ["--beta", "1:7:7"]
    assert jaxstyle("sweep", "c.png", "s.png", *QUICKEST, *small, "--out", "run") == 0
    # The full size is built first; images 16 times smaller come next, but there are 7 lanes; then 4 times smaller ones.
    assert built == [1, 7, 4]


@pytest.mark.slow
def test_the_length_of_chunks_changes_no_bit(images, monkeypatch):
    sweep = ["sweep", "c.png", "s.png", *QUICKEST[:-1], "9", "--beta", "1", "10"]
    runs = []
    for seconds in (1e-9, 5.0):
        monkeypatch.setattr(chunk_loop, "_MOST_SECONDS", seconds)
        assert jaxstyle(*sweep, "--out", "run", "--overwrite") == 0
        runs.append(js.load_run("run"))
    np.testing.assert_array_equal(runs[0].images, runs[1].images)
    np.testing.assert_array_equal(runs[0].history["total"], runs[1].history["total"])


def test_the_loop_pauses_where_the_state_is_wanted():
    """The program counts steps: no chunk is dispatched ahead of a pause, and chunks end at multiples of a stride."""
    calls, reports, pauses = [], [], []

    def program(state, count):
        calls.append((state, count))
        return state + count, chunk_loop.Losses(*(np.arange(state, state + 50.0) for _ in range(4)))

    state, done = chunk_loop.take_steps(
        program,
        3,
        start=3,
        steps=40,
        strides=[7],
        report=lambda steps, losses: reports.append(losses.total[:steps]),
        wants_state=lambda step: step % 7 == 0,
        show_state=lambda step, state: pauses.append((step, state)) or step == 35,
    )
    assert (state, done) == (35, 35)
    assert pauses == [(7 * i, 7 * i) for i in range(1, 6)]
    np.testing.assert_array_equal(np.concatenate(reports), np.arange(3, 35))
    assert all(before // 7 == (before + count - 1) // 7 for before, count in calls)


@pytest.mark.slow
def test_eight_devices_are_one(images):
    command = [sys.executable, "-m", "tests.devices_sweep"]
    done = subprocess.run(command, env=environment(devices=8), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
