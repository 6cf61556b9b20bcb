import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SMALL = ["--size", "32", "--lanes", "2", "--pairs", "1", "--no-memory"]


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import benchmark

        yield benchmark
    benchmark.make_inputs.cache_clear()


@pytest.fixture
def shallow(benchmark, shallow_by_default):
    """The benchmark, of a network that takes less time to compile."""
    benchmark.make_inputs.cache_clear()
    yield benchmark
    benchmark.make_inputs.cache_clear()


def test_against_one(shallow, capsys):
    shallow.main([*SMALL, "--against", "one", "--json"])
    found = json.loads(capsys.readouterr().out)
    (row,) = found.pop("results")
    assert (found["against"], found["jax"], found["pairs"]) == ("one", jax.__version__, 1)
    assert (row["size"], row["lanes"]) == (32, 2)
    assert row["ratio_min"] == row["ratio"] == row["ratio_max"]
    assert row["ratio"] == pytest.approx(row["lane_step_s"] / row["one_lane_step_s"], rel=1e-2)
    assert row["compile_s"] > 0
    assert row["one_compile_s"] > 0


@pytest.mark.slow
def test_every_backend_and_the_gradient_alone(shallow, capsys):
    shallow.main([*SMALL, "--backend", "auto", "xla", "winograd", "--dtype", "bfloat16", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["dtype"] == "bfloat16"
    assert [row["backend"] for row in found["results"]] == ["auto", "xla", "winograd"]
    assert all(row["lane_gradient_s"] > 0 for row in found["results"])


def test_a_loop_of_steps_is_what_the_scan_is(shallow):
    scan = shallow.make_ours(32, 2, 3).run()
    loop = shallow.make_other("loop", 32, 2, 3).run()
    np.testing.assert_allclose(loop, scan, rtol=1e-2)
    assert loop.shape == (3, 2)


def test_losses_are_those_of_torch(benchmark):
    pytest.importorskip("torch")
    theirs = benchmark.make_other("torch", 32, 2, 2).run()
    ours = benchmark.make_ours(32, 2, 2).run()
    assert ours.shape == theirs.shape == (2, 2)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=5e-3)  # after a step, so of the same gradients and Adam
    assert (ours[1] < ours[0]).all()
    assert (ours[:, 1] > 1.1 * ours[:, 0]).all()  # so at the larger beta, style counts
    benchmark.check_losses(ours, theirs)


def test_losses_that_differ_are_an_error(benchmark):
    losses = np.ones((3, 2))
    benchmark.check_losses(losses, np.array([[1, 1.0009], [1.009, 1], [2, 2]]))  # rounding adds up with the steps
    for step, wrong in ((0, 1.002), (0, np.nan), (1, 1.02), (1, np.nan)):
        other = losses.copy()
        other[step, 1] = wrong
        with pytest.raises(SystemExit, match=f"after {step} steps .* not timed"):
            benchmark.check_losses(losses, other)


def test_peak_memory_is_that_of_a_process_without_jax(benchmark):
    pytest.importorskip("torch")
    assert 150 < benchmark.peak_memory("torch", 32, 1, 1) < 1500  # PyTorch for CUDA takes 800
    code = "import sys, torch_transfer as t; t.random_params(); print('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True).stdout == "False\n"


def test_own_peak_is_not_inherited():
    block = bytearray(400_000_000)
    code = "import benchmark; print(benchmark.own_peak())"
    found = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True).stdout
    assert int(found) < len(block) / 2


def test_table_is_aligned(benchmark):
    rows = [{"size": 32, "lane_step_s": 0.1234, "ratio": 0.5}, {"size": 1024, "lane_step_s": 12.0, "ratio": 1.25}]
    lines = list(benchmark.table_lines(iter(rows)))
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["size", "lane_step_s", "ratio"]
    assert lines[2].split() == ["1024", "12.0", "1.25"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [("--size 31", "at least 32"), ("--lanes 0", "at least 1, got 0"), ("--against jax", "invalid choice")],
)
def test_options_that_make_no_sense(benchmark, capsys, argv, message):
    with pytest.raises(SystemExit) as error:
        benchmark.main(argv.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_missing_torch_is_one_line(benchmark, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as error:
        benchmark.main(["--against", "torch"])
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert "pip install torch" in message
    assert message.count("\n") == 1
