"""The scripts in scripts/examples, each in its short form in a process of its own, as a user runs it."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.processes import ROOT, environment
from tests.tiny_dataset import build_dataset

EXAMPLES = ROOT / "scripts" / "examples"
NAMES = sorted(file.stem for file in EXAMPLES.glob("*.py") if file.stem != "feed_forward")  # what two of them share


def run_example(name, *arguments, folder, **variables):
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--quick", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_example_ends_with_a_picture(name, tmp_path, tmp_path_factory):
    arguments, data = [], tmp_path_factory.mktemp("data")
    if name == "tfds_input":
        pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
        build_dataset(data)
        arguments = ["tfds:tiny/plain/train[:3]"]
    if name == "optuna_rounds":
        pytest.importorskip("optuna", reason="the extra optuna is not installed")
    if name == "feed_forward_linen":  # that of NNX trains on samples
        for i in range(2):
            Image.effect_noise((48, 40), 99).convert("RGB").save(data / f"{i}.jpg")
        arguments = [str(data), "sample:woodcut"]
    done = run_example(name, *arguments, folder=tmp_path, TFDS_DATA_DIR=str(data))
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if name == "optuna_rounds":
        first, *later = map(int, re.findall(r"(\d+) programs compiled", done.stdout))
        assert first > 0
        assert later == [0, 0]
    (picture,) = tmp_path.glob("*.png")
    assert picture.name in (EXAMPLES / f"{name}.py").read_text().split('"""')[1]
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape[2] == 3
    assert pixels.std() > 20


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_short_and_use_only_what_is_public(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) < (100 if name.startswith("feed_forward") else 80)
    assert "import _" not in text
    assert "._" not in text.replace("._replace", "")


@pytest.mark.slow
def test_a_dataset_that_is_not_there_is_one_line_that_says_how_to_get_it(tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    done = run_example("tfds_input", folder=tmp_path, TFDS_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"oxford_flowers102 is not prepared in {tmp_path}; this prepares it from the download")
    assert "download_and_prepare()" in line
    assert not list(tmp_path.iterdir())


def test_the_sweep_has_15_lines():
    code = (EXAMPLES / "sweep_in_15_lines.py").read_text().rpartition("import jaxstyle as js\n")[2]
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 15
