"""A network of one's own as the judge of content and style: a small one in Flax NNX, with random weights.

python scripts/examples/network_nnx.py writes network_nnx.png: the content, and a picture in the style of a painting.

Any function (params, image) -> {layer: (h, w, c)} will do for `js.make_objective`. Random kernels keep more of a style
than one would think (He, Wang and Hopcroft, NIPS 2016); a trained network is used in the same way.
"""

import sys
from itertools import pairwise

import jax
import numpy as np
from flax import nnx
from PIL import Image

import jaxstyle as js

SIZE, STEPS = (40, 3) if "--quick" in sys.argv else (128, 80)


class Network(nnx.Module):
    """Four convolutions, with an average pooling before each but the first."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        widths = (3, 32, 64, 96, 128)
        self.layers = nnx.List([nnx.Conv(a, b, (5, 5), rngs=rngs) for a, b in pairwise(widths)])

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """The activations of an image (h, w, 3), by layer."""
        found = {}
        for number, layer in enumerate(self.layers):
            x = nnx.avg_pool(x, (2, 2), (2, 2)) if number else x
            x = found[f"layer{number}"] = nnx.relu(layer(x))
        return found


definition, params = nnx.split(Network(nnx.Rngs(0)))


def features(params: nnx.State, image: jax.Array) -> dict[str, jax.Array]:
    """The network as a pure function of its parameters."""
    return nnx.merge(definition, params)(image - 0.5)


content, style = js.read_image("sample:temple", SIZE), js.read_image("sample:swirls", SIZE)
objective = js.make_objective(
    features, content_layers="layer2", style_layers=("layer0", "layer1", "layer2", "layer3"), convention="relative"
)
targets = objective.targets(params, content, style)
transfer = js.make_transfer(objective.loss, js.lbfgs())
weights = js.LossWeights(beta=0.3, tv=1.0)
run = jax.jit(lambda *args: js.run(transfer, *args, num_steps=STEPS))
state, losses = run(transfer.init(content), params, targets, weights)
print(f"style loss {losses.style[0]:.4g} to {losses.style[-1]:.4g}")
Image.fromarray(np.uint8(np.round(255 * np.concatenate([content, state.picture], axis=1)))).save("network_nnx.png")
