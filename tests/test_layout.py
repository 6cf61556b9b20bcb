"""The layout of the package: wings, the arrows between them, sizes; and who may do input and output."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import arrows  # noqa: E402

# Which wings a wing may import beside itself; everything else is an arrow that runs up, or one that nobody needs.
ALLOWED = {
    "common": "",
    "colour": "common",
    "network": "common",
    "objective": "common network",
    "optimise": "common colour network objective",
    "parallel": "common network objective optimise",
    "hypergradient": "common network objective optimise",
    "evaluate": "common colour network objective",
    "pretrained": "common network",
    "app.system": "common pretrained",
    "app.checkpoints": "app.system",
    "app.settings": "common network objective optimise app.system",
    "app.image_files": "common app.system",
    "app.pictures": "common colour network objective optimise app.system app.settings app.image_files",
    "app.execution": "common colour network objective optimise parallel evaluate pretrained app.system "
    "app.checkpoints app.settings app.pictures",
    "app.run_folder": "common evaluate app.system app.checkpoints app.settings app.pictures app.execution",
    "app.report": "evaluate app.system app.settings app.run_folder",
    "app.exporting": "app.system app.settings app.run_folder",
    "app.sweeping": "common objective optimise evaluate pretrained app.system app.checkpoints app.settings "
    "app.image_files app.pictures app.execution app.run_folder app.report",
    "app.weights": "common network pretrained app.system app.pictures",
    "app.planning": "common network objective optimise parallel pretrained app.system app.execution",
    "app.commands": "common network objective optimise evaluate pretrained app.system app.checkpoints app.settings "
    "app.image_files app.pictures app.execution app.run_folder app.report app.exporting app.sweeping app.weights "
    "app.planning",
    "app.cli": "app.system app.commands",
}
IO_MODULES = {"os", "pathlib", "shutil", "time", "socket", "tempfile", "urllib", "PIL", "tqdm"}


def test_arrows_run_down():
    found = arrows.find_arrows(arrows.read_imports())
    assert set(found) == set(ALLOWED) == set(arrows.WINGS)
    for wing, targets in found.items():
        assert set(targets) <= set(ALLOWED[wing].split()), wing


def test_the_layout_has_no_faults():
    assert arrows.find_faults(arrows.read_imports()) == []


def test_every_wing_says_what_lives_there():
    for folder in {file.parent for file in arrows.PACKAGE.rglob("*.py")}:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_only_the_shell_and_the_weights_do_io():
    for file in arrows.PACKAGE.rglob("*.py"):
        wing = arrows.wing_of(arrows.name_of(file))
        if wing is None or wing.startswith("app.") or wing == "pretrained":
            continue
        nodes = list(ast.walk(ast.parse(file.read_text())))
        used = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        used |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in used} & IO_MODULES, file


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"common/a.py": "from jaxstyle.network import b", "network/b.py": ""}, "up: common -> network"),
        (
            {"network/a.py": "from jaxstyle.network.b import x", "network/b.py": "def f(): import jaxstyle.network.a"},
            "circle: network.a -> network.b -> network.a",
        ),
        ({"common/a.py": "x = 1\n" * 301}, "301 lines: common.a"),
        ({f"common/m{i}.py": "" for i in range(13)}, "13 modules: common"),
        ({"stray.py": ""}, "in no wing: stray"),
    ],
)
def test_faults_are_found(tmp_path, files, fault):
    package = tmp_path / "jaxstyle"
    for name, text in {"__init__.py": "", "common/__init__.py": "", "network/__init__.py": "", **files}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    assert fault in arrows.find_faults(arrows.read_imports(package), package)
