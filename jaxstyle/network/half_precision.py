"""VGG19 whose features, and gradients with respect to them, are bfloat16, and whose products are nearly float32's."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxstyle.network.features import Features, Params
from jaxstyle.network.layers import block_of
from jaxstyle.network.vgg import VGG19


def as_function(network: VGG19) -> Features:
    """Turn the Flax module into a pure function.

    Args:
      network: the module.

    Returns:
      A function (params, image) -> {layer: features}.
    """
    return lambda params, x: cast(dict[str, jax.Array], network.apply({"params": params}, x))


def network_in_three(layers: tuple[str, ...], pooling: str, backend: str, padding: str) -> Features:
    """Make VGG19 whose features, and gradients with respect to them, are bfloat16, for the dtype "bfloat16_3x".

    Only the features that a loss reads are rounded, which halves their memory. The values that the next layer reads are
    not rounded: sums near 0 would change sign, and the gradient would be off by 7 to 14 % (measured).

    The values of the first block take most of the memory, since they have the image's full size. On a TPU they take
    twice as much, since it pads 64 channels to 128. So the first block keeps only the image for the backward pass,
    which computes the block again. On a TPU, vmapped images go through that block one by one: 8 images of 512x512
    pixels then take 0.18 instead of 0.42 GB each, for 10 % more FLOPs.

    Args:
      layers: names out of `layers.LAYERS`.
      pooling: one of `layers.POOLINGS`.
      backend: one of `layers.BACKENDS`, for the blocks after the first. The first block uses XLA's convolutions.
      padding: one of `layers.PADDINGS`.

    Returns:
      A function (params, image) -> {layer: features}.
    """
    in_first = tuple(layer for layer in layers if block_of(layer) == 1)
    deeper = tuple(layer for layer in layers if layer not in in_first)
    end = ("pool1",) if deeper and "pool1" not in in_first else ()
    head = as_function(VGG19((*in_first, *end), pooling, "xla", "bfloat16_3x", padding=padding))
    tail = as_function(VGG19(deeper, pooling, backend, "bfloat16_3x", first="conv2_1", padding=padding))

    def first_block(params: Params, image: jax.Array) -> tuple[dict[str, jax.Array], jax.Array | None]:
        found = head(params, image)
        return {layer: found[layer].astype(jnp.bfloat16) for layer in in_first}, found.get("pool1")

    run_first = _one_by_one(first_block)

    def network(params: Params, image: jax.Array) -> dict[str, jax.Array]:
        # The first block takes no transformed kernels, since it does not use Winograd's algorithm.
        of_block = {name: {k: layer[k] for k in ("kernel", "bias")} for name, layer in params.items() if name in _FIRST}
        found, x = run_first({"mean": params["mean"], **of_block}, image)
        if deeper:
            found |= {layer: value.astype(jnp.bfloat16) for layer, value in tail(params, x).items()}
        return found

    return network


_FIRST = ("conv1_1", "conv1_2")


def _one_by_one(f: Callable[..., Any]) -> Callable[..., Any]:
    """Make `f` keep only its arguments for the backward pass, in gradients of every order.

    On a TPU, vmapped images go through it one by one.
    """

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
