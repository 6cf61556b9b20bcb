"""The comparison of fronts, on fronts drawn by hand; the script itself, in a short form."""

from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import compare_presets

    return compare_presets


def test_the_default_is_read_at_the_same_lpips_or_a_smaller_one(script):
    front = np.array([[0.4, 1.0], [0.2, 4.0], [0.6, 2.0]])  # in no order; the last is worse than the first by both
    preset = np.array([[0.1, 9.0], [0.3, 1.0], [0.4, 2.0], [0.5, 1.0], [0.9, 0.5]])
    # Nearer than all; half-way in the logarithm; at a point; where the first is better than the line; beyond all.
    assert script.compare(front, preset) == pytest.approx([2.0, 0.5, 1.0, 2.0])


@pytest.mark.slow
def test_runs_are_kept(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "DEFAULT_BETAS", ["0.1", "1"])
    arguments = ["", "--size", "48", "--contents", "sample:cat", "--styles", "sample:mosaic", "--betas", "1e5"]
    arguments += ["--weights", "random:0", "--content-layers", "relu1_2", "--style-layers", "relu1_1"]
    tables = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", [*arguments, "--runs", str(tmp_path), "--steps", "2"])
        script.main()
        tables.append(capsys.readouterr().out.splitlines()[-3:])
        monkeypatch.setattr(script, "call", None)  # nothing is left to be run
    assert tables[0] == tables[1]
    assert tables[0][2].startswith("| sample:cat, sample:mosaic | ")
