"""VGG19 (Simonyan and Zisserman, arXiv 1409.1556) as a pure function of parameters and one image.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more. Features are
channels-last.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.dtypes import promoted
from jaxstyle.network.activations import average_pool, max_pool, relu, scaled_average_pool
from jaxstyle.network.convolution import conv3x3, prepare_kernel
from jaxstyle.network.layers import (
    BLOCKS,
    CONVOLUTIONS,
    LAYERS,
    ONLY_VGG19,
    block_of,
)

IMAGENET_MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)
"""Mean RGB value of ImageNet's images, in [0, 1]."""


class Convolution(nn.Module):
    """3x3 convolution with bias: (h, w, c_in) -> (h, w, channels).

    Attributes:
      channels: number of channels of the result.
      backend: as in `conv3x3`.
      precision: as in `conv3x3`.
      padding: one of `layers.PADDINGS`.
    """

    channels: int
    backend: str = "auto"
    precision: str = "float32"
    padding: str = "zero"

    @nn.compact
    def __call__(self, x: Float[Array, "h w c_in"]) -> Float[Array, "h w c_out"]:
        """Convolve one image. Operands are promoted to one dtype, so float64 stays float64.

        Args:
          x: (h, w, c_in).

        Returns:
          (h, w, channels).
        """
        kernel = self.param("kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], self.channels))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        x, kernel, bias = promoted(x, kernel, bias)
        prepared = self.get_variable("params", "prepared")
        if prepared is not None and prepared.dtype != x.dtype:
            prepared = None  # it was transformed in fewer bits than the kernel now has
        y = conv3x3(x, kernel, prepared, backend=self.backend, precision=self.precision, padding=self.padding)
        return y + bias[None, None]


def prepare(params: Any) -> Any:
    """Add transformed kernels to the parameters, which make convolutions fast on CPU (207 MB; see `winograd`).

    `run` and `sweep` call this once before their loop. Call it yourself before a loop of your own over `Transfer.step`
    or over a function from `make_features`. Prepared parameters are returned as they are, and so are parameters of
    other networks than VGG19. A program compiled for another platform than CPU never reads the transformed kernels. To
    differentiate with respect to parameters, prepare them inside the differentiated function.

    Args:
      params: the network's parameters.

    Returns:
      The parameters with a leaf "prepared" in each convolution that has a fast form.
    """
    if not isinstance(params, Mapping):
        return params
    return {name: _prepare_layer(layer) if name in CONVOLUTIONS else layer for name, layer in params.items()}


def _prepare_layer(layer: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
    kernel = jnp.asarray(layer["kernel"])
    elsewhere = not isinstance(kernel, jax.core.Tracer) and all(d.platform != "cpu" for d in kernel.devices())
    if "prepared" in layer or elsewhere:
        return layer
    prepared = prepare_kernel(kernel)
    return layer if prepared is None else {**layer, "prepared": prepared}


class VGG19(nn.Module):
    """The 16 convolutions of VGG19, evaluated as deep as the deepest of `layers`.

    Gatys et al. replace maximum pooling by average pooling for smoother gradients; `pooling` chooses between them.

    If the parameters lack conv3_4, conv4_4 and conv5_4, those layers pass their input on, and this is VGG16. That works
    because relu(relu(x)) = relu(x).

    Attributes:
      layers: names out of `layers.LAYERS`.
      pooling: one of `layers.POOLINGS`.
      backend: one of `layers.BACKENDS`.
      precision: as in `conv3x3`.
      first: the first layer to evaluate. If it isn't conv1_1, the input is the output of the layer before it.
      padding: one of `layers.PADDINGS`.
    """

    layers: tuple[str, ...] = ("pool5",)
    pooling: str = "max"
    backend: str = "auto"
    precision: str = "float32"
    first: str = "conv1_1"
    padding: str = "zero"

    @nn.compact
    def __call__(self, x: Float[Array, "h w c_in"]) -> dict[str, Float[Array, "_h _w _c"]]:
        """Compute the features of one image.

        Args:
          x: RGB image (h, w, 3) in [0, 1], or the input of the layer `first`.

        Returns:
          {layer: (h', w', c)}.
        """
        pool = {"max": max_pool, "average": average_pool, "scaled_average": scaled_average_pool}[self.pooling]
        if self.first == LAYERS[0]:
            # The mean is a parameter. It can't be folded into a bias, since conv1_1 pads what is left with zeros.
            mean = self.param("mean", nn.initializers.constant(jnp.asarray(IMAGENET_MEAN)), (3,))
            x, mean = promoted(x, mean)
            x = x - mean[None, None]
        found, late_relu = {}, False
        names = LAYERS[LAYERS.index(self.first) : max(LAYERS.index(layer) for layer in self.layers) + 1]
        for name, following in zip_longest(names, names[1:], fillvalue=""):
            if name.startswith("conv"):
                if name not in ONLY_VGG19 or self.is_initializing() or self.has_variable("params", name):
                    channels = BLOCKS[block_of(name) - 1][1]
                    x = Convolution(channels, self.backend, self.precision, self.padding, name=name)(x)
            elif name.startswith("relu"):
                # ReLU commutes with maximum pooling. Behind the pooling, its mask has a quarter of the size.
                late_relu = self.pooling == "max" and following.startswith("pool") and name not in self.layers
                x = x if late_relu else relu(x)
            else:
                x = relu(pool(x)) if late_relu else pool(x)
            if name in self.layers:
                found[name] = x
        return found
