"""The network that a job compares features of: VGG19, the bundled AlexNet, or a function of the user's."""

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.settings.settings import ALEXNET, VGG19, Settings
from jaxstyle.app.system.errors import StartError
from jaxstyle.network import alexnet
from jaxstyle.network.features import Features, layer_sizes, select_layers, smallest_side
from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS, convolutions_for
from jaxstyle.network.vgg_features import make_features
from jaxstyle.objective.weight_defaults import default_style_layers, default_style_loss
from jaxstyle.pretrained.load import load_weights
from jaxstyle.pretrained.lpips import load_lpips
from jaxstyle.pretrained.weight_sets import DEFAULT, LPIPS_SETS, REGISTRY

_DEFAULTS = (STYLE_LAYERS, default_style_layers(default_style_loss("mean")))
_PROBES = (64, 512)  # pixels of a side with which a network is traced to see its layers


class Network(NamedTuple):
    """A network, ready to be computed with.

    Attributes:
      features: the network as a function.
      params: its parameters, without those that the layers don't need.
      name: what run folders call the parameters: a weight set, or MODULE:FUNCTION.
      sha256: hash of the file of a weight set, or of all parameters.
      smallest_side: pixels of a side of the smallest image that it takes.
    """

    features: Features
    params: Any
    name: str
    sha256: str
    smallest_side: int

    def sizes_of(self, layers: Iterable[str]) -> Callable[[Any], dict[str, tuple[int, int]]]:
        """Return a function from an image to the heights and widths of these layers."""
        return lambda image: layer_sizes(self.features, self.params, layers, image)


def default_layers(settings: Settings) -> Settings:
    """Return the settings with layers of the network, where those given are VGG19's defaults and it is another one.

    Raises:
      StartError: for a function of the user's without --content-layers or --style-layers.
    """
    if settings.network == VGG19:
        return settings
    content, style = settings.content_layers == CONTENT_LAYERS, settings.style_layers in _DEFAULTS
    if settings.network == ALEXNET:
        layers: dict[str, Any] = {"content_layers": ("relu3",)} if content else {}
        layers |= {"style_layers": alexnet.LAYERS} if style else {}
        return replace(settings, **layers)
    missing = [flag for flag, absent in (("--content-layers", content), ("--style-layers", style)) if absent]
    if missing:
        raise StartError(f"--network {settings.network} needs {' and '.join(missing)}: names of layers that it returns")
    return settings


def load_network(settings: Settings) -> Network:
    """Load the network and check that it has the layers.

    Raises:
      StartError: for a network, a layer or weights that are not there.
    """
    layers = tuple(dict.fromkeys(settings.content_layers + settings.style_layers))
    if settings.network != VGG19:
        _check_plain(settings)
    try:
        if settings.network == VGG19:
            features = make_features(layers, pooling=settings.pooling, padding=settings.padding, dtype=settings.dtype)
            weights = load_weights(settings.weights or DEFAULT)
            needed = (*convolutions_for(layers), "mean")
            params: Any = {name: weights.params[name] for name in needed if name in weights.params}
            name, sha256 = weights.name, weights.sha256
        elif settings.network == ALEXNET:
            features, name = alexnet.alexnet_features, LPIPS_SETS["alex"]
            params = {key: layer for key, layer in load_lpips("alex").items() if key != "heads"}
            sha256 = REGISTRY[name].sha256
        else:
            features, params = _call(settings.network)
            name, sha256 = settings.network, hash_params(params)
        if settings.network != VGG19:
            _check_layers(features, params, layers)
        return Network(features, params, name, sha256, smallest_side(features, params, layers))
    except ValueError as error:  # all of them say in one line what is wrong with an option
        raise StartError(str(error)) from error


def _check_plain(settings: Settings) -> None:
    """Raise StartError for options that change VGG19 and no other network."""
    for name, plain in (("pooling", "max"), ("dtype", "float32"), ("weights", None)):
        if getattr(settings, name) != plain:
            raise StartError(f"--{name} is for VGG19, not for --network {settings.network}: leave it out")


def _check_layers(features: Features, params: Any, layers: Iterable[str]) -> None:
    """Raise ValueError for a layer that the network does not return."""
    reason = ""
    for side in _PROBES:
        try:
            shapes = jax.eval_shape(features, params, jax.ShapeDtypeStruct((side, side, 3), jnp.float32))
        except Exception as error:  # the size may be too small for the network, which may say so in any way
            reason = " ".join(str(error).split())[:200]
            continue
        select_layers(shapes, layers, "--content-layers and --style-layers")
        return
    raise ValueError(f"the network can't be traced with images of {' or '.join(map(str, _PROBES))} pixels: {reason}")


def _call(name: str) -> tuple[Features, Any]:
    """Call MODULE:FUNCTION, with the working folder among those where modules are looked for, as Python has it."""
    module, _, function = name.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = getattr(importlib.import_module(module), function)()
        features, params = found
    except Exception as error:  # code of the user's
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StartError(
            f"--network {name}: {reason}; {function or 'FUNCTION'} takes nothing and returns (features, params)"
        ) from error
    finally:
        sys.path.pop(0)
    if not callable(features):
        raise StartError(f"--network {name} must return (features, params), with features a function")
    return cast(Features, features), params


def hash_params(params: Any) -> str:
    """Return the sha256 of a pytree's arrays with their places, dtypes and shapes, in hexadecimal."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
