"""VGG19 (Simonyan and Zisserman, arXiv 1409.1556) as a pure function of parameters and one image.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more. Features are channels-last.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any, cast

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.activations import average_pool, max_pool, relu, scaled_average_pool
from jaxstyle.checks import reverse_mode_only
from jaxstyle.conv import conv3x3, prepare_kernel
from jaxstyle.dtypes import promoted
from jaxstyle.layers import (
    BACKENDS,
    BLOCKS,
    CONTENT_LAYERS,
    CONVOLUTIONS,
    DTYPES,
    LAYERS,
    ONLY_VGG19,
    PADDINGS,
    POOLINGS,
    STYLE_LAYERS,
    block_of,
    check_layers,
    convolutions_for,
    min_size,
)

Params = Mapping[str, Any]
"""Parameters: {"mean": (3,), "conv1_1": {"kernel": (3, 3, 3, 64), "bias": (64,)}, ..., "conv5_4": ...}."""

Features = Callable[[Params, Float[Array, "h w 3"]], dict[str, Float[Array, "_h _w _c"]]]
"""A pure function (params, image (h, w, 3)) -> {layer: (h', w', c)}."""

IMAGENET_MEAN: tuple[float, float, float] = (0.485, 0.456, 0.406)
"""Mean RGB of ImageNet, of images in [0, 1]."""


class Convolution(nn.Module):
    """3x3 convolution with bias: (h, w, c_in) -> (h, w, channels).

    Attributes:
      channels: of the result.
      backend: as of `conv3x3`.
      bfloat16: as of `conv3x3`.
      padding: one of `layers.PADDINGS`.
    """

    channels: int
    backend: str = "auto"
    bfloat16: bool = False
    padding: str = "zero"

    @nn.compact
    def __call__(self, x: Float[Array, "h w c_in"]) -> Float[Array, "h w c_out"]:
        """Convolve one image; operands are promoted to one dtype, so float64 stays float64.

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
            prepared = None  # transformed in fewer bits than the kernel itself now has
        options = {"backend": self.backend, "bfloat16": self.bfloat16, "padding": self.padding}
        return conv3x3(x, kernel, prepared, **options) + bias[None, None]


def prepare(params: Any) -> Any:
    """Add to every convolution what makes it fast on CPU: kernels transformed for Winograd's algorithm (207 MB).

    `run` and `sweep` do it by themselves, once, before their loop. Call it for a loop of your own over
    `Transfer.step`, or over a function of `make_features`; prepared parameters are left as they are, and so is what is
    not VGG19's. A program compiled for another platform than CPU never reads the addition. To differentiate with
    respect to parameters, prepare them inside the function that is differentiated.

    Args:
      params: the network's parameters.

    Returns:
      The same with a leaf "prepared" in each convolution that has a fast form.
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

    Gatys et al. replace max pooling by average pooling for smoother gradients; both are here. Without parameters of
    conv3_4, conv4_4 and conv5_4, which pass their input on then, this is VGG16: relu(relu(x)) = relu(x).

    Attributes:
      layers: names out of `layers.LAYERS`.
      pooling: one of `layers.POOLINGS`.
      backend: one of `layers.BACKENDS`.
      bfloat16: as of `conv3x3`.
      first: the layer to begin with; if it isn't conv1_1, what comes in is the output of the layer before.
      padding: one of `layers.PADDINGS`.
    """

    layers: tuple[str, ...] = ("pool5",)
    pooling: str = "max"
    backend: str = "auto"
    bfloat16: bool = False
    first: str = "conv1_1"
    padding: str = "zero"

    @nn.compact
    def __call__(self, x: Float[Array, "h w c_in"]) -> dict[str, Float[Array, "_h _w _c"]]:
        """Compute the features of one image.

        Args:
          x: RGB image (h, w, 3) in [0, 1]; or what `first` takes.

        Returns:
          {layer: (h', w', c)}.
        """
        pool = {"max": max_pool, "average": average_pool, "scaled_average": scaled_average_pool}[self.pooling]
        if self.first == LAYERS[0]:
            # The mean is a parameter: the zero padding of conv1_1 keeps it from being folded into a bias.
            mean = self.param("mean", nn.initializers.constant(jnp.asarray(IMAGENET_MEAN)), (3,))
            x, mean = promoted(x, mean)
            x = x - mean[None, None]
        found, late_relu = {}, False
        names = LAYERS[LAYERS.index(self.first) : max(LAYERS.index(layer) for layer in self.layers) + 1]
        for name, following in zip_longest(names, names[1:], fillvalue=""):
            if name.startswith("conv"):
                if name not in ONLY_VGG19 or self.is_initializing() or self.has_variable("params", name):
                    channels = BLOCKS[block_of(name) - 1][1]
                    x = Convolution(channels, self.backend, self.bfloat16, self.padding, name=name)(x)
            elif name.startswith("relu"):
                # ReLU commutes with max pooling, after which its mask has a quarter of the size.
                late_relu = self.pooling == "max" and following.startswith("pool") and name not in self.layers
                x = x if late_relu else relu(x)
            else:
                x = relu(pool(x)) if late_relu else pool(x)
            if name in self.layers:
                found[name] = x
        return found


