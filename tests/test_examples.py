"""The scripts in scripts/examples, each in its short form in a process of its own, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "scripts" / "examples"
NAMES = sorted(file.stem for file in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_example_ends_with_a_picture(name, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": str(EXAMPLES.parent.parent), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    (picture,) = tmp_path.glob("*.png")
    assert picture.name in (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape[2] == 3
    assert pixels.std() > 20


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_short_and_use_only_what_is_public(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < 80
    assert "import _" not in text
    assert "._" not in text.replace("._replace", "")


def test_the_sweep_has_15_lines():
    code = (EXAMPLES / "sweep_in_15_lines.py").read_text().rpartition("import read_image\n")[2]
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 15
