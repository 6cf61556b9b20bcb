import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.skipif(sys.platform != "linux", reason="replaces calls of Linux")
def test_whatever_call_fails_nothing_finished_is_lost(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    import fuzz_files

    ends, failed = fuzz_files.fuzz(trials=60, seed=1)
    assert failed == []
    assert ends.total() == 60
    # Each way to end well is met, so that the trials are not all of one kind.
    ways = {how for _, how in ends}
    assert {"done", "kept elsewhere", "stopped, resumed"} <= ways
