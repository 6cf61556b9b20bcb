"""Read pickles that hold weights without running anything that a pickle says, and without torch."""

import contextlib
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np

from jaxstyle.common.file_kinds import TORCH_LEGACY_START

Key = tuple[str, ...]

_MAX_PICKLE = 2**24  # bytes of a pickle without its arrays; a VGG's state takes some thousand
_MAX_DEPTH = 10
_DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "bfloat16", "Long": "<i8", "Int": "<i4"}


# It is the unpickler in plain Python, whose memo is a dict. In the one in C, an index of 2**31 takes 32 GB.
class _Unpickler(pickle._Unpickler):
    """An unpickler that knows only the few names that its subclass gives."""

    names: ClassVar[Mapping[tuple[str, str], Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the pickle, if the name has a place in weights."""
        if (module, name) not in self.names:
            raise pickle.UnpicklingError(
                f"it names {_short(module)}.{_short(name)}, which has no place in a file of weights (of a torch model, "
                "save model.state_dict())"
            )
        return self.names[module, name]


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(text)[:60])


def _load(unpickler: _Unpickler) -> Any:
    try:
        return unpickler.load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a pickle can make its reader fail in any way
        raise pickle.UnpicklingError(f"its pickle is damaged ({type(error).__name__})") from error


# --- arrays of NumPy


class _Function:
    """A function that a pickle may call. It has no __dict__, so that a pickle can't change it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _empty_array(_: object, shape: tuple[int, ...], dtype: bytes) -> np.ndarray:
    if any(shape):
        raise pickle.UnpicklingError("an array of its pickle is damaged")
    return np.empty(shape, np.dtype(dtype.decode()))  # NumPy's pickles give (0,), and a state with the data


class _ArrayUnpickler(_Unpickler):
    names: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): "ndarray",
        ("numpy", "dtype"): _Function(np.dtype),
        ("numpy.core.multiarray", "_reconstruct"): _Function(_empty_array),
        ("numpy._core.multiarray", "_reconstruct"): _Function(_empty_array),
    }


def load_arrays(data: bytes) -> Any:
    """Read a pickle of NumPy arrays in dicts and lists.

    Raises:
      pickle.UnpicklingError: if the pickle names anything else, which is not run.
    """
    return _load(_ArrayUnpickler(io.BytesIO(data)))


# --- torch


# These are named tuples, since a pickle could set attributes of other classes after they have been checked.
class _Storage(NamedTuple):
    """The numbers behind tensors: dtype, name in the file and count."""

    dtype: str
    key: str
    size: int


class _Tensor(NamedTuple):
    """A tensor as a view of a storage. Offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _check_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    if not (type(storage) is _Storage and type(offset) is int and type(shape) is tuple and type(strides) is tuple):
        raise pickle.UnpicklingError("a tensor of its pickle is damaged")
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
        raise pickle.UnpicklingError("a tensor of its pickle is damaged")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise pickle.UnpicklingError("a tensor of its pickle reaches beyond its numbers")
    return _Tensor(storage, offset, shape, strides)


def _make_array(tensor: _Tensor, data: bytes) -> np.ndarray:
    if tensor.storage.dtype == "bfloat16":
        flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        flat = np.frombuffer(data, tensor.storage.dtype)
    if flat.size < tensor.storage.size:
        raise pickle.UnpicklingError("it is truncated")
    steps = [step * flat.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps).copy()


def _parameter(data: object, *_: object) -> object:
    return data


class _TorchUnpickler(_Unpickler):
    names: ClassVar[Mapping[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Function(_check_tensor),
        ("torch._utils", "_rebuild_tensor"): _Function(_check_tensor),
        ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
        ("torch.serialization", "_get_layout"): _Function(_parameter),
        **{("torch", f"{name}Storage"): dtype for name, dtype in _DTYPES.items()},
    }

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the storage that the pickle refers to: ("storage", dtype, key, device, size, ...)."""
        kind, dtype, key, _, size = pid[:5]
        known = kind == "storage" and type(dtype) is str and dtype in _DTYPES.values()
        if not known or type(key) is not str or type(size) is not int:
            raise pickle.UnpicklingError("a tensor of its pickle is damaged")
        if len(pid) > 5 and pid[5] is not None:
            raise pickle.UnpicklingError("it holds views of storages; save it again with a torch of 1.6 or later")
        return self.storages.setdefault(key, _Storage(dtype, key, size))


