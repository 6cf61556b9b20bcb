"""Hypercolumns: the features of several layers at one position, as one more layer (Hariharan et al., 1411.5752)."""

from __future__ import annotations

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_count, check_function
from jaxstyle.common.layer_names import layer_names
from jaxstyle.network.features import Features, Params, select_layers
from jaxstyle.network.layers import HYPERCOLUMN, HYPERCOLUMN_LAYERS


def add_hypercolumns(features: Features, layers: Iterable[str] = HYPERCOLUMN_LAYERS, *, stride: int = 4) -> Features:
    """Add a layer "hypercolumn" to a network's layers, as NNST and STROTSS have it.

    Every layer is resized to a part of the image's size and divided by its number of channels, so that layers of many
    channels don't outweigh the others in a cosine; then all are concatenated. NNST (Kolkin et al., arXiv 2203.13215)
    resizes without antialiasing, by which some pixels count more than their neighbours; here larger layers are
    averaged.

    Args:
      features: the network, which returns these layers.
      layers: the layers of a hypercolumn.
      stride: the image's size over that of the hypercolumns.

    Returns:
      A function like `features`, with a layer "hypercolumn" (h // stride, w // stride, sum of channels) more.

    Raises:
      ValueError: for features that are no function, names of layers that are no or repeated names, or a stride below 1.
        The function raises it for a layer that the network doesn't return.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxstyle as js
      >>> from jaxstyle.network.hypercolumns import add_hypercolumns
      >>> layers = ("relu1_1", "relu2_1")
      >>> features, params = add_hypercolumns(js.make_features(layers), layers), js.load_params("random:0")
      >>> jax.eval_shape(features, params, jnp.zeros((24, 32, 3)))["hypercolumn"].shape
      (6, 8, 192)
    """
    check_function("features", features, "js.make_features")
    layers = layer_names(layers, "layers")
    check_count("stride", stride, 1)

    def with_hypercolumns(params: Params, image: Float[Array, "h w 3"]) -> dict[str, Float[Array, "_h _w _c"]]:
        found = features(params, image)
        h, w = (max(1, side // stride) for side in image.shape[:2])
        parts = [
            jax.image.resize(f, (h, w, f.shape[2]), "linear") / f.shape[2]
            for f in select_layers(found, layers, "layers").values()
        ]
        return {**found, HYPERCOLUMN: jnp.concatenate(parts, -1)}

    smallest = getattr(features, "smallest_side", None)
    if smallest is not None:
        vars(with_hypercolumns)["smallest_side"] = max(smallest, 2 * stride)
    return with_hypercolumns
