"""Compiled programs that later runs find again without tracing anything.

jax's own cache saves the time of compiling. Its keys are made of the traced program, and tracing takes longer than all
else that a short run does. Here a program's key is made of what it was traced from: the function with what it has
closed over (see `fingerprints`), the source of this package, the versions of libraries, the settings of jax, the
devices, and the shapes of arguments. So the programs of other code are never taken.

They lie in the folder of jax's cache, and are trusted as those are: loading one runs what it holds. So a file that
belongs to another user is left alone, and one that is damaged is written again.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from jaxstyle.app.system.compilation_cache import kept_folder
from jaxstyle.app.system.errors import AppError
from jaxstyle.app.system.files import write_atomic
from jaxstyle.app.system.fingerprints import UnknownError, describe_arguments, fingerprint, source, surroundings

_DIGEST = hashlib.sha256().digest_size
_Options = dict[str, str | bool]


def compile_options(platform: str, *, quickly: bool = False) -> _Options:
    """Choose options of XLA for the command's programs.

    Args:
      platform: of the devices, "cpu", "gpu" or "tpu".
      quickly: whether the program is to be compiled in half the time rather than to be fast.

    Returns:
      What `jax.stages.Lowered.compile` takes.
    """
    if platform == "gpu":
        # XLA tries dozens of Triton's kernels for every matrix product. On an H200, a step of the default style loss
        # (five lanes of 160 px) took 78 s to compile with them and 0.94 ms a lane, and without them 9 s and 1.01 ms.
        return {"xla_gpu_enable_triton_gemm": False}
    # LLVM's passes take as long as all else of XLA on a CPU.
    return {"xla_backend_optimization_level": "0"} if quickly and platform == "cpu" else {}


def compile_kept(
    function: Callable[..., Any],
    *arguments: Any,
    donate_argnums: Sequence[int] = (),
    devices: Sequence[Any] = (),
    quickly: bool = False,
) -> jax.stages.Compiled:
    """Compile a function for arguments of these shapes, or load the program if it has been kept.

    Args:
      function: a function of pytrees.
      arguments: what it will be called with, or arrays like that.
      donate_argnums: as jit takes it.
      devices: the devices that it runs on; none for the default device.
      quickly: leave out what makes the program fast on a CPU, which halves the time of compiling it.

    Returns:
      The program, which takes arguments of these shapes.
    """
    options = compile_options(jax.default_backend(), quickly=quickly)
    file = _file_of(function, arguments, donate_argnums, options)
    if file is None:
        return jax.jit(function, donate_argnums=donate_argnums).lower(*arguments).compile(options)
    if (program := _load(file, arguments, tuple(devices) or tuple(jax.local_devices()[:1]))) is not None:
        return program
    lowered = jax.jit(function, donate_argnums=donate_argnums).lower(*arguments)
    with _without_jaxs_cache():
        program = lowered.compile(options)
    _keep(file, program)
    return program


def jit_kept(function: Callable[..., Any], *, devices: Sequence[Any] = ()) -> Callable[..., Any]:
    """Make a function that calls the program of `compile_kept` for its arguments, as jit does.

    It is for what runs once or a few times: its programs are compiled quickly, and take up to twice the time on a CPU.
    """
    programs: dict[str, jax.stages.Compiled] = {}

    def call(*arguments: Any) -> Any:
        shapes = describe_arguments(arguments)
        if shapes not in programs:
            programs[shapes] = compile_kept(function, *arguments, devices=devices, quickly=True)
        return programs[shapes](*arguments)

    return call


def _file_of(
    function: Callable[..., Any], arguments: Any, donate_argnums: Sequence[int], options: _Options
) -> Path | None:
    """Return the file where the program is kept; None if it can't be kept.

    That is tried on CPUs alone: elsewhere, programs may call what only tracing loads, as `_load_lapack` does here.
    """
    folder = kept_folder()
    enabled = jax.config.values["jax_enable_compilation_cache"]
    if folder is None or not enabled or jax.process_count() > 1 or jax.default_backend() != "cpu":
        return None
    try:
        own = function, tuple(donate_argnums), options, describe_arguments(arguments)
        key = fingerprint(source(), surroundings(), *own)
    except UnknownError:
        return None
    return folder / key


@contextlib.contextmanager
def _without_jaxs_cache() -> Iterator[None]:
    """Have jax compile: XLA can't serialise a program for CPUs that it has loaded from a file, and does not say so."""
    _use_jaxs_cache(False)
    try:
        yield
    finally:
        _use_jaxs_cache(True)


def _use_jaxs_cache(use: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", use)
    compilation_cache.reset_cache()  # which jax needs to look at its setting again


def _load(file: Path, arguments: Any, devices: Sequence[Any]) -> jax.stages.Compiled | None:
    try:
        if hasattr(os, "getuid") and file.stat().st_uid != os.getuid():
            return None
        data = file.read_bytes()
    except OSError:
        return None
    digest, data = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        return None
    try:
        program, results = pickle.loads(zlib.decompress(data))
        _load_lapack()
        structure = jax.tree.structure((arguments, {}))
        return serialize_executable.deserialize_and_load(program, structure, results, execution_devices=devices)
    except Exception:  # jax calls this experimental: whatever it refuses is compiled again
        return None


@functools.cache
def _load_lapack() -> None:
    """Have jax load LAPACK, as it does when it lowers a call of it; a program that calls it would crash otherwise."""
    jax.jit(lax.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), np.float32))


def _keep(file: Path, program: jax.stages.Compiled) -> None:
    try:
        found, _, results = serialize_executable.serialize(program)
        data = zlib.compress(pickle.dumps((found, results)), 1)
    except Exception:  # likewise: programs that can't be serialised are not kept
        return
    with contextlib.suppress(OSError, AppError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, hashlib.sha256(data).digest() + data)