def _as_function(network: VGG19) -> Features:
    return lambda params, x: cast(dict[str, jax.Array], network.apply({"params": params}, x))


def _bfloat16_network(layers: tuple[str, ...], pooling: str, backend: str, padding: str) -> Features:
    """The network with features, and gradients, in bfloat16: what a loss reads is rounded, which halves its memory.

    What the next layer reads is not: sums close to 0 would change sign, and the gradient its path (7 to 14 % of it,
    measured). At full size that takes most of the memory, and on a TPU, which pads 64 channels to 128, twice as much:
    so the first block keeps nothing for the backward pass but the image, and is computed again there; and on a TPU
    vmapped images go through it one by one (8 of 512x512 pixels: 0.18 instead of 0.42 GB each, for 10 % more FLOPs).
    """
    in_first = tuple(layer for layer in layers if block_of(layer) == 1)
    deeper = tuple(layer for layer in layers if layer not in in_first)
    end = ("pool1",) if deeper and "pool1" not in in_first else ()
    head = _as_function(VGG19((*in_first, *end), pooling, "xla", bfloat16=True, padding=padding))
    tail = _as_function(VGG19(deeper, pooling, backend, bfloat16=True, first="conv2_1", padding=padding))

    def first_block(params: Params, image: jax.Array) -> tuple[dict[str, jax.Array], jax.Array | None]:
        found = head(params, image)
        return {layer: found[layer].astype(jnp.bfloat16) for layer in in_first}, found.get("pool1")

    run_first = _one_by_one(first_block)

    def network(params: Params, image: jax.Array) -> dict[str, jax.Array]:
        # Without prepared kernels, which are for the other backend.
        of_block = {name: {k: layer[k] for k in ("kernel", "bias")} for name, layer in params.items() if name in _FIRST}
        found, x = run_first({"mean": params["mean"], **of_block}, image)
        if deeper:
            found |= {layer: value.astype(jnp.bfloat16) for layer, value in tail(params, x).items()}
        return found

    return network


_FIRST = ("conv1_1", "conv1_2")


