"""Read files of weights that other programs wrote; their content tells the format."""

import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.app.system.errors import StartError
from jaxstyle.app.system.files import explain
from jaxstyle.app.weights.pickles import read_torch
from jaxstyle.common.file_kinds import HDF5_START, HEAD_BYTES, TORCH_LEGACY_START, FileKind, recognise
from jaxstyle.pretrained.vgg_conversion import Key, may_be_needed
from jaxstyle.pretrained.weight_sets import Preprocessing

_MAX_BYTES = 2**30  # that a file may unfold to: twice a VGG19 with its classifier
_MAX_HEADER = 2**24


class SourceFile(NamedTuple):
    """What was read from a file.

    Attributes:
      format: the format's name, for people.
      tensors: {name: array} of the tensors that a VGG's convolutions may need.
      layout: "OIHW" or "HWIO", the order of a kernel's axes.
      preprocessing: what networks in this format are fed, or its name; None if the format doesn't tell.
    """

    format: str
    tensors: dict[Key, np.ndarray]
    layout: str
    preprocessing: Preprocessing | str | None = None


class UnreadableError(ValueError):
    """The file has no known format, or is damaged; the message gives the reason without the file's name."""


def read_source(path: Path) -> SourceFile:
    """Read a file of weights: torch's, safetensors, Keras's HDF5, MatConvNet's .mat, Flax's msgpack, or our own.

    Raises:
      StartError: if the file can't be read, is damaged or has no such format, or needs a package that isn't installed.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise StartError(f"cannot read {path}: not a file")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return _reader(head, size)(path)
    except OSError as error:
        if error.errno is None:  # h5py raises such an error for a damaged file
            raise StartError(f"cannot port {path}: it is damaged or truncated") from error
        raise explain(error, f"cannot read {path}") from error
    except (UnreadableError, pickle.UnpicklingError) as error:
        raise StartError(f"cannot port {path}: {error}") from error


def _reader(head: bytes, size: int) -> Callable[[Path], SourceFile]:
    kind = recognise(head)
    if kind is not None and not kind.weights:
        raise UnreadableError(_explain(kind))
    if head.startswith((b"PK\x03\x04", TORCH_LEGACY_START)):
        return _read_torch
    if head.startswith(HDF5_START):
        return _read_keras
    if head.startswith(b"MATLAB 5.0"):
        return _read_matconvnet
    if len(head) > 8 and head[8:9] == b"{" and 8 + int.from_bytes(head[:8], "little") <= size:
        return _read_safetensors
    if head and (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return _read_flax
    raise UnreadableError(_explain(kind))


def _explain(kind: FileKind | None) -> str:
    known = "torch's .pth, safetensors, Keras's .h5, MatConvNet's .mat, Flax's msgpack"
    if kind is None:
        return f"it is of no known format ({known})"
    return str(kind) if kind.advice else f"{kind}, not weights of a known format ({known})"


def _read_torch(path: Path) -> SourceFile:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if "model.weights.h5" in names:
            raise UnreadableError("it is a whole Keras model; save its weights alone, as .weights.h5")
        if names and all(name.endswith(".npy") for name in names):
            raise UnreadableError("it is an .npz archive, in which no program keeps a VGG's weights in a known way")
    return SourceFile("torch", read_torch(path, partial(may_be_needed, layout="OIHW")), "OIHW")


def _read_safetensors(path: Path) -> SourceFile:
    import safetensors

    tensors: dict[Key, np.ndarray] = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:  # it checks the header against the file
            for name in file.keys():  # noqa: SIM118
                shape = tuple(file.get_slice(name).get_shape())
                if may_be_needed(shape, "OIHW") or may_be_needed(shape, "HWIO"):
                    tensors[_parts(name)] = np.asarray(file.get_tensor(name))
    except safetensors.SafetensorError as error:
        raise UnreadableError(f"it is damaged or truncated ({error})") from error
    except TypeError as error:  # NumPy has no such type
        raise UnreadableError("it holds numbers of a type that NumPy has not; save it as float32 or float16") from error
    return _own(tensors) or SourceFile("safetensors", tensors, "OIHW")


def _own(tensors: dict[Key, np.ndarray]) -> SourceFile | None:
    """Return the tensors as a set that is in the canonical form already, as its `mean` tells; None if it isn't."""
    if tensors.get(("mean",), np.empty(0)).shape != (3,) or ("conv1_1", "kernel") not in tensors:
        return None
    mean = tuple(float(value) for value in tensors["mean",])
    return SourceFile("jaxstyle", tensors, "HWIO", Preprocessing("RGB", 1, mean, (1, 1, 1)))  # type: ignore


def _parts(name: str) -> Key:
    return tuple(name.replace("/", ".").split("."))


def parse_header(data: bytes) -> tuple[int, dict[str, tuple[str, tuple[int, ...], int, int]]]:
    """Parse the first bytes of a safetensors file: where its numbers start, and {name: (dtype, shape, start, end)}.

    Raises:
      UnreadableError: if the bytes don't begin with a whole header of safetensors.
    """
    size = int.from_bytes(data[:8], "little")
    if not 2 <= size <= min(len(data) - 8, _MAX_HEADER):
        raise UnreadableError("it has no header of safetensors")
    try:
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        return 8 + size, {
            name: (str(entry["dtype"]), tuple(map(int, entry["shape"])), *map(int, entry["data_offsets"]))
            for name, entry in header.items()
        }  # type: ignore
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableError("it has no header of safetensors") from error


