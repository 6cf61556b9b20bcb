"""The notebook is the script: nothing in it can drift."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
SCRIPT, NOTEBOOK = (SCRIPTS / "examples" / name for name in ("sweep_in_15_lines.py", "sweep.ipynb"))


@pytest.fixture(scope="module")
def maker():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        import make_notebook

        yield make_notebook


def code_cells():
    return ["".join(c["source"]) for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]


def test_its_code_is_that_of_the_script():
    install, *middle, show = code_cells()
    assert install.splitlines()[-1].startswith("%pip install")
    assert show == 'Image.open("sweep.png")'
    found, wanted = ast.parse("\n".join(middle)), ast.parse(SCRIPT.read_text())
    assert ast.dump(found) == ast.dump(ast.Module(wanted.body[1:], []))  # without the docstring
    comments = [line.rpartition("#")[2] for line in SCRIPT.read_text().splitlines() if "  #" in line]
    assert len(comments) == 5
    assert all(comment in "".join(middle) for comment in comments)


def test_the_file_is_what_the_script_gives(maker):
    assert json.loads(NOTEBOOK.read_text()) == maker.make_notebook(SCRIPT.read_text()), "run scripts/make_notebook.py"


def test_it_is_valid_nbformat():
    nbformat = pytest.importorskip("nbformat", reason="the extra dev is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert nbformat.writes(notebook) + "\n" == NOTEBOOK.read_text()  # as Jupyter saves it


def test_a_script_that_lacks_a_line(maker):
    text = SCRIPT.read_text()
    for bad in (text.replace("betas = ", "values = "), text.replace("import sys", "import os")):
        with pytest.raises(ValueError, match="the script must have lines that begin with import sys, size, steps = , "):
            maker.make_notebook(bad)


@pytest.mark.slow
def test_its_cells_run_one_after_another(tmp_path):
    _, *cells = code_cells()
    last = cells.pop()
    code = "\n".join(
        ["import sys", "sys.argv.append('--quick')", *cells, f"assert {last}._repr_png_()[:4] == b'\\x89PNG'"]
    )
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {
        "PYTHONPATH": str(SCRIPTS.parent),
        "JAX_PLATFORMS": "cpu",
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
