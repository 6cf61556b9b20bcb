"""A network as a function of its parameters and an image, whoever wrote it.

Nothing here knows VGG: names of layers are whatever the function returns, and the smallest image is found by tracing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape

Params = Mapping[str, Any]
"""Parameters, a pytree; for VGG19 {"mean": (3,), "conv1_1": {"kernel": (3, 3, 3, 64), "bias": (64,)}, ...}."""

Features = Callable[[Any, Float[Array, "h w 3"]], Mapping[str, Float[Array, "_h _w _c"]]]
"""A pure function (params, image (h, w, 3)) -> {layer: (h', w', c)}; its parameters are any pytree."""

_LARGEST_SEARCHED = 2048


def select_layers(found: Any, layers: Iterable[str], argument: str) -> dict[str, Any]:
    """Take layers out of what a network returned.

    Args:
      found: what a function of `Features` returned: arrays (h, w, c) by layer, or their shapes.
      layers: the names of those that are wanted.
      argument: the argument that names them, for the message.

    Returns:
      {layer: array} in the order of `layers`.

    Raises:
      ValueError: if the network returns no mapping, lacks a layer, or gives one that is not (h, w, c).
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"features must return a mapping of layers to arrays, got {type(found).__name__}")
    chosen: dict[str, Any] = {}
    for layer in layers:
        if layer not in found:
            raise ValueError(
                f"no {layer} among the layers {', '.join(map(str, found))} of features: "
                f"{argument} must name layers that the network returns"
            )
        chosen[layer] = found[layer]
        check_shape(f"features of {layer}", found[layer], ("h", "w", "c"))
    return chosen


def layer_sizes(features: Features, params: Params, layers: Iterable[str], image: Any) -> dict[str, tuple[int, int]]:
    """Find the height and width of layers, without computing them.

    Args:
      features: the network.
      params: its parameters.
      layers: names of layers that it returns.
      image: (h, w, 3), or its shape and dtype.

    Returns:
      {layer: (h', w')}.

    Raises:
      ValueError: as `select_layers` does, and as the network does.
    """
    shapes = select_layers(jax.eval_shape(features, params, image), layers, "layers")
    return {layer: cast(tuple[int, int], x.shape[:2]) for layer, x in shapes.items()}


def smallest_side(features: Features, params: Params, layers: Iterable[str]) -> int:
    """Find the smallest square image that a network takes.

    A function may declare it in an attribute `smallest_side`, as those of `make_features` do. Otherwise the network is
    traced for squares of several sizes: the smallest works if it raises nothing and leaves at least one position in
    every layer.

    Args:
      features: the network.
      params: its parameters.
      layers: names of the layers that are wanted.

    Returns:
      Pixels of a side.

    Raises:
      ValueError: as `select_layers` does; and if no size up to 2048 pixels works, with the network's own reason.
    """
    declared = getattr(features, "smallest_side", None)
    if declared is not None:
        return int(declared)
    layers = tuple(layers)
    reason = ""

    def works(side: int) -> bool:
        nonlocal reason
        image = jax.ShapeDtypeStruct((side, side, 3), jnp.float32)
        try:
            found = jax.eval_shape(features, params, image)
        except Exception as error:  # a network may refuse a size in any way
            reason = " ".join(str(error).split())[:200]
            return False
        return all(min(x.shape[:2]) > 0 for x in select_layers(found, layers, "layers").values())

    high = 1
    while not works(high):
        high *= 2
        if high > _LARGEST_SEARCHED:
            raise ValueError(f"features take no image of up to {_LARGEST_SEARCHED} pixels a side: {reason}")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
