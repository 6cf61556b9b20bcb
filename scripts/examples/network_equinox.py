"""A network of one's own as the judge of content and style: a small one in Equinox, and a hypercolumn of its layers.

python scripts/examples/network_equinox.py writes network_equinox.png: the content, and a picture in another style.

A layer need not be one of the network's: here "column" holds three layers side by side, resized to one size, each over
its number of channels, and the style is compared there. A function `features` may return whatever it computes.
"""

import sys
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import jaxstyle as js

SIZE, STEPS = (40, 3) if "--quick" in sys.argv else (128, 80)


class Network(eqx.Module):
    """Three convolutions, channels first as Equinox has them, with an average pooling before each but the first."""

    layers: list[eqx.nn.Conv2d]

    def __init__(self, key: jax.Array) -> None:
        widths, keys = (3, 32, 64, 96), jax.random.split(key, 3)
        self.layers = [
            eqx.nn.Conv2d(a, b, 5, padding=2, key=key) for (a, b), key in zip(pairwise(widths), keys, strict=True)
        ]

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """The activations (c, h, w) of an image (3, h, w)."""
        found: list[jax.Array] = []
        for layer in self.layers:
            x = eqx.nn.AvgPool2d(2, 2)(found[-1]) if found else x
            found.append(jax.nn.relu(layer(x)))
        return found


params, rest = eqx.partition(Network(jax.random.key(0)), eqx.is_inexact_array)


def features(params: Any, image: jax.Array) -> dict[str, jax.Array]:
    """The deepest layer, and a hypercolumn of all at the size of the second."""
    found = [jnp.moveaxis(x, 0, -1) for x in eqx.combine(params, rest)(jnp.moveaxis(image, -1, 0) - 0.5)]
    size = found[1].shape[:2]
    column = [jax.image.resize(x, (*size, x.shape[-1]), "linear") / x.shape[-1] for x in found]
    return {"deep": found[-1], "column": jnp.concatenate(column, axis=-1)}


content, style = js.read_image("sample:cat", SIZE), js.read_image("sample:mosaic", SIZE)
objective = js.make_objective(features, content_layers="deep", style_layers="column", convention="relative")
targets = objective.targets(params, content, style)
transfer = js.make_transfer(objective.loss, js.lbfgs())
weights = js.LossWeights(beta=0.3, tv=1.0)
run = jax.jit(lambda *args: js.run(transfer, *args, num_steps=STEPS))
state, losses = run(transfer.init(content), params, targets, weights)
print(f"style loss {losses.style[0]:.4g} to {losses.style[-1]:.4g}")
Image.fromarray(np.uint8(np.round(255 * np.concatenate([content, state.picture], axis=1)))).save("network_equinox.png")
