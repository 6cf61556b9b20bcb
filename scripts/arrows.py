"""Print the arrows between the wings of the package, circles of modules, and what is larger than it may be.

    python scripts/arrows.py

A wing is a folder of modules; an arrow runs from a wing to one that it imports, late imports included. The exit status
is 1 if an arrow runs up, modules import each other in a circle, a module has more than 300 lines, a folder holds more
than 12 modules, or the chain from the command to the compiled loop is longer than 6 modules.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "jaxstyle"

# From the lowest on: a wing may import those before it, and no other.
WINGS = (
    "common",
    "colour",
    "network",
    "objective",
    "optimise",
    "parallel",
    "hypergradient",
    "evaluate",
    "pretrained",
    "app.system",
    "app.checkpoints",
    "app.settings",
    "app.image_files",
    "app.pictures",
    "app.execution",
    "app.run_folder",
    "app.report",
    "app.exporting",
    "app.sweeping",
    "app.weights",
    "app.planning",
    "app.commands",
    "app.cli",
)

# The modules that a call of `jaxstyle sweep` goes through, from its options to the compiled loop.
CHAIN = (
    "app.commands.sweep",
    "app.sweeping.sweep_run",
    "app.execution.run_job",
    "app.execution.lanes_of_shape",
    "app.execution.compiled_lanes",
    "optimise.transfer",
)

MOST_LINES, MOST_MODULES, LONGEST_CHAIN = 300, 12, 6

Imports = Mapping[str, set[str]]


def read_imports(package: Path = PACKAGE) -> dict[str, set[str]]:
    """The modules of the package that each of its modules imports, by names without the package's own."""
    files = {name_of(file, package): file for file in sorted(package.rglob("*.py"))}
    return {name: {to for to in _imported(file, package.name) if to in files} for name, file in files.items()}


def name_of(file: Path, package: Path = PACKAGE) -> str:
    """Dotted name of a module, as `app.cli`; "" of the package itself."""
    parts = file.relative_to(package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(file: Path, package: str) -> Iterable[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))


def wing_of(module: str) -> str | None:
    """The wing that a module is in; None of the packages `jaxstyle` and `jaxstyle.app` themselves."""
    return next((wing for wing in WINGS if module == wing or module.startswith(f"{wing}.")), None)


def find_arrows(imports: Imports) -> dict[str, list[str]]:
    """The other wings that each wing imports, the lowest first."""
    found: dict[str, set[str]] = {wing: set() for wing in WINGS}
    for module, targets in imports.items():
        wing = wing_of(module)
        if wing is not None:
            found[wing] |= {to for target in targets if (to := wing_of(target)) not in (None, wing)}
    return {wing: sorted(targets, key=WINGS.index) for wing, targets in found.items()}


def find_circles(imports: Imports) -> list[list[str]]:
    """Circles of modules that import each other, each as the modules along it."""
    circles, done = [], set[str]()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            circles.append(path[path.index(module) :])
        elif module not in done:
            for target in sorted(imports[module]):
                visit(target, [*path, module])
            done.add(module)

    for module in imports:
        visit(module, [])
    return circles


def find_faults(imports: Imports, package: Path = PACKAGE) -> list[str]:
    """What breaks the rules of the layout, a line each."""
    faults = [f"in no wing: {module}" for module in imports if wing_of(module) is None and module not in ("", "app")]
    for wing, targets in find_arrows(imports).items():
        faults += [f"up: {wing} -> {to}" for to in targets if WINGS.index(to) > WINGS.index(wing)]
    faults += [f"circle: {' -> '.join([*circle, circle[0]])}" for circle in find_circles(imports)]
    for file in sorted(package.rglob("*.py")):
        lines = len(file.read_text().splitlines())
        if lines > MOST_LINES:
            faults.append(f"{lines} lines: {name_of(file, package)}")
    for folder in sorted({file.parent for file in package.rglob("*.py")}):
        count = len([file for file in folder.glob("*.py") if file.stem != "__init__"])
        if count > MOST_MODULES:
            faults.append(f"{count} modules: {folder.relative_to(package)}")
    for module, following in pairwise(CHAIN):
        if following not in imports.get(module, ()):
            faults.append(f"chain: {module} does not import {following}")
    if len(CHAIN) > LONGEST_CHAIN:
        faults.append(f"chain: {len(CHAIN)} modules")
    return faults


def main() -> None:
    """Print the arrows, the chain and the faults."""
    imports = read_imports()
    for wing, targets in find_arrows(imports).items():
        print(f"{wing:14} -> {', '.join(targets) or 'nothing'}")
    print(f"chain: {' -> '.join(CHAIN)}")
    faults = find_faults(imports)
    print("\n".join(faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
