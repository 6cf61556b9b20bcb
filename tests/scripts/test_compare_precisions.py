"""A short form of what compare_precisions.py does: pictures end as float32's do, as any small change has them end."""

import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHORT = "--pairs 1 --betas 1 10 --size 52 --steps 12 --optimizer adam --dtype bfloat16 bfloat16_3x".split()
LAYERS = "--content-layers relu2_2 --style-layers relu1_1 relu2_1".split()


@pytest.mark.slow
def test_pictures_of_bfloat16_are_as_good(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(SCRIPTS)
    import compare_precisions

    file = tmp_path / "table.json"
    compare_precisions.main([*SHORT, *LAYERS, "--json", str(file)])
    rows = {row["dtype"]: row for row in json.loads(file.read_text())["rows"]}
    assert list(rows) == [compare_precisions.CHAOS, "bfloat16", "bfloat16_3x"]
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
    for name, row in rows.items():
        assert 0.95 < row["objective_mean"] <= row["objective_worst"] < 1.06, name
        assert 0.9 < row["lpips_mean"] < 1.1, name
    assert rows["bfloat16"]["objective_mean"] != 1
