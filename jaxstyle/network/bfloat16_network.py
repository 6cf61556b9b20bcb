"""VGG19 in bfloat16: one product for each of float32's, and activations and their gradients of half the size.

A step of one lane on a TPU is bound by its memory, so everything here is about what is read and written. Lanes lie
pixel by pixel (see `convolution`); the backward pass has masks in bytes; bias, ReLU and half of the pooling are parts
of the convolution before them. In the first block, two pixels side by side are one column of 128 channels, as many as a
TPU computes at once: columns of 64 would be padded, which doubles the traffic and the products.
"""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.network.activations import average_pool, relu, relu_max_pool, scaled_average_pool
from jaxstyle.network.convolution import conv3x3, round_to_bfloat16
from jaxstyle.network.features import Features, Params
from jaxstyle.network.layers import LAYERS

_FIRST_BLOCK = LAYERS[: LAYERS.index("pool1") + 1]


def bfloat16_network(layers: tuple[str, ...], pooling: str, padding: str) -> Features:
    """Make VGG19 whose kernels, activations, and gradients with respect to them, are bfloat16.

    Sums of products are float32. The image's gradient is 7 to 14 % off float32's, because sums near 0 change sign, and
    pictures are as good: their float32 objective ends within a few per cent, as after any other small change.

    Args:
      layers: names out of `layers.LAYERS`.
      pooling: one of `layers.POOLINGS`.
      padding: one of `layers.PADDINGS`.

    Returns:
      A function (params, image) -> {layer: features}.
    """
    names = LAYERS[: max(map(LAYERS.index, layers)) + 1]
    first, others = names[: len(_FIRST_BLOCK)], names[len(_FIRST_BLOCK) :]
    of_block = partial(_block, layers, pooling, padding)

    def network(params: Params, image: jax.Array) -> dict[str, jax.Array]:
        half = {
            name: (jnp.asarray(layer["kernel"], jnp.bfloat16), jnp.asarray(layer["bias"], jnp.bfloat16))
            for name, layer in params.items()
            if name in names
        }
        x = _enter(image - jnp.asarray(params["mean"], image.dtype)[None, None])
        plain = partial(of_block, first, False)
        of_first = {name: layer for name, layer in half.items() if name in first}
        if x.shape[1] % 2:
            found, x = plain(of_first, x)
        else:
            found, x = lax.platform_dependent(of_first, x, tpu=partial(of_block, first, True), default=plain)
        return found | (of_block(others, False, half, x)[0] if others else {})

    return network


def _block(
    layers: tuple[str, ...],
    pooling: str,
    padding: str,
    names: tuple[str, ...],
    pairs: bool,
    params: Mapping[str, tuple[jax.Array, jax.Array]],
    x: jax.Array,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Compute layers that follow each other: those of them that are asked for, and the last one's output."""
    found: dict[str, jax.Array] = {}
    x = x.reshape(x.shape[0], -1, 2 * x.shape[2]) if pairs else x
    for name, following in zip(names, (*names[1:], ""), strict=True):
        if name in params:
            kernel, bias = params[name]
            if pairs:
                kernel, bias = _kernel_of_pairs(kernel), jnp.tile(bias, 2)
            x = conv3x3(x, kernel, padding=padding, pairs=pairs) + bias[None, None]
        elif name.startswith("relu"):
            of_pooling = pooling == "max" and following.startswith("pool")
            x = _kept_relu(x) if name in layers else x if of_pooling else relu(x)
        elif name.startswith("pool"):
            x, pairs = _pool(x, pooling, pairs), False
        if name in layers:
            found[name] = _settle(_to_pixels(x) if pairs else x)
    return found, _to_pixels(x) if pairs else x


def _to_pixels(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[2] // 2)


def _pool(x: jax.Array, pooling: str, pairs: bool) -> jax.Array:
    if pooling == "max":
        return relu_max_pool(x, pairs)
    x = _to_pixels(x) if pairs else x
    return average_pool(x) if pooling == "average" else scaled_average_pool(x)


def _kernel_of_pairs(kernel: jax.Array) -> jax.Array:
    """Turn a kernel for pixels into one for pairs of pixels: (3, 3, c_in, c_out) -> (3, 3, 2 c_in, 2 c_out)."""
    _, _, c_in, c_out = kernel.shape
    # An output pixel s of a pair sees the pixel s + d - 1 for the column d of the kernel, which is pixel r of pair q.
    columns = jnp.zeros((3, 3, 2, c_in, 2, c_out), kernel.dtype)
    for s in range(2):
        for d in range(3):
            q, r = divmod(s + d - 1, 2)
            columns = columns.at[:, q + 1, r, :, s].set(kernel[:, d])
    return columns.reshape(3, 3, 2 * c_in, 2 * c_out)


def _settle(x: jax.Array) -> jax.Array:
    """Round features, which a CPU may have in more bits inside of a compiled program."""
    return lax.platform_dependent(x, cpu=lambda x: round_to_bfloat16(x).astype(x.dtype), default=lambda x: x)


@jax.custom_vjp
def _enter(x: jax.Array) -> jax.Array:
    """Round the image. Its gradient comes out of the last convolution in bfloat16; a TPU would write it in float32."""
    return x.astype(jnp.bfloat16)


_enter.defvjp(
    lambda x: (_enter(x), jnp.zeros(0, x.dtype)),
    lambda empty, g: (lax.optimization_barrier(g).astype(empty.dtype),),
)


@jax.custom_vjp
def _kept_relu(x: jax.Array) -> jax.Array:
    """Compute max(x, 0) of a layer that a loss reads: the backward pass has it anyway, and needs no mask."""
    # Without the barrier, the compiler for TPUs also writes x, and makes the mask of it.
    return lax.optimization_barrier(jnp.maximum(x, 0))


def _kept_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = _kept_relu(x)
    return y, y


_kept_relu.defvjp(_kept_relu_forward, lambda y, g: (jnp.where(y > 0, g, 0),))
