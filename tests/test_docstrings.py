"""Docstrings: complete for every public function and class, their examples run, and pages of them are made."""

import ast
import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxstyle"
MODULES = sorted(  # of the library, without the command
    ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    for file in PACKAGE.rglob("[!_]*.py")
    if file.relative_to(PACKAGE).parts[0] != "app"
)
WITH_EXAMPLE = {
    "parallel.sweep.sweep",
    "parallel.weight_grid.weight_grid",
    "optimise.lbfgs.lbfgs",
    "objective.losses.feature_loss",
    "objective.losses.gram_matrix",
    "objective.losses.gram_loss",
    "objective.losses.total_variation",
    "objective.objective.make_objective",
    "parallel.stacked_targets.stack_targets",
    "pretrained.load.load_params",
    "pretrained.lpips.load_lpips",
    "optimise.pyramid.run_pyramid",
    "parallel.image_rows.shard_rows",
    "objective.statistics.statistic.StyleStatistic",
    "objective.statistics.content_statistics.ContentStatistic",
    "network.hypercolumns.add_hypercolumns",
    "optimise.transfer.make_transfer",
    "optimise.transfer.run",
    "hypergradient.run_checkpointed.run_checkpointed",
    "network.vgg_features.make_features",
}


def section(docstring, title):
    """The names that a section lists, in order; None if there is no such section."""
    found = re.search(rf"^{title}:\n((?:  .*(?:\n|\Z)|\n)+)", docstring, re.MULTILINE)
    return found and re.findall(r"^  (\w+):(?= |\n)", found[1], re.MULTILINE)


def lacks_of_function(function):
    docstring = ast.get_docstring(function) or ""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs) if a.arg != "self"]
    if names and section(docstring, "Args") != names:
        yield f"Args: of {names}, found {section(docstring, 'Args')}"
    if not docstring.splitlines()[:1]:
        yield "what it does"
    if ast.unparse(function.returns or ast.Constant(None)) != "None" and section(docstring, "Returns") is None:
        yield "Returns:"
    if any(isinstance(node, ast.Raise) for node in ast.walk(function)) and not section(docstring, "Raises"):
        yield "Raises:"


def lacks_of_class(node):
    docstring = ast.get_docstring(node) or ""
    fields = [field.target.id for field in node.body if isinstance(field, ast.AnnAssign)]
    if not docstring:
        yield "what it is"
    if fields and section(docstring, "Attributes") != fields:
        yield f"Attributes: of {fields}, found {section(docstring, 'Attributes')}"


def lacks(tree, name):
    """What the docstrings of a module's, or a class's, public functions and classes don't tell."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
            if "property" not in map(ast.unparse, node.decorator_list):
                yield from (f"{name}.{node.name} lacks {lack}" for lack in lacks_of_function(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (f"{name}.{node.name} lacks {lack}" for lack in lacks_of_class(node))
            yield from lacks(node, f"{name}.{node.name}")


def test_every_docstring_tells_arguments_results_and_errors():
    trees = {name: ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text()) for name in MODULES}
    assert [lack for name, tree in trees.items() for lack in lacks(tree, name)] == []


def test_a_lack_is_found():
    code = '''
def f(x, y) -> int:
    """Add.

    Args:
      x: a number.
        more: of it
    """
    if not x:
        raise ValueError
    return x + y


class C(NamedTuple):
    """A pair.

    Attributes:
      a: one.
    """

    a: int
    b: int
'''
    assert list(lacks(ast.parse(code), "m")) == [
        "m.f lacks Args: of ['x', 'y'], found ['x']",
        "m.f lacks Returns:",
        "m.f lacks Raises:",
        "m.C lacks Attributes: of ['a', 'b'], found ['a']",
    ]


def examples():
    finder = doctest.DocTestFinder()
    for name in MODULES:
        module = importlib.import_module(f"jaxstyle.{name}")
        for test in finder.find(module, name):
            if test.examples:
                yield test


EXAMPLES = {test.name: test for test in examples()}


def test_the_main_functions_have_an_example():
    assert set(EXAMPLES) >= WITH_EXAMPLE


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name):
    said = []
    runner = doctest.DocTestRunner()
    runner.run(EXAMPLES[name], out=said.append)
    assert not runner.failures, "".join(said)


def names_in_prose():
    """Every `jaxstyle.x.y` that prose of the package or the repository names."""
    files = [*PACKAGE.rglob("*.py"), *ROOT.glob("*.md"), *(ROOT / "scripts").rglob("*.md"), ROOT / "weights/README.md"]
    for file in files:
        if file.name != "CHANGELOG.md":  # which names what there was
            yield from re.findall(r"`(jaxstyle(?:\.\w+)+)[`(]", file.read_text())


@pytest.mark.parametrize("name", sorted(set(names_in_prose())))
def test_names_in_prose_exist(name):
    assert pkgutil.resolve_name(name) is not None


@pytest.mark.slow
def test_pages_are_made_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the group pages is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict"]
    command += ["-f", str(ROOT / "scripts/pages/mkdocs.yml"), "-d", str(tmp_path)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = {page.parent.name: page.read_text() for page in tmp_path.rglob("index.html")}
    shown = set(re.findall(r'id="jaxstyle\.([\w.]+)"', "".join(text.values())))
    assert WITH_EXAMPLE | {"app.cli.call", "evaluate.metrics.measure"} <= shown
    assert "usage: jaxstyle sweep" in text["options"]
    assert "<mo>&#x02211;</mo>" in text["objective"]  # a formula's sum
    assert "arithmatex" not in text["objective"]
