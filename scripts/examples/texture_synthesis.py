"""A texture out of noise (Gatys et al., arXiv 1505.07376): a style without content, from coarse to fine.

python scripts/examples/texture_synthesis.py writes texture.png: the source, and a texture that is wider than it.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import jaxstyle as js
from jaxstyle.network.features import Params
from jaxstyle.optimise.initial_images import starting_image
from jaxstyle.optimise.pyramid import run_pyramid
from jaxstyle.optimise.pyramid_sizes import scales

SIZE, STEPS = (32, 2) if "--quick" in sys.argv else (128, 60)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")

source = js.read_image("sample:swirls", SIZE)
height, width = source.shape[0], source.shape[1] * 3 // 2
empty = jnp.zeros((height, width, 3))  # there is no content, only its size
params = js.prepare(js.load_params("bundled"))
# Features with the nearest pixel outside of the image, so that the texture has no frame.
features = js.make_features(LAYERS, pooling="average", padding="replicate")
options = {"content_layers": (), "style_layers": LAYERS}
objective = js.make_objective(features, convention="relative", **options)
transfer = js.make_transfer(objective.loss, js.lbfgs())
sizes = scales((height, width), smallest=24 if SIZE == 32 else 48, least=16)


@jax.jit
def synthesise(params: Params, source: jax.Array, key: jax.Array) -> tuple[jax.Array, list[js.Losses]]:
    """The texture (h, w, 3), and the losses of each size."""
    state, losses = run_pyramid(
        transfer,
        objective.targets,
        params,
        empty,
        source,
        js.LossWeights(0.0, 1.0, 0.01),
        shapes=sizes,
        num_steps=[STEPS] * len(sizes),
        start=starting_image("statistics", empty, source, key),
    )
    return state.picture, losses


texture, losses = synthesise(params, source, jax.random.key(0))
for shape, rows in zip(sizes, losses, strict=True):
    print(f"{shape[1]}x{shape[0]}: style loss {rows.style[0]:.4g} to {rows.style[-1]:.4g}")
Image.fromarray(np.uint8(np.round(255 * jnp.concatenate([source, texture], axis=1)))).save("texture.png")
