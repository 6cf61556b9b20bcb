"""Find the files of weight sets, and check whether they are whole and unaltered."""

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from jaxstyle.common.file_kinds import recognise
from jaxstyle.network.layers import BLOCKS, CONVOLUTIONS, block_of
from jaxstyle.pretrained.cache_folder import cache_folder
from jaxstyle.pretrained.weight_sets import DEFAULT, RECOMMENDED, REGISTRY, WeightSet

PORT_HINT = "jaxstyle weights port {} brings it into the form of a set"


class WeightsError(ValueError):
    """A weight set can't be used; the message is one line that names the file and the reason."""


def bundled_path(file: str) -> Path:
    """Find a bundled weight file.

    Args:
      file: the file's name.

    Returns:
      The file's path, which is inside the package in a wheel, and in weights/ in a checkout.
    """
    package = Path(__file__).parents[1]
    inside = package / "weights" / file
    return inside if inside.exists() else package.parent / "weights" / file


def weights_folder() -> Path:
    """Find the folder of ported sets.

    Returns:
      A folder with NAME.safetensors for each set, and NAME.json with the file's sha256 and its origin.

    Raises:
      WeightsError: if the user has no home folder.
    """
    folder = cache_folder()
    if folder is None:
        raise WeightsError("there is no home folder to keep weights in; JAXSTYLE_CACHE can name a folder")
    return folder / "weights"


def cached_names() -> list[str]:
    """List the sets in the cache folder.

    Returns:
      Their names, sorted.
    """
    try:
        return sorted(file.stem for file in weights_folder().glob("*.json"))
    except (OSError, WeightsError):
        return []


def find_cached(name: str) -> WeightSet | None:
    """Look for a set in the cache folder.

    Args:
      name: the set's name.

    Returns:
      What was recorded about the set when it was ported; None if there is no set of this name.

    Raises:
      WeightsError: if the record can't be read.
    """
    if name in REGISTRY or name not in cached_names():
        return None
    path = weights_folder() / f"{name}.json"
    try:
        record = json.loads(path.read_bytes())
        values = [record[field] for field in WeightSet._fields]
        if not all(isinstance(value, kind) for value, kind in zip(values, (str, str, int, str, str, str), strict=True)):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"weights {path}: not a whole record of a set; port or fetch the set again") from error
    return WeightSet(*values)


def set_path(name: str) -> Path:
    """Return the path of a bundled or cached set.

    Args:
      name: the set's name.

    Returns:
      The path, whether or not the file is there.
    """
    return bundled_path(REGISTRY[name].file) if name in REGISTRY else weights_folder() / f"{name}.safetensors"


def default_set() -> tuple[str, str]:
    """Choose the set that a command takes if none is asked for, which is VGG19's own if it has been fetched.

    Returns:
      The set's name, and a line that says why.
    """
    if RECOMMENDED in cached_names():
        return RECOMMENDED, "they are VGG19's own, as Gatys et al. used; --weights bundled takes VGG16's"
    return DEFAULT, f"they are VGG16's; jaxstyle weights fetch {RECOMMENDED} brings VGG19's own"


def read_set(name: str) -> tuple[bytes, Path]:
    """Read the file of a bundled or cached set, and check its sha256.

    Args:
      name: the set's name.

    Returns:
      The file's contents and its path.

    Raises:
      WeightsError: if the name is unknown, or the file is missing or altered.
    """
    entry = REGISTRY.get(name) or find_cached(name)
    if entry is None:
        raise WeightsError(f"unknown weights {name!r}: jaxstyle weights list shows those there are")
    path = set_path(name)
    again = "install it" if name in REGISTRY else "port or fetch it"
    data = read_file(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != entry.sha256:
        kind = recognise(data)
        if kind is not None and not kind.weights:
            raise WeightsError(f"weights {path}: {kind}{f'; {again} again' * (not kind.advice)}")
        reason = f"truncated ({len(data)} of {entry.size} bytes)" if len(data) < entry.size else "altered"
        raise WeightsError(f"weights {path}: the file is {reason}, its sha256 is not {entry.sha256}; {again} again")
    return data, path


def read_file(path: Path) -> bytes:
    """Read a file of weights.

    Args:
      path: the file's path.

    Returns:
      The file's contents.

    Raises:
      WeightsError: if the file is not there or can't be read.
    """
    try:
        if not path.exists():
            raise WeightsError(f"weights {path}: no such file")
        if not path.is_file():
            raise WeightsError(f"weights {path}: not a file")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path}: {error.strerror or error}") from error


def parse_tensors(data: bytes, path: Path) -> dict[str, np.ndarray]:
    """Read tensors from the contents of a safetensors file.

    Args:
      data: the contents.
      path: where the contents come from, for errors.

    Returns:
      {name: tensor}.

    Raises:
      WeightsError: if the file is damaged; the message names `path`.
    """
    try:
        return safetensors.numpy.load(data)
    except Exception as error:  # safetensors raises its own class, and NumPy's errors for unknown dtypes
        kind = recognise(data)
        if kind is None or kind.name.startswith("a safetensors"):
            raise WeightsError(f"weights {path}: not a whole safetensors file ({error})") from error
        advice = f"; {PORT_HINT.format(path)}" if kind.weights and not kind.advice else ""
        raise WeightsError(f"weights {path}: {kind}{advice or ', not a set of weights' * (not kind.advice)}") from error


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors in a file of VGG19.

    Returns:
      {name in the file: shape}.
    """
    shapes: dict[str, tuple[int, ...]] = {"mean": (3,)}
    width = 3
    for layer in CONVOLUTIONS:
        channels = BLOCKS[block_of(layer) - 1][1]
        shapes[f"{layer}/kernel"] = (3, 3, width, channels)
        shapes[f"{layer}/bias"] = (channels,)
        width = channels
    return shapes
