"""Makes VGG19's features at chosen layers as a pure function of parameters and image."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.checks import reverse_mode_only
from jaxstyle.common.images import one_image
from jaxstyle.network.bfloat16_network import bfloat16_network
from jaxstyle.network.features import Features, Params, select_layers
from jaxstyle.network.half_precision import as_function, network_in_three
from jaxstyle.network.hypercolumns import add_hypercolumns
from jaxstyle.network.layers import (
    BACKENDS,
    BLOCKS,
    CONTENT_LAYERS,
    DTYPES,
    HYPERCOLUMN,
    ONLY_VGG19,
    PADDINGS,
    PIXELS,
    POOLINGS,
    STYLE_LAYERS,
    block_of,
    check_layers,
    convolutions_for,
    min_size,
    plain_layers,
)
from jaxstyle.network.vgg import VGG19


def _check_params(params: object, convolutions: Iterable[str]) -> None:
    """Raise ValueError if params lack a leaf that these convolutions read, or have it in a wrong shape."""
    if not isinstance(params, Mapping):
        raise ValueError(f"params must be a mapping, as js.load_params gives it, got {type(params).__name__}")
    shapes: dict[str, tuple[int, ...]] = {"mean": (3,)}
    channels = 3
    for name in convolutions:
        if name in ONLY_VGG19 and name not in params:
            continue
        before, channels = channels, BLOCKS[block_of(name) - 1][1]
        shapes[f"{name}/kernel"], shapes[f"{name}/bias"] = (3, 3, before, channels), (channels,)
    for path, wanted in shapes.items():
        found: Any = params
        for key in path.split("/"):
            found = found[key] if isinstance(found, Mapping) and key in found else None
        if found is None:
            raise ValueError(f"params have no {path}, of shape {wanted}; js.load_params gives a whole set")
        if jnp.shape(found) != wanted:
            raise ValueError(f"{path} of params must have shape {wanted}, got {jnp.shape(found)}")


def make_features(
    layers: Iterable[str] = CONTENT_LAYERS + STYLE_LAYERS,
    *,
    pooling: str = "max",
    padding: str = "zero",
    backend: str = "auto",
    dtype: jax.typing.DTypeLike = "float32",
) -> Features:
    """Make VGG19's features as a pure function (params, image) -> {layer: features}.

    Args:
      layers: names out of `layers.LAYERS`; "hypercolumn" (see `hypercolumns.add_hypercolumns`); and "pixels", the
        image itself. The network is evaluated as deep as the deepest of them.
      pooling: "max"; "average", as Gatys et al. use; or "scaled_average", which is 1.7 times the average.
      padding: what every convolution sees outside of the image: "zero", as VGG was trained; or "replicate", the nearest
        pixel, which is the command's default. Zeros look like a dark frame, which leaves its mark on pictures.
      backend: "auto", the fastest convolution of each platform; "xla", XLA's on every platform; or "winograd" (see
        `conv3x3`).
      dtype: the precision. "float32" keeps the operands' dtype (float64 stays float64) and computes float32 at full
        precision on every platform. "tensorfloat32" lets GPUs round the operands of products to TF32, and is "float32"
        elsewhere. With "bfloat16", everything in the network is bfloat16: kernels, activations and their gradients, by
        one product with sums in float32; `backend` doesn't count. With "bfloat16_3x", features and gradients with
        respect to them are bfloat16, and TPUs and GPUs compute what lies between in three bfloat16 products forward and
        one backward. Gram matrices, losses, image and optimiser are float32 in all of them. The wing's docstring says
        which to take.

    Returns:
      A function of params (see `load_params`) and a float RGB image (h, w, 3) in [0, 1]. It returns
      {layer: (h', w', c)}. At trace time it raises ValueError for an image of another rank or dtype, for one that is
      too small, and for params that lack a leaf or have one of another shape.

    Raises:
      ValueError: for an unknown layer, pooling, padding, backend or dtype.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1", "relu2_1")), js.load_params("random:0")
      >>> shapes = jax.eval_shape(features, params, jnp.zeros((24, 32, 3)))
      >>> {layer: x.shape for layer, x in shapes.items()}
      {'relu1_1': (24, 32, 64), 'relu2_1': (12, 16, 128)}
    """
    layers = check_layers(layers)
    name = dtype if isinstance(dtype, str) else jnp.dtype(dtype).name
    for what, value, valid in (
        ("pooling", pooling, POOLINGS),
        ("padding", padding, PADDINGS),
        ("backend", backend, BACKENDS),
        ("dtype", name, DTYPES),
    ):
        if value not in valid:
            raise ValueError(f"unknown {what} {value!r}; valid: {', '.join(valid)}")
    plain = plain_layers(layers)
    if name == "bfloat16":
        network = bfloat16_network(plain, pooling, padding)
    elif name == "bfloat16_3x":
        network = network_in_three(plain, pooling, backend, padding)
    else:
        network = as_function(VGG19(plain, pooling, backend, name, padding=padding))

    smallest, needed = min_size(layers), convolutions_for(layers)

    def features(params: Params, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "_h _w _c"]]:
        image = one_image(image)
        if min(image.shape[:2]) < smallest:
            raise ValueError(
                f"image of {image.shape[0]}x{image.shape[1]} pixels is too small for layers "
                f"{', '.join(layers)}: height and width must be at least {smallest}"
            )
        _check_params(params, needed)
        with reverse_mode_only():
            return dict(network(params, image))

    vars(features)["smallest_side"] = smallest  # so that `features.smallest_side` need not search for it by tracing
    return features if plain == layers else _with_more(features, layers)


def _with_more(features: Features, layers: tuple[str, ...]) -> Features:
    """Return the features at these layers alone, among which are hypercolumns or pixels."""
    added = add_hypercolumns(features) if HYPERCOLUMN in layers else features

    def chosen(params: Params, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "_h _w _c"]]:
        return select_layers({**added(params, image), PIXELS: one_image(image)}, layers, "layers")

    return functools.update_wrapper(chosen, added, assigned=())
