"""The scripts that a fresh clone starts with, with programs named python that only note how they are called."""

import os
import shutil
import subprocess

import pytest

from tests.processes import ROOT

# A Python of the version in its own name, which can make environments unless NO_VENV names it.
FAKE = """#!/bin/bash
name=$(basename "$0")
case "$*" in
"-c "*) [[ " $NO_VENV " != *" $name "* && $name != python3.10 && $name != python3 ]]; exit ;;
"-m venv "*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
"-m pip --version") ;;
"--version") echo "Python ${name#python}" ;;
*) echo "$*" >>"$CALLS" ;;
esac
"""


@pytest.fixture
def clone(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("setup.sh", "sweep.sh", "check.sh"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()

    def run(script, *arguments, pythons=("python3.11",), **variables):
        for name in pythons:
            (programs / name).write_text(FAKE)
            (programs / name).chmod(0o755)
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "CALLS": str(calls), **variables}
        # Pythons of this machine that lie in the path are none of the clone's business.
        environment["JAXSTYLE_PYTHON"] = variables.get("JAXSTYLE_PYTHON", " ".join(_order(tmp_path, programs)))
        done = subprocess.run(
            [str(tmp_path / "scripts" / script), *arguments],
            cwd=tmp_path / "programs",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, calls.read_text().splitlines() if calls.exists() else []

    return run


def _order(clone, programs):
    """The Pythons that the script looks for, in its order, as far as the test made them."""
    text = (clone / "scripts" / "setup.sh").read_text()
    names = text.split("${JAXSTYLE_PYTHON:-")[1].split("}")[0].split()
    return [str(programs / name) for name in names if (programs / name).exists()] or ["no-python"]


def test_a_sweep_installs_what_it_needs_once_and_then_runs(clone):
    done, calls = clone("sweep.sh")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["making .venv with Python 3.11", "installing jaxstyle (base) into .venv"]
    install, sweep = calls
    assert install == "-m pip install --quiet --disable-pip-version-check -e ."
    assert sweep == "-m jaxstyle.app.cli sweep sample:temple sample:swirls"
    done, calls = clone("sweep.sh", "a b.jpg", "style.jpg", "--size", "64")
    assert (done.stderr, calls) == ("", ["-m jaxstyle.app.cli sweep a b.jpg style.jpg --size 64"])


def test_datasets_come_when_they_are_asked_for(clone):
    clone("sweep.sh")
    done, (install, _) = clone("sweep.sh", "tfds:name/train[:2]", "sample:swirls")
    assert done.stderr == "installing jaxstyle (tfds) into .venv\n"
    assert install.endswith(" -e .[tfds]")
    assert len(clone("sweep.sh")[1]) == 1  # these have all that a sweep of files needs


def test_the_checks_install_all_and_take_arguments_of_pytest(clone):
    done, calls = clone("check.sh", "-m", "slow")
    assert done.returncode == 0, done.stderr
    assert " -e .[h5py,tfds" in calls[1]
    assert calls[1].endswith(" --group dev")
    assert calls[-1].startswith("-m pytest ")
    assert calls[-1].endswith(" -m slow")
    assert len(clone("sweep.sh")[1]) == 1


def test_what_changed_is_installed_again(clone, tmp_path):
    clone("sweep.sh")
    (tmp_path / "pyproject.toml").write_text("changed")
    assert len(clone("sweep.sh")[1]) == 2


@pytest.mark.parametrize(
    ("pythons", "without_venv", "version"),
    [
        ("python3 python3.11 python3.12 python3.13", "", "3.13"),
        ("python3.11 python3.12 python3.13", "python3.13", "3.12"),
        ("python3.10 python3.11 python3.14", "", "3.14"),
    ],
)
def test_the_newest_python_that_can_make_an_environment(clone, pythons, without_venv, version):
    done, _ = clone("sweep.sh", pythons=pythons.split(), NO_VENV=without_venv)
    assert done.stderr.splitlines()[0] == f"making .venv with Python {version}"


@pytest.mark.parametrize("script", ["sweep.sh", "check.sh"])
def test_no_python_is_one_line(clone, script):
    done, calls = clone(script, pythons=(), JAXSTYLE_PYTHON=os.devnull)
    assert (done.returncode, calls) == (2, [])
    assert done.stderr.startswith("jaxstyle needs Python 3.11 to 3.14 with venv")
    assert len(done.stderr.splitlines()) == 1
