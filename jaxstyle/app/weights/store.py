"""Port files into the cache folder, and write sets with their records there."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import jaxstyle
from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import explain, write_atomic
from jaxstyle.app.weights.file_formats import SourceFile, read_source
from jaxstyle.common.file_kinds import describe_address
from jaxstyle.pretrained.load import vgg_params
from jaxstyle.pretrained.vgg_conversion import choose_preprocessing, find_convolutions, to_canonical
from jaxstyle.pretrained.weight_files import WeightsError, find_cached, set_path, weights_folder
from jaxstyle.pretrained.weight_sets import REGISTRY, REMOTE_SETS, Download

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNKNOWN_LICENCE = "not known: that of its source"


def port_file(path: str | os.PathLike[str], name: str | None = None, preprocessing: str | None = None) -> Path:
    """Port a file of weights into the cache folder.

    Args:
      path: a file that `read_source` reads.
      name: what to call the set; by default it is the name of the public set that the file is, or the file's own name.
      preprocessing: what the network is fed, one of `weight_sets.PREPROCESSINGS`; by default it is what the file's
        format or numbers tell.

    Returns:
      The path of the safetensors file.

    Raises:
      StartError: if the file can't be ported, or the name is taken.
      RunError: if the disk is full.
    """
    if address := describe_address(os.fspath(path)):
        raise StartError(f"cannot port {address}")
    path = Path(path)
    hashes = hash_file(path)
    known = next((n for n, s in REMOTE_SETS.items() if any(matches(d, hashes) for d in s.downloads)), None)
    if preprocessing is not None:
        known = None  # its numbers differ from the public set's
    name = name or known or re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")
    if name != known:
        check_name(name)
    return port_source(read_source(path), name, path.name, hashes, known=known, preprocessing=preprocessing)


def port_source(
    source: SourceFile,
    name: str,
    file: str,
    hashes: Mapping[str, str],
    *,
    known: str | None = None,
    preprocessing: str | None = None,
) -> Path:
    """Port like `port_file` what was read from a file of this name and hashes, which may be the public set `known`."""
    try:
        convolutions = find_convolutions(source.tensors, source.layout)
        chosen = choose_preprocessing(convolutions, preprocessing, source.preprocessing)
        tensors = to_canonical(convolutions, chosen)
    except ValueError as error:
        raise StartError(f"cannot port {file} ({source.format}): {error}") from error
    public = REMOTE_SETS.get(known) if known else None
    details = {
        "architecture": convolutions.architecture,
        "source": public.source if public else f"{file} ({source.format})",
        "licence": public.licence if public else _UNKNOWN_LICENCE,
        "ported_from": {"file": file, "format": source.format, **hashes},
        "input": chosen._asdict(),
    }
    return store_set(name, tensors, details)


def store_set(name: str, tensors: Mapping[str, np.ndarray], details: Mapping[str, Any]) -> Path:
    """Write a set into the cache folder, with a record of `details`, which hold architecture, source and licence.

    Raises:
      StartError: if tensors aren't finite, or the name belongs to a set with other numbers.
      RunError: if the disk is full.
    """
    path = set_path(name)
    with np.errstate(over="ignore"):
        data = safetensors.numpy.save(dict(tensors))
    try:
        vgg_params(data, path)
        there = find_cached(name)
    except WeightsError as error:
        raise StartError(str(error)) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if there is not None and there.sha256 != sha256:
        raise StartError(f"a set called {name} is there already, with other numbers, in {path}; give another --name")
    record = {"file": path.name, "sha256": sha256, "size": len(data), **details, "jaxstyle": jaxstyle.__version__}
    make_folder()
    write_atomic(path, data)
    write_atomic(path.with_name(f"{name}.json"), (json.dumps(record, indent=2) + "\n").encode())
    return path.absolute()


def make_folder() -> Path:
    """Make the folder of ported sets.

    Raises:
      AppError: if it can't be made.
    """
    folder = weights_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, f"cannot make {folder}") from error
    return folder


def hash_file(path: Path) -> dict[str, str]:
    """Compute the hashes of a file's contents: {"sha256": ..., "md5": ...}."""
    sums = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    try:
        if path.exists() and not path.is_file():
            raise StartError(f"cannot read {path}: not a file")
        with path.open("rb") as file:
            while block := file.read(2**20):
                for digest in sums.values():
                    digest.update(block)
    except OSError as error:
        raise explain(error, f"cannot read {path}") from error
    return {kind: digest.hexdigest() for kind, digest in sums.items()}


def matches(download: Download, hashes: Mapping[str, str]) -> bool:
    """Return whether hashes of a file agree with the hash that is published for a download."""
    kind, _, digits = download.hash.partition(":")
    return hashes[kind].startswith(digits)


def check_name(name: str) -> None:
    """Raise StartError if a name can't be a new set's."""
    if not _NAME.fullmatch(name) or name.endswith(".safetensors"):
        raise StartError(f"{name!r} can't be a set's name: give --name of letters, digits, '-', '_' and '.'")
    if name in (*REGISTRY, "bundled", "random"):
        raise StartError(f"{name!r} is the name of a bundled set; give another --name")
    if name in REMOTE_SETS:
        raise StartError(f"{name!r} is the name of a public set, which this file isn't; give another --name")