def _one_by_one(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, of which the backward pass, of any order, keeps the arguments alone; on a TPU without batches."""

    @custom_vmap
    def mapped(*operands: Any) -> Any:
        return f(*operands)

    @mapped.def_vmap
    def _(axis_size: int, in_batched: Any, *operands: Any) -> Any:
        in_batched = tuple(in_batched)
        axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched)

        def in_turn(*operands: Any) -> Any:
            def one(i: jax.Array) -> Any:
                return f(*jax.tree.map(lambda batched, x: x[i] if batched else x, in_batched, operands))

            return lax.map(one, jnp.arange(axis_size))

        found = lax.platform_dependent(*operands, tpu=in_turn, default=jax.vmap(f, axes, axis_size=axis_size))
        return found, jax.tree.map(lambda _: True, found)

    run = jax.custom_vjp(lambda *operands: mapped(*operands))

    def gradient(*operands: Any) -> Any:
        return jax.vjp(f, *operands[:-1])[1](operands[-1])

    run.defvjp(lambda *operands: (run(*operands), operands), lambda operands, g: _one_by_one(gradient)(*operands, g))
    return run


def as_image(image: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """An image, or images, as an array of jax.

    Args:
      image: of any shape.

    Returns:
      The array.

    Raises:
      ValueError: unless it is floating-point.
    """
    try:
        if hasattr(image, "_fields") or isinstance(image, Mapping):
            raise TypeError
        image = jnp.asarray(image)
    except (TypeError, ValueError):
        hint = "; a state's image is state.image" if hasattr(image, "image") else ""
        raise ValueError(f"image must be an array of shape (h, w, 3), got {type(image).__name__}{hint}") from None
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be floating-point RGB in [0, 1], got {image.dtype}: divide bytes by 255")
    return image


def one_image(image: Float[ArrayLike, "h w 3"]) -> Float[Array, "h w 3"]:
    """One image as an array of jax.

    Args:
      image: (h, w, 3).

    Returns:
      The array.

    Raises:
      ValueError: unless it is floating-point, (h, w, 3).
    """
    image = as_image(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        hint = "; use jax.vmap for a batch" if image.ndim > 3 else ""
        raise ValueError(f"image must have shape (h, w, 3), got {image.shape}{hint}")
    return image


def _check_params(params: object, convolutions: Iterable[str]) -> None:
    """Raise ValueError, which names the leaf, unless params have what these convolutions read, in its shape."""
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
    """Make the pure function (params, image) -> {layer: features}.

    Args:
      layers: names out of `layers.LAYERS`; the network is evaluated as deep as the deepest of them.
      pooling: "max"; "average", as Gatys et al. have it; or "scaled_average", 1.7 times that.
      padding: "zero", as VGG was trained; or "replicate", the nearest pixel, at every convolution, as the command has
        it: zeros look like a dark frame, which leaves its mark on pictures.
      backend: "auto", the fastest convolution of each platform; "xla", XLA's everywhere; or "winograd" (see `conv3x3`).
      dtype: "float32", which keeps the operands' dtype (float64 stays float64) and pins float32 to full precision on
        every platform; or "bfloat16": features are returned in it, their gradient is computed in it, and on a TPU or
        GPU convolutions take three bfloat16 products instead of float32's. Losses, image and optimiser stay float32.

    Returns:
      A function of params (see `load_params`) and a float RGB image (h, w, 3) in [0, 1] that returns
      {layer: (h', w', c)}. It raises ValueError at trace time for an image of another rank or dtype, or too small, and
      for params that lack a leaf or have one of another shape.

    Raises:
      ValueError: for an unknown layer, pooling, padding, backend or dtype.

    Example:
      >>> import jax, jax.numpy as jnp, jaxstyle as js
      >>> features, params = js.make_features(("relu1_1", "relu2_1")), js.load_params("random:0")
      >>> shapes = jax.eval_shape(features, params, jnp.zeros((24, 32, 3)))
      >>> {layer: x.shape for layer, x in shapes.items()}
      {'relu1_1': (24, 32, 64), 'relu2_1': (12, 16, 128)}
    """
    layers = check_layers(layers)
    name = jnp.dtype(dtype).name
    for what, value, valid in (
        ("pooling", pooling, POOLINGS),
        ("padding", padding, PADDINGS),
        ("backend", backend, BACKENDS),
        ("dtype", name, DTYPES),
    ):
        if value not in valid:
            raise ValueError(f"unknown {what} {value!r}; valid: {', '.join(valid)}")
    if name == "bfloat16":
        network = _bfloat16_network(layers, pooling, backend, padding)
    else:
        network = _as_function(VGG19(layers, pooling, backend, padding=padding))

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
            return network(params, image)

    return features
