"""Convert another program's VGG to the canonical form, by pure functions of tensors that read no file.

In the canonical form, images are RGB in [0, 1], of which only a mean is subtracted, and kernels are
(3, 3, c_in, c_out). `pretrained.load` describes its file.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.network.layers import BLOCKS, CONVOLUTIONS, ONLY_VGG19, block_of
from jaxstyle.pretrained.weight_sets import PREPROCESSINGS, Preprocessing

Key = tuple[str, ...]
"""The name of a tensor in its file, in parts: ("features", "0", "weight")."""

LARGEST_TENSOR = 9 * 512 * 512
"""How many numbers the largest tensor of a VGG's convolutions holds."""

_LAYERS_OF = {
    "VGG19": CONVOLUTIONS,
    "VGG16": tuple(layer for layer in CONVOLUTIONS if layer not in ONLY_VGG19),
}

# Published 3x3 taps of the first filter for the first stored channel, which is B in Caffe's files and R in
# torchvision's.
_FIRST_TAPS: tuple[tuple[str, tuple[float, ...]], ...] = (
    (
        "caffe",  # VGG19
        (0.341195, 0.339992, -0.0448442, 0.232159, 0.0897821, -0.303314, -0.0726092, -0.246675, -0.336833),
    ),
    (
        "caffe",  # VGG16
        (0.429471, 0.373467, -0.0613601, 0.274770, 0.0386808, -0.367223, -0.0574682, -0.262250, -0.350097),
    ),
    (
        "torchvision",  # VGG19
        (-0.053474, -0.049257, -0.067942, 0.015314, 0.045068, 0.0021444, 0.036226, 0.019999, 0.019864),
    ),
    (
        "torchvision",  # VGG16
        (-0.5537, 0.1427, 0.5290, -0.5831, 0.3566, 0.7657, -0.6902, -0.0480, 0.4841),
    ),
)
_SAME_DIRECTION = 0.99


class Convolutions(NamedTuple):
    """The convolutions of a VGG, in order.

    Attributes:
      architecture: "VGG19" or "VGG16".
      kernels: the kernels, each (3, 3, c_in, c_out).
      biases: the biases, each (c_out,).
    """

    architecture: str
    kernels: list[np.ndarray]
    biases: list[np.ndarray]


def may_be_needed(shape: Sequence[int], layout: str) -> bool:
    """Return whether a tensor can be a kernel or a bias of a VGG's convolutions. Readers skip all others.

    Args:
      shape: the tensor's shape.
      layout: "OIHW" or "HWIO", the order of a kernel's axes.

    Returns:
      Whether it can.
    """
    taps = {"OIHW": shape[2:], "HWIO": shape[:2]}[layout] if len(shape) == 4 else ()
    return int(np.prod([int(n) for n in shape], dtype=object)) <= LARGEST_TENSOR and (
        tuple(taps) == (3, 3) or len(shape) == 1
    )


def find_convolutions(tensors: Mapping[Key, Any], layout: str) -> Convolutions:
    """Find the convolutions of a VGG19 or VGG16 among a file's tensors.

    The names of a kernel and of its bias differ in their last part only. The layers are in the natural order of their
    names (features.2 before features.10). All other tensors are left out.

    Args:
      tensors: {name: array}.
      layout: "OIHW" or "HWIO", the order of a kernel's axes.

    Returns:
      Convolutions, with kernels in the layout HWIO.

    Raises:
      ValueError: if the tensors aren't those of either network, or there is batch normalisation between convolutions.
    """
    if any(part.startswith(("running_mean", "moving_mean", "batch_stats")) for key in tensors for part in key):
        raise ValueError("it has batch normalisation between its convolutions, which Gatys' VGG has not")
    kernels: dict[Key, np.ndarray] = {}
    biases: dict[Key, np.ndarray] = {}
    for key, tensor in tensors.items():
        array = np.asarray(tensor)
        if array.ndim == 4 and may_be_needed(array.shape, layout):
            kernels[key[:-1]] = array.transpose(2, 3, 1, 0) if layout == "OIHW" else array
        elif array.ndim == 1:
            biases[key[:-1]] = array
    layers = sorted(kernels, key=_natural)
    found = [kernels[layer].shape[2:] for layer in layers]
    for architecture, names in _LAYERS_OF.items():
        if found == _channels(names):
            missing = [".".join(layer) for layer in layers if layer not in biases]
            if missing:
                raise ValueError(f"its convolution {missing[0]} has no bias")
            return Convolutions(architecture, [kernels[layer] for layer in layers], [biases[layer] for layer in layers])
    shown = " ".join(f"{a}-{b}" for a, b in found[:6]) + (" ..." if len(found) > 6 else "")
    raise ValueError(
        f"it holds {len(found)} convolutions of 3x3{f' ({shown} channels)' if found else ''}, "
        "not the 16 of VGG19 or the 13 of VGG16"
    )


