"""Make scripts/examples/sweep.ipynb, for Jupyter or Colab, out of sweep_in_15_lines.py: run it after changing that.

The notebook's code is the script's, line by line, between a cell that installs the package and one that shows the
picture.
"""

import ast
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent / "examples"
SCRIPT, NOTEBOOK = EXAMPLES / "sweep_in_15_lines.py", EXAMPLES / "sweep.ipynb"

INSTALL = """\
# Leave the cell out where jaxstyle is installed.
%pip install --quiet "jaxstyle @ git+https://github.com/jaxstyle/jaxstyle"
"""
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/jaxstyle/jaxstyle/blob/main/scripts/examples/sweep.ipynb)"
)
# Where a code cell of the script begins, and what is said before it.
CELLS = {
    "import sys": "",
    "size, steps = ": "Content and style image, and the frozen network.",
    "objective = ": "The objective, what it compares pictures with, and an optimisation of one picture.",
    "betas = ": "All style weights in one vmapped loop, compiled once. On a CPU this takes a minute or two.",
    "for beta": "What it came to.",
}


def make_notebook(script: str) -> dict[str, Any]:
    """The notebook (nbformat 4.5) of a script with a docstring, whose lines begin as `CELLS` says.

    Raises:
      ValueError: for a script that lacks one of those lines.
    """
    tree = ast.parse(script)
    title = (ast.get_docstring(tree) or "").partition("\n")[0]
    lines = script.splitlines(keepends=True)[tree.body[0].end_lineno :]
    starts = [next((i for i, line in enumerate(lines) if line.startswith(start)), -1) for start in CELLS]
    if starts != sorted(set(starts)) or starts[0] < 0:
        raise ValueError(f"the script must have lines that begin with {', '.join(CELLS)}, in this order")
    cells = [_cell("markdown", f"# {title}\n\n{BADGE}\n\nMade from {SCRIPT.name}."), _cell("code", INSTALL)]
    for text, first, last in zip(CELLS.values(), starts, [*starts[1:], len(lines)], strict=True):
        if text:
            cells.append(_cell("markdown", text))
        cells.append(_cell("code", "".join(lines[first:last])))
    cells.append(_cell("code", 'Image.open("sweep.png")'))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _cell(kind: str, text: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": text.strip().splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


if __name__ == "__main__":
    NOTEBOOK.write_text(json.dumps(make_notebook(SCRIPT.read_text()), indent=1, sort_keys=True) + "\n")
