"""Makes pages of all docstrings, by pdoc; a warning is an error.

python scripts/api_pages.py build/api
"""

import importlib
import sys
import typing
import warnings
from pathlib import Path

import jaxtyping
import pdoc
import pdoc.render

PACKAGE = Path(__file__).parent.parent / "jaxstyle"


class ArrayLike:
    """Stands for the one of jax, a union of which every annotation would list the members."""


def shorten(module: object, names: dict[str, object]) -> None:
    """Leave out what Python itself writes about every NamedTuple, "Alias for field number 0", and name its types.

    The constructor that Python makes for it has the types as strings, and doesn't say in which module to look them up.
    `names` holds those that a module imports for type checkers alone.
    """
    for value in vars(module).values():
        fields = getattr(value, "_fields", ()) if isinstance(value, type) and issubclass(value, tuple) else ()
        if fields:
            value.__new__.__doc__ = "Its fields, by place or by name."
            value.__new__.__annotations__ = typing.get_type_hints(value, localns=names)
        for field in fields:
            vars(value)[field].__doc__ = ""


def main(folder: str) -> None:
    """Write the pages of all modules."""
    jaxtyping.__dict__["ArrayLike"] = ArrayLike
    files = [file.relative_to(PACKAGE).with_suffix("").parts for file in PACKAGE.rglob("[!_]*.py")]
    modules = sorted(map(".".join, files))
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        package = importlib.import_module("jaxstyle")
        features = importlib.import_module("jaxstyle.network.features")
        names = {**{name: getattr(package, name) for name in package.__all__}, "Features": features.Features}
        for name in modules:
            shorten(importlib.import_module(f"jaxstyle.{name}"), names)
        package.__all__.extend(sorted({module.split(".")[0] for module in modules}))
        pdoc.render.configure(docformat="google", include_undocumented=False, math=True)
        pdoc.pdoc("jaxstyle", output_directory=Path(folder))
    if raised:
        sys.exit("\n".join(f"{w.filename}:{w.lineno}: {w.message}" for w in raised))


if __name__ == "__main__":
    main(*sys.argv[1:])