def _channels(layers: Sequence[str]) -> list[tuple[int, ...]]:
    widths = [3, *(BLOCKS[block_of(layer) - 1][1] for layer in layers)]
    return list(itertools.pairwise(widths))


def _natural(key: Key) -> list[list[tuple[bool, int, str]]]:
    return [
        [(text.isdecimal(), int(text) if text.isdecimal() else 0, text) for text in re.split(r"(\d+)", part) if text]
        for part in key
    ]


def recognise_preprocessing(kernel: np.ndarray) -> str | None:
    """Recognise, by its first kernel, the preprocessing that a network was trained with.

    Files of torchvision and of Caffe have the same names and shapes, and magnitude doesn't tell them apart: the mean of
    these taps is 0.22 and 0.25 in Caffe's networks, 0.03 and 0.46 in torchvision's. So the directions of the nine taps
    of the first filter on the first channel are compared with the published taps of the four networks. A cosine above
    0.99 means the same network, also if it was rounded or fine-tuned or its filters were rescaled (Gatys' normalised
    set). Between a network of torchvision and one of Caffe the cosine is -0.44 to -0.58.

    Args:
      kernel: (3, 3, 3, 64), as the file has it.

    Returns:
      "torchvision" or "caffe"; None if the kernel is unknown.
    """
    taps = np.asarray(kernel, np.float64)[:, :, 0, 0].reshape(-1)
    norm = np.linalg.norm(taps)
    for name, known in _FIRST_TAPS:
        if norm > 0 and taps @ np.array(known) > _SAME_DIRECTION * norm * np.linalg.norm(known):
            return name
    return None


def to_canonical(convolutions: Convolutions, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """Convert to tensors in the canonical form, float32, that give the same features as the original program.

    Since conv(k, (scale x - mean) / std) = conv(k scale / std, x - mean / scale), the order of channels, the scale and
    the deviation fold into conv1_1's kernel, exactly but for its rounding to float32. The mean stays, since the network
    pads with zeros after subtracting it.

    Args:
      convolutions: what `find_convolutions` returns.
      preprocessing: what the program feeds its network.

    Returns:
      {name in the file: tensor}: `mean`, and kernel and bias of each convolution.
    """
    kernels = [np.asarray(kernel, np.float64) for kernel in convolutions.kernels]
    first = kernels[0][:, :, ::-1] if preprocessing.order == "BGR" else kernels[0]
    kernels[0] = first * (preprocessing.scale / np.asarray(preprocessing.std, np.float64))[:, None]
    mean = np.asarray(preprocessing.mean, np.float64) / preprocessing.scale
    tensors = {"mean": mean.astype(np.float32)}
    for layer, kernel, bias in zip(_LAYERS_OF[convolutions.architecture], kernels, convolutions.biases, strict=True):
        tensors[f"{layer}/kernel"] = np.ascontiguousarray(kernel, np.float32)
        tensors[f"{layer}/bias"] = np.asarray(bias, np.float32)
    return tensors


def choose_preprocessing(
    convolutions: Convolutions, given: str | None, of_format: Preprocessing | str | None
) -> Preprocessing:
    """Choose the preprocessing that was given, else the one of the format, else the one that the numbers tell.

    Args:
      convolutions: what `find_convolutions` returns.
      given: the name of the preprocessing that was asked for; None: none was.
      of_format: the preprocessing of the file's format, or its name; None: the format has none.

    Returns:
      The preprocessing.

    Raises:
      ValueError: if nothing tells the preprocessing.
    """
    chosen = given or of_format or recognise_preprocessing(convolutions.kernels[0])
    if chosen is None:
        raise ValueError(
            "its first kernel is neither torchvision's nor Caffe's, so nothing tells what input it expects: give "
            f"--preprocessing {', '.join(PREPROCESSINGS)}"
        )
    return PREPROCESSINGS[chosen] if isinstance(chosen, str) else chosen


def scale_filters(tensors: Mapping[str, np.ndarray], means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Change a set in the canonical form so that the activations of every filter are divided by a positive number.

    If these numbers are the filters' mean activations over images and positions, the result is the normalised network
    of Gatys et al. (CVPR 2016, section 2). ReLU and pooling commute with positive factors, so that nothing else
    changes.

    Args:
      tensors: a set in the canonical form.
      means: {convolution: (c_out,)}, the numbers to divide by.

    Returns:
      The set with these convolutions, float32.
    """
    scaled = {"mean": np.asarray(tensors["mean"])}
    before = np.ones(3)
    for layer in CONVOLUTIONS:
        if layer not in means:
            continue
        after = np.asarray(means[layer], np.float64)
        kernel = np.asarray(tensors[f"{layer}/kernel"], np.float64) * before[:, None] / after
        scaled[f"{layer}/kernel"] = kernel.astype(np.float32)
        scaled[f"{layer}/bias"] = (np.asarray(tensors[f"{layer}/bias"], np.float64) / after).astype(np.float32)
        before = after
    return scaled
