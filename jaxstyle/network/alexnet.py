"""AlexNet's convolutions (Krizhevsky, arXiv 1404.5997, in torchvision's form) as a function of parameters and image.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more. Features are
channels-last.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.dtypes import promoted
from jaxstyle.network.activations import relu
from jaxstyle.network.convolution import conv3x3

CHANNELS: tuple[int, ...] = (64, 192, 384, 256, 256)
"""Output channels of conv1 to conv5."""

LAYERS: tuple[str, ...] = ("relu1", "relu2", "relu3", "relu4", "relu5")
"""The layers of LPIPS: the outputs of the ReLU after each convolution."""

MIN_SIZE = 32
"""Smallest height and width in pixels. The last three layers then have one position; with fewer they have none."""

_POOL_BEFORE = ("relu2", "relu3")


def alexnet_features(params: Mapping[str, Any], image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "_h _w _c"]]:
    """Compute the features of all `LAYERS`. Only reverse mode goes through, as through `convolution.conv3x3`.

    Args:
      params: {"mean": (3,), "conv1": {"kernel": (11, 11, 3, 64), "bias": (64,)}, "conv2": ... (5, 5, 64, 192),
        "conv3", "conv4", "conv5": 3x3}. The input's standard deviation is folded into conv1's kernel.
      image: (h, w, 3), at least `MIN_SIZE` on each side.

    Returns:
      {layer: (h', w', c)}. At relu1, h' is (h - 7) // 4 + 1; two 3x3 poolings of stride 2 follow. The dtype is float64
      for a float64 image, and float32 or wider for any other.
    """
    image, mean = promoted(image, params["mean"])
    x = image - mean[None, None]
    found = {}
    for layer in LAYERS:
        if layer in _POOL_BEFORE:
            x = max_pool3x3(x)
        weights = params[f"conv{layer[-1]}"]
        kernel = weights["kernel"].astype(x.dtype)
        # conv3x3 takes kernels of every odd size; conv2's is 5x5.
        x = _first_convolution(x, kernel) if layer == "relu1" else conv3x3(x, kernel)
        x = found[layer] = relu(x + weights["bias"].astype(x.dtype)[None, None])
    return found


def _first_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve by 11x11 with stride 4 and padding 2, as a 3x3 convolution of the image's 4x4 blocks.

    The gradient is then a plain convolution too. The gradient of a strided convolution is slow in loops on CPU.
    """
    h, w, c = x.shape
    down, across = (h - 7) // 4 + 1, (w - 7) // 4 + 1
    x = jnp.pad(x, ((2, 4 * down + 6 - h), (2, 4 * across + 6 - w), (0, 0)))
    x = x.reshape(down + 2, 4, across + 2, 4, c).transpose(0, 2, 1, 3, 4).reshape(down + 2, across + 2, 16 * c)
    kernel = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0))).reshape(3, 4, 3, 4, c, -1)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(3, 3, 16 * c, -1)
    return conv3x3(x, kernel)[1:-1, 1:-1]


def max_pool3x3(x: Float[Array, "h w c"]) -> Float[Array, "(h-1)//2 (w-1)//2 c"]:
    """Take the maximum of 3x3 positions, with stride 2 and no padding.

    It is a maximum of slices, along the height first, since `lax.reduce_window` is slow on CPU.

    Args:
      x: (h, w, c).

    Returns:
      ((h - 1) // 2, (w - 1) // 2, c).
    """
    h, w = (x.shape[0] - 1) // 2, (x.shape[1] - 1) // 2
    x = jnp.maximum(jnp.maximum(x[: 2 * h : 2], x[1 : 2 * h : 2]), x[2 : 2 * h + 1 : 2])
    return jnp.maximum(jnp.maximum(x[:, : 2 * w : 2], x[:, 1 : 2 * w : 2]), x[:, 2 : 2 * w + 1 : 2])
