"""Checks of the names of layers that users give, for any network. This is plain Python, and imports no jax."""

from collections.abc import Iterable, Mapping
from typing import Any


def layer_names(layers: Any, argument: str) -> tuple[str, ...]:
    """Check that names of layers are one or more different names.

    Whether a network has such layers shows when it is traced (see `features.select_layers`).

    Args:
      layers: the names, or a single one.
      argument: name of the argument that holds them, for the message.

    Returns:
      The names as a tuple.

    Raises:
      ValueError: for no name, a repeated one, and anything but a sequence of names.
    """
    if isinstance(layers, str):
        return (layers,)
    if isinstance(layers, Mapping) or not isinstance(layers, Iterable):
        hint = "; the weights of layers are fields of LossWeights" if isinstance(layers, Mapping) else ""
        raise ValueError(f"{argument} must be a sequence of names of layers, got {type(layers).__name__}{hint}")
    names = tuple(layers)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{argument} must be one or more different names, got {list(names)}")
    return names


def optional_layer_names(layers: Any, argument: str) -> tuple[str, ...]:
    """Check names of layers like `layer_names`, but allow that there are none: a texture has no content.

    Args:
      layers: the names, a single one, or none.
      argument: name of the argument that holds them, for the message.

    Returns:
      The names as a tuple.

    Raises:
      ValueError: for what `layer_names` refuses, except no name.
    """
    if isinstance(layers, Iterable) and not isinstance(layers, str | Mapping):
        layers = tuple(layers)
        if not layers:
            return ()
    return layer_names(layers, argument)
