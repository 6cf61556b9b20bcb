"""The shapes and types in annotations are true, of functions and of the leaves of NamedTuples."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_public_functions_take_and_return_has_the_annotated_shapes():
    """Of all of them: as they are, under jit and under vmap; what is wrong on purpose is caught."""
    command = [sys.executable, "-m", "tests.checked_calls"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stdout.split(), "not called"
