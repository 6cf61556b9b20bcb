"""Tells functions apart by what they were made of, so that a program compiled for one can serve an equal one.

A function of this package is known by its place in the source, and by the values that it has closed over. The source
itself is hashed as a whole.
"""

import dataclasses
import functools
import hashlib
import inspect
import os
import platform
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxstyle

_OWN = jaxstyle.__name__
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
_KNOWN = (_OWN, *_LIBRARIES, "builtins", "contextlib", "functools", "math", "operator")
_PLAIN = (type(None), bool, int, float, str, bytes, np.dtype, type(Ellipsis))


class UnknownError(Exception):
    """Something can't be told apart from others of its kind."""


def fingerprint(*things: Any) -> str:
    """Return a hash, in hexadecimal, of functions of this package with what they have closed over, and of values.

    Raises:
      UnknownError: for functions and objects of other packages than those that are known, whose source may change.
    """
    digest = hashlib.sha256()
    for part in _parts(things, []):
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()


def _parts(thing: Any, path: list[int]) -> Iterator[str | bytes]:
    """List everything that a thing is made of; `path` holds what contains it, which may contain itself."""
    if isinstance(thing, _PLAIN):
        yield f"{type(thing).__name__} {thing!r}"
        return
    if id(thing) in path:
        yield f"loop {len(path) - path.index(id(thing))}"
        return
    kind = type(thing)
    yield f"{kind.__module__}.{kind.__qualname__}"
    for part in _contents(thing):
        if isinstance(part, bytes):
            yield part
        else:
            yield from _parts(part, [*path, id(thing)])
    yield "end"


def _contents(thing: Any) -> Iterator[Any]:
    """List what a thing is made of, which may be things again."""
    for kind, list_contents in _KINDS:
        if isinstance(thing, kind):
            yield from list_contents(thing)
            return
    if dataclasses.is_dataclass(thing):
        yield from ((field.name, getattr(thing, field.name)) for field in dataclasses.fields(thing))
    elif hasattr(thing, "__wrapped__"):  # such as a function under jit, or with its own gradient
        yield from (thing.__wrapped__, getattr(thing, "fwd", None), getattr(thing, "bwd", None))
    elif not _is_sign(thing):
        raise UnknownError(f"{type(thing).__module__}.{type(thing).__qualname__}")


def _of_named(thing: Any) -> Iterator[Any]:
    if not _is_known(thing):
        raise UnknownError(f"{thing.__module__}.{thing.__qualname__}")
    yield from (thing.__module__, thing.__qualname__)


def _of_function(thing: types.FunctionType) -> Iterator[Any]:
    code = thing.__code__
    yield from _of_named(thing)
    yield from (code.co_firstlineno, code.co_code, code.co_names)
    yield [constant for constant in code.co_consts if isinstance(constant, _PLAIN)]
    yield from (thing.__defaults__, thing.__kwdefaults__)
    yield [cell.cell_contents for cell in thing.__closure__ or ()]


def _of_array(thing: Any) -> Iterator[Any]:
    array = np.asarray(thing)
    yield from (array.dtype, array.shape, np.ascontiguousarray(array).tobytes())


def _of_mesh(mesh: Mesh) -> Iterator[Any]:
    yield from (mesh.axis_names, str(mesh.axis_types), mesh.devices.shape, [d.id for d in mesh.devices.flat])


_KINDS: tuple[tuple[Any, Callable[[Any], Iterable[Any]]], ...] = (
    (types.FunctionType, _of_function),
    (type | types.BuiltinFunctionType, _of_named),
    (functools.partial, lambda x: (x.func, x.args, x.keywords)),
    (types.MethodType, lambda x: (x.__func__, x.__self__)),
    (Mapping, lambda x: x.items()),
    (PartitionSpec | inspect.Signature, lambda x: [str(x)]),
    (tuple | list, lambda x: x),
    (set | frozenset, lambda x: sorted(x, key=repr)),
    (np.ndarray | np.generic | jax.Array, _of_array),
    (Mesh, _of_mesh),
)


def _is_sign(thing: Any) -> bool:
    """Return whether an object holds nothing, so that it only stands for something."""
    return type(thing) is object or (_is_known(type(thing)) and getattr(thing, "__dict__", None) == {})


def _is_known(thing: Any) -> bool:
    return (thing.__module__ or "").partition(".")[0] in _KNOWN


def describe_arguments(arguments: Any) -> str:
    """Return what a program is compiled for: the structure of its arguments, and shapes, dtypes and devices."""
    leaves, structure = jax.tree.flatten(arguments)
    return repr((str(structure), [_describe_leaf(leaf) for leaf in leaves]))


def _describe_leaf(leaf: Any) -> Any:
    aval = jax.typeof(leaf)
    found = (aval.shape, aval.dtype.name, aval.weak_type)
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return found
    return (*found, str(sharding.spec), [*_contents(sharding.mesh)])


@functools.cache
def source() -> str:
    """Return a hash of this package's source, and of what else programs are made of that does not change in a run."""
    digest = hashlib.sha256()
    folder = Path(jaxstyle.__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    digest.update(repr((sys.version, platform.machine(), _processor(), _threads())).encode())
    digest.update(repr([version(name) for name in _LIBRARIES]).encode())
    return digest.hexdigest()


def _processor() -> str:
    """Return the instructions that the processor has, where Linux tells them: programs are compiled for them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _threads() -> int | None:
    """Return how many threads the process may use, among which XLA divides its loops."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def surroundings() -> str:
    """Return what else a program depends on: jax's settings, the compiler's flags, and the devices."""
    settings = {name: str(getattr(jax.config, name, None)) for name in jax.config.values if "cache" not in name}
    flags = [os.environ.get(name) for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")]
    devices = [(d.id, d.platform, d.device_kind, d.client.platform_version) for d in jax.local_devices()]
    return repr((sorted(settings.items()), flags, devices))