def tensors_of_span(
    data: bytes, first: int, entries: Mapping[str, tuple[str, tuple[int, ...], int, int]]
) -> dict[Key, np.ndarray]:
    """Read float32 tensors from `data`, which are the bytes from `first` on of the numbers in a safetensors file."""
    return {
        _parts(name): np.frombuffer(data[start - first : end - first], "<f4").reshape(shape)
        for name, (_, shape, start, end) in entries.items()
    }


def need_h5py() -> Any:
    """Import h5py, or say how to install it.

    Raises:
      StartError: if h5py isn't installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise StartError("Keras's files (.h5) need h5py: pip install h5py") from error
    return h5py


def _read_keras(path: Path) -> SourceFile:
    h5py = need_h5py()
    tensors: dict[Key, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:  # links aren't visited, so that a file can't name another
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            return
        if may_be_needed(item.shape or (0, 0), "HWIO") and item.dtype.kind == "f":
            tensors[tuple(name.split("/"))] = item[()]

    try:
        with h5py.File(path, "r") as file:
            own = file.get("model_weights", getclass=True, getlink=True) is h5py.HardLink
            (file["model_weights"] if own else file).visititems(visit)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableError("it is a damaged or truncated HDF5 file") from error
    return SourceFile("Keras", tensors, "HWIO", "caffe")


def _read_matconvnet(path: Path) -> SourceFile:
    import scipy.io

    _check_mat_size(path)
    try:
        file = scipy.io.loadmat(path, squeeze_me=True, variable_names=["layers", "meta", "normalization"])
    except Exception as error:  # damaged files make it fail in any way
        raise UnreadableError("it is a damaged or truncated .mat file") from error
    tensors: dict[Key, np.ndarray] = {}
    try:
        for i, layer in enumerate(np.atleast_1d(file["layers"])):
            names = layer.dtype.names
            if "weights" in names:
                kernel, bias = layer["weights"].item() if np.size(layer["weights"].item()) == 2 else (None, None)
            elif "filters" in names:
                kernel, bias = layer["filters"].item(), layer["biases"].item()
            else:
                continue
            if kernel is not None and may_be_needed(np.shape(kernel), "HWIO"):
                tensors[str(i), "kernel"], tensors[str(i), "bias"] = np.asarray(kernel), np.asarray(bias).reshape(-1)
        holder = file["meta"]["normalization"].item() if "meta" in file else file["normalization"]
        average = np.asarray(holder["averageImage"].item(), np.float64)
        average = average.mean(axis=(0, 1)) if average.ndim == 3 else average.reshape(-1)
        mean = tuple(float(value) for value in average)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableError("it is a .mat file, but not one of MatConvNet's networks") from error
    if len(mean) != 3:
        raise UnreadableError("the averageImage of its network has not 3 channels")
    return SourceFile("MatConvNet", tensors, "HWIO", Preprocessing("RGB", 255, mean, (1, 1, 1)))


def _check_mat_size(path: Path) -> None:
    """Refuse a .mat file that unfolds to more than a network has, since compression of its parts has no bound."""
    total = 0
    with path.open("rb") as file:
        file.seek(126)
        order = "little" if file.read(2) == b"IM" else "big"
        while len(tag := file.read(8)) == 8:
            kind, size = int.from_bytes(tag[:4], order), int.from_bytes(tag[4:], order)
            after, unfold = file.tell() + size, zlib.decompressobj()
            while kind == 15 and file.tell() < after and (chunk := file.read(min(2**20, after - file.tell()))):
                while chunk and total <= _MAX_BYTES:
                    try:
                        total += len(unfold.decompress(chunk, 2**24))
                    except zlib.error as error:
                        raise UnreadableError("it is a damaged or truncated .mat file") from error
                    chunk = unfold.unconsumed_tail
            total += size if kind != 15 else 0
            if total > _MAX_BYTES:
                raise UnreadableError(f"it unfolds to more than {_MAX_BYTES >> 20} MiB, which no VGG has")
            file.seek(after)


def _read_flax(path: Path) -> SourceFile:
    from flax import serialization

    if path.stat().st_size > _MAX_BYTES:
        raise UnreadableError(f"it is larger than {_MAX_BYTES >> 20} MiB, which no VGG is")
    try:
        state = serialization.msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack and NumPy have errors of their own
        raise UnreadableError("it is a damaged or truncated file of msgpack") from error
    tensors = {key: np.asarray(leaf) for key, leaf in _leaves(state) if may_be_needed(np.shape(leaf), "HWIO")}
    return _own(tensors) or SourceFile("Flax", tensors, "HWIO")


def _leaves(state: Any, before: Key = ()) -> Iterator[tuple[Key, Any]]:
    if isinstance(state, dict):
        for key, value in state.items():
            yield from _leaves(value, (*before, str(key)))
    elif hasattr(state, "dtype"):
        yield before, state