def read_torch(path: Path, wanted: Callable[[tuple[int, ...]], bool]) -> dict[Key, np.ndarray]:
    """Read the tensors of a file that torch.save wrote: a state dict, or dicts that hold one.

    Args:
      path: a file of any version of torch since 0.4.
      wanted: the function that says by a tensor's shape whether to read it.

    Returns:
      {("features", "0", "weight"): array, ...}, where names are split at their dots.

    Raises:
      pickle.UnpicklingError: if the file is damaged, or its pickle names anything but tensors, which is not run.
      OSError: if the file can't be read.
    """
    try:
        with path.open("rb") as file, contextlib.ExitStack() as stack:
            if file.read(len(TORCH_LEGACY_START)) == TORCH_LEGACY_START:
                state, read = _read_legacy(file)
            else:
                state, read = _read_zip(stack.enter_context(zipfile.ZipFile(file)))
            return {
                key: _make_array(tensor, read(tensor.storage))
                for key, tensor in _flatten(state)
                if wanted(tensor.shape)
            }
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError) as error:
        raise pickle.UnpicklingError("its zip archive is damaged or truncated") from error


def _read_zip(archive: zipfile.ZipFile) -> tuple[Any, Callable[[_Storage], bytes]]:
    entries = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in entries if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1 or entries[pickles[0]].file_size > _MAX_PICKLE:
        raise pickle.UnpicklingError("it is a zip archive, but not one of torch's")
    folder = pickles[0].removesuffix("data.pkl")
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
        raise pickle.UnpicklingError("its zip archive is compressed, which torch's are not")
    order = entries.get(f"{folder}byteorder")
    if order is not None and (order.file_size > 10 or archive.read(order).strip() != b"little"):
        raise pickle.UnpicklingError("it holds numbers of a big-endian machine")
    state = _load(_TorchUnpickler(io.BytesIO(archive.read(pickles[0]))))
    return state, lambda storage: archive.read(entries[f"{folder}data/{storage.key}"])


def _read_legacy(file: BinaryIO) -> tuple[Any, Callable[[_Storage], bytes]]:
    """Read what follows the magic number: version, system, state, keys, and each storage's size and numbers."""
    pickled = io.BytesIO(file.read(_MAX_PICKLE))
    for _ in range(2):
        _load(_TorchUnpickler(pickled))
    unpickler = _TorchUnpickler(pickled)
    state = _load(unpickler)
    keys = _load(_TorchUnpickler(pickled))
    position = len(TORCH_LEGACY_START) + pickled.tell()
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else []:
        storage = unpickler.storages.get(key) if isinstance(key, str) else None
        head = _read_at(file, position, 8)
        if storage is None or len(head) < 8 or struct.unpack("<q", head)[0] != storage.size:
            raise pickle.UnpicklingError("it is damaged or truncated")
        count = storage.size * (2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize)
        places[key] = position + 8, count
        position += 8 + count
    if places.keys() != unpickler.storages.keys():
        raise pickle.UnpicklingError("it is damaged or truncated")
    return state, lambda storage: _read_at(file, *places[storage.key])


def _read_at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def _flatten(state: Any, before: Key = ()) -> Iterator[tuple[Key, _Tensor]]:
    if isinstance(state, _Tensor):
        yield before, state
    elif isinstance(state, dict) and len(before) <= _MAX_DEPTH:
        for key, value in state.items():
            yield from _flatten(value, (*before, *str(key).split(".")))
