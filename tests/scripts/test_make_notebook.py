"""The notebook is the script: nothing in it can drift."""

import ast
import json
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
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
    nbformat = pytest.importorskip("nbformat", reason="the group test is not installed")
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert nbformat.writes(notebook) + "\n" == NOTEBOOK.read_text()  # as Jupyter saves it


def test_a_script_that_lacks_a_line(maker):
    text = SCRIPT.read_text()
    for bad in (text.replace("betas = ", "values = "), text.replace("import sys", "import os")):
        with pytest.raises(ValueError, match="the script must have lines that begin with import sys, size, steps = , "):
            maker.make_notebook(bad)
