import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jaxstyle as js

ROOT = Path(__file__).parent.parent


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_importing_imports_nothing_heavy():
    code = "import sys, jaxstyle; print([m for m in ('jax', 'flax', 'optax', 'numpy', 'PIL') if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_help_imports_no_jax():
    code = (
        "import sys\n"
        "from jaxstyle.app import cli\n"
        "try: cli.main(['sweep', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('jax', 'numpy') if m in sys.modules])"
    )
    assert run_python(code).strip().endswith("[]")


def test_names_are_functions_even_after_every_module_is_imported():
    code = (
        "import pkgutil, importlib, jaxstyle as js\n"
        "for m in pkgutil.walk_packages(js.__path__, 'jaxstyle.'): importlib.import_module(m.name)\n"
        "print([n for n in js.__all__ if not callable(getattr(js, n))])"
    )
    assert run_python(code).strip() == "[]"


def test_public_names():
    assert set(js.__all__) <= set(dir(js))
    for name in js.__all__:
        assert getattr(js, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = js.nothing


def test_what_is_said_of_the_package_agrees():
    """The citation, the model card and the workflows say what pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = dict(re.findall(r"^(\S+): (.+)", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert (citation["version"], citation["license"]) == (js.__version__, project["license"])
    assert (citation["repository-code"], citation["url"]) == tuple(list(project["urls"].values())[:2])
    card = (ROOT / "weights" / "README.md").read_text().split("---\n")[1]
    assert "license: bsd-3-clause" in card.splitlines()
    assert "BSD 3-Clause License" in (ROOT / "weights" / "NOTICE.md").read_text()
    tested = re.search(r"python: \[(.*)\]", (ROOT / ".github" / "workflows" / "checks.yml").read_text())
    assert tested is not None
    named = [name.rpartition(" ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    assert named == ["3.11", "3.12", "3.13"]
    assert set(named) <= set(re.findall(r"[\d.]+", tested[1]))
