"""Makes pages of the library's docstrings, by pdoc; a warning is an error.

python scripts/api_pages.py build/api
"""

import importlib
import sys
import warnings
from pathlib import Path

import jaxtyping
import pdoc
import pdoc.render

PACKAGE = Path(__file__).parent.parent / "jaxstyle"


class ArrayLike:
    """Stands for the one of jax, a union of which every annotation would list the members."""


def shorten(module: object) -> None:
    """Leave out what Python itself writes about every NamedTuple: "Alias for field number 0"."""
    for value in vars(module).values():
        fields = getattr(value, "_fields", ()) if isinstance(value, type) and issubclass(value, tuple) else ()
        if fields:
            value.__new__.__doc__ = "Its fields, by place or by name."
        for field in fields:
            vars(value)[field].__doc__ = ""


def main(folder: str) -> None:
    """Write the pages of all modules but those of the command."""
    jaxtyping.__dict__["ArrayLike"] = ArrayLike
    files = [file.relative_to(PACKAGE).with_suffix("").parts for file in PACKAGE.rglob("[!_]*.py")]
    modules = sorted(".".join(parts) for parts in files if parts[0] != "app")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        package = importlib.import_module("jaxstyle")
        for name in modules:
            shorten(importlib.import_module(f"jaxstyle.{name}"))
        package.__all__.extend(sorted({module.split(".")[0] for module in modules}))
        pdoc.render.configure(docformat="google", include_undocumented=False, math=True)
        pdoc.pdoc("jaxstyle", output_directory=Path(folder))
    if raised:
        sys.exit("\n".join(f"{w.filename}:{w.lineno}: {w.message}" for w in raised))


if __name__ == "__main__":
    main(*sys.argv[1:])
