"""What the README says: its commands run, its example runs, and its links lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import jaxstyle as js
from jaxstyle.objective.losses import CONVENTIONS
from jaxstyle.objective.weight_defaults import WEIGHT_DEFAULTS
from tests.command import QUICK, jaxstyle
from tests.processes import ROOT, environment

README = (ROOT / "README.md").read_text()
COMMANDS = [line.split("  #")[0].strip() for line in re.findall(r"(?<=\n)    (\S.*)", README)]
FEW_PIXELS = ["--size", "32", "--min-size", "32", *QUICK]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "scripts/README.md", "weights/README.md")]


def test_it_is_short():
    assert len(README.encode()) <= 9000


@pytest.mark.slow
def test_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 15
    assert code.count(", 96)") == 2
    scope = {}
    exec(code.replace(", 96)", ", 48)"), scope)  # a quarter of the work
    result = scope["result"]
    assert result.images.shape == (4, 32, 48, 3)
    first, last = result.losses.style[:, 0], result.losses.style[:, -1]
    assert (last < first).all()
    assert last[3] < last[2] < last[1] < last[0]  # the larger beta, the closer to the style


def test_every_public_name_in_the_readme_exists():
    for name in re.findall(r"\bjs\.(\w+)", README):
        assert name in dir(js)


def test_every_convention_has_its_formula_and_its_defaults():
    assert set(WEIGHT_DEFAULTS) == set(CONVENTIONS)
    text = (ROOT / "jaxstyle" / "objective" / "losses.py").read_text()
    for convention in CONVENTIONS:
        assert f"\n| {convention} " in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        titles = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in [re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles], link


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone in which everything is installed, with two pictures in it."""
    clone = tmp_path_factory.mktemp("clone")
    (clone / "scripts").mkdir()
    for name in ("setup.sh", "sweep.sh", "check.sh"):
        shutil.copy(ROOT / "scripts" / name, clone / "scripts")
    shutil.copy(ROOT / "pyproject.toml", clone)
    (clone / ".venv" / "bin").mkdir(parents=True)
    python = clone / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (clone / ".venv" / ".installed-dev").write_text(f"{clone}\n{(clone / 'pyproject.toml').read_text()}")
    for name, sample in (("photo.jpg", "cat.jpg"), ("painting.jpg", "swirls.jpg")):
        Image.open(ROOT / "jaxstyle" / "samples" / sample).reduce(8).save(clone / name)
    return clone


def run_sweep_script(words, folder):
    done = subprocess.run(
        [*words, *FEW_PIXELS] if words[1:] else [*words, "sample:temple", "sample:swirls", *FEW_PIXELS],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def run_jaxstyle(words, folder):
    here = Path.cwd()
    os.chdir(folder)
    few = {"select": [], "weights": [], "plan": ["--help"], "export": ["--help"]}.get(words[0], FEW_PIXELS)
    # plan wants libtpu, and fetch a network: tests/app/planning and tests/app/weights have what takes their places.
    few = ["--help"] if words[:2] == ["weights", "fetch"] else few
    try:
        assert jaxstyle(*words, *few) == 0
    finally:
        os.chdir(here)


def run_pip(words, folder):
    assert words[:2] == ["pip", "install"]
    extras = re.findall(r"\[(.*)\]", words[2])
    assert set(extras) <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def run_checks(words, folder):
    """Only that the script is whole: its parts are this very run of the tests, and those of test_setup.py."""
    assert subprocess.run(["bash", "-n", *words], cwd=folder, check=False).returncode == 0


@pytest.mark.slow
def test_every_command_runs(folder):
    ways = {
        "scripts/sweep.sh": run_sweep_script,
        "scripts/check.sh": run_checks,
        ".venv/bin/jaxstyle": lambda words, folder: run_jaxstyle(words[1:], folder),
        "jaxstyle": lambda words, folder: run_jaxstyle(words[1:], folder),
        "pip": run_pip,
    }
    assert len(COMMANDS) >= 8
    for command in COMMANDS:  # one after another, as a reader types them
        words = command.replace('"', "").split()
        ways[words[0]](words, folder)
    assert {"picked.png", "final.png"} <= {path.name for path in folder.iterdir()}
    assert (folder / "runs" / "0001" / "report.html").is_file()
    assert (folder / "runs" / "first" / "sheet.png").is_file()
    for command in re.findall(r"`(?:\.venv/bin/|uvx --from \. )?jaxstyle ([^`]+)`", README):
        run_jaxstyle(command.split(), folder)
