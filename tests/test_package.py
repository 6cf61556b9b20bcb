import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle as js

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxstyle"

# A module may import those before it. Everything in app/ comes after everything else.
ORDER = (
    "__init__ layers schedule presets checks dtypes winograd conv activations vgg alexnet matrix_root losses "
    "style_statistics regions colour similarity metrics objective scaling optimizers transfer averaging curvature "
    "lbfgs rows unrolled implicit pyramid stopping starts lanes sweeps select weight_sets ported file_kinds "
    "pretrained"
).split()
# pretrained does I/O, and looks for sets in the cache folder, whose place that module knows.
DOWNWARD_ALL_THE_SAME = {("pretrained", "jaxstyle.app.cache"), ("pretrained", "jaxstyle.app.cache.cache_folder")}
IO_MODULES = {"os", "pathlib", "shutil", "time", "socket", "tempfile", "urllib", "PIL", "tqdm"}


def imports(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_point_downward():
    files = [file for file in PACKAGE.glob("*.py") if file.stem != "__init__"]
    assert {file.stem for file in files} | {"__init__"} == set(ORDER)
    for file in files:
        for name in imports(file):
            if name.startswith("jaxstyle.") and (file.stem, name) not in DOWNWARD_ALL_THE_SAME:
                target = name.split(".")[1]
                assert target in ORDER[: ORDER.index(file.stem)], f"{file.name} imports {name}"


def test_only_the_shell_does_io():
    for name in ORDER[1:-1]:
        used = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py")}
        assert not used & IO_MODULES, name


def test_modules_stay_small():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text()
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        of_docstrings = sum(n.body[0].end_lineno - n.body[0].lineno + 1 for n in nodes if ast.get_docstring(n))
        assert len(text.splitlines()) - of_docstrings <= 300, file


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
