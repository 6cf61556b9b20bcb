"""A network as a function of its parameters and an image, whoever wrote it."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, Float

Params = Mapping[str, Any]
"""Parameters: {"mean": (3,), "conv1_1": {"kernel": (3, 3, 3, 64), "bias": (64,)}, ..., "conv5_4": ...}."""


Features = Callable[[Params, Float[Array, "h w 3"]], dict[str, Float[Array, "_h _w _c"]]]
"""A pure function (params, image (h, w, 3)) -> {layer: (h', w', c)}."""
