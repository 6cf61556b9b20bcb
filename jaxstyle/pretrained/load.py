"""Load weights by name: find the file, verify it, and read it.

A file of VGG19 is a safetensors file in the canonical form. It holds `mean` (3,), the RGB mean of images in [0, 1], and
for each convolution `convB_I/kernel` (3, 3, c_in, c_out) and `convB_I/bias` (c_out,). The input's standard deviation is
folded into conv1_1's kernel. A file without conv3_4, conv4_4 and conv5_4 is a VGG16: its parameters lack them too, and
the network skips those three.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxstyle.common.file_kinds import describe_address
from jaxstyle.network.features import Params
from jaxstyle.network.layers import CONVOLUTIONS, ONLY_VGG19
from jaxstyle.network.vgg import IMAGENET_MEAN
from jaxstyle.pretrained.weight_files import (
    PORT_HINT,
    WeightsError,
    cached_names,
    find_cached,
    parse_tensors,
    read_file,
    read_set,
    tensor_shapes,
    weights_folder,
)
from jaxstyle.pretrained.weight_sets import DEFAULT, LPIPS_SETS, REGISTRY, REMOTE_SETS


class Weights(NamedTuple):
    """Loaded weights.

    Attributes:
      params: the parameters, as `load_params` returns them.
      name: the set's name as results record it.
      sha256: the sha256 of the file, or of the arrays of a random set.
    """

    params: Params
    name: str
    sha256: str


def load_params(name: str | os.PathLike[str] = "bundled") -> Params:
    """Load the parameters of a VGG19 or VGG16, float32.

    Args:
      name: "bundled" (the set vgg16-in-vgg19); a name that `jaxstyle weights list` shows; the path of a safetensors
        file in the canonical form; or "random:SEED" for He-normal kernels (random ones work too: He, Wang and Hopcroft,
        NIPS 2016). `js.load_lpips` loads the sets of the metrics.

    Returns:
      {"mean": (3,), "conv1_1": {"kernel": (3, 3, 3, 64), "bias": (64,)}, ...} for `make_features`. The parameters of a
      VGG16 have no conv3_4, conv4_4 and conv5_4.

    Raises:
      WeightsError: if the name is unknown, or the file is missing, truncated, altered or wrongly shaped.

    Examples:
      >>> import jaxstyle as js
      >>> params = js.load_params("random:0")
      >>> params["mean"].shape, params["conv2_1"]["kernel"].shape
      ((3,), (3, 3, 64, 128))
    """
    try:
        name = os.fspath(name)
    except TypeError:
        raise WeightsError(f"name must be that of weights or a path, got {name!r}") from None
    return load_weights(name).params


def load_weights(name: str | os.PathLike[str] = "bundled") -> Weights:
    """Load parameters like `load_params`, together with what identifies the weights.

    Args:
      name: what `load_params` takes.

    Returns:
      Weights: parameters, name and sha256.

    Raises:
      WeightsError: as `load_params` does.
    """
    text = os.fspath(name)
    if text == "bundled":
        text = DEFAULT
    if text.startswith("random:"):
        return _random_weights(text)
    cached = find_cached(text)
    known = ", ".join(dict.fromkeys(["bundled", DEFAULT, *cached_names(), *REMOTE_SETS, "random:SEED"]))
    for network, of_metrics in LPIPS_SETS.items():
        if text == of_metrics:
            hint = f'js.load_lpips("{network}") loads them'
            raise WeightsError(f"weights {text!r} are for metrics, not for a transfer ({hint}): give one of {known}")
    if text in REGISTRY or cached is not None:
        data, path = read_set(text)
        return Weights(vgg_params(data, path), text, hashlib.sha256(data).hexdigest())
    if text in REMOTE_SETS:
        raise WeightsError(
            f"weights {text!r} are not in {weights_folder()} yet: jaxstyle weights fetch {text} brings them"
        )
    if address := describe_address(text):
        raise WeightsError(f"weights {address}")
    path = Path(text)
    if path.suffix != ".safetensors" and not path.exists():
        raise WeightsError(f"unknown weights {text!r}: give one of {known}, or the path of a .safetensors file")
    data = read_file(path)
    return Weights(vgg_params(data, path), path.name, hashlib.sha256(data).hexdigest())


def vgg_params(data: bytes, path: Path) -> Params:
    """Read parameters from the contents of a file of VGG19 or VGG16 in the canonical form.

    Args:
      data: the contents.
      path: where the contents come from, for errors.

    Returns:
      The parameters, as `load_params` returns them.

    Raises:
      WeightsError: if a tensor is missing, has another shape or is not finite; the message names `path`.
    """
    tensors = parse_tensors(data, path)
    shapes = tensor_shapes()
    if not any(f"{layer}/kernel" in tensors for layer in ONLY_VGG19):
        shapes = {key: shape for key, shape in shapes.items() if key.split("/")[0] not in ONLY_VGG19}
    for key, shape in shapes.items():
        if key not in tensors:
            raise WeightsError(
                f"weights {path}: tensor {key} is missing; if another program wrote the file, {PORT_HINT.format(path)}"
            )
        found = tensors[key]
        if found.shape != shape:
            raise WeightsError(f"weights {path}: tensor {key} must have shape {shape}, has {found.shape}")
        largest = np.max(np.abs(found), initial=0) if np.issubdtype(found.dtype, np.floating) else np.nan
        if not largest <= np.finfo(np.float32).max:  # written so that NaN fails
            raise WeightsError(f"weights {path}: tensor {key} must hold finite numbers of a floating-point type")
    return _as_params({key: tensors[key] for key in shapes})


def _as_params(tensors: Mapping[str, np.ndarray]) -> Params:
    params: dict[str, Any] = {"mean": as_float32(tensors["mean"])}
    for layer in CONVOLUTIONS:
        if f"{layer}/kernel" in tensors:
            params[layer] = {key: as_float32(tensors[f"{layer}/{key}"]) for key in ("kernel", "bias")}
    return params


def as_float32(tensor: np.ndarray) -> jax.Array:
    """Make an array of jax. NumPy converts it, because jax would compile a program for each shape.

    Args:
      tensor: of any shape and floating-point type.

    Returns:
      The float32 array.
    """
    return jax.device_put(np.asarray(tensor, np.float32))


def _random_weights(name: str) -> Weights:
    seed = name.removeprefix("random:")
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise WeightsError(f"weights {name!r}: SEED must be a whole number from 0 to 4294967295, as in random:0")
    # NumPy's frozen generator gives the same numbers on every version and machine, without compilation.
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
