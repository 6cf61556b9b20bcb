"""A sweep inside a jitted function of one's own, which makes lanes, judges them and returns the best: one program.

python scripts/examples/sweep_inside_jit.py writes best.png: each content beside its own best lane.

`search` is vmapped over contents, and takes new images, betas and demands without compiling again.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network.features import Params

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (96, 60)
ROWS = SIZE * 5 // 8  # cropped to one shape, which vmap needs

features = js.make_features()
transfer = js.make_transfer(js.make_loss(features), optax.adam(0.03, b2=0.99))


def search(
    params: Params, content: jax.Array, style: jax.Array, betas: jax.Array, least: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The image of the lane with the most style among those whose SSIM to the content is `least`; its beta and SSIM."""
    targets = js.make_targets(features, params, content, style)
    result = js.sweep(transfer, content, params, targets, js.weight_grid(beta=betas, tv=30.0), num_steps=STEPS)
    similarity = jax.vmap(js.metrics.ssim, (0, None))(result.images, content)
    # Of too little similarity, the most similar.
    score = jnp.where(similarity >= least, result.losses.style[:, -1], 1e6 * (2 - similarity))
    best = jnp.argmin(score)
    return result.images[best], betas[best], similarity[best]


params = js.load_params("bundled")
contents = jnp.stack([read_image(f"sample:{name}", SIZE)[:ROWS] for name in ("cat", "coffee")])
style = read_image("sample:mosaic", SIZE)
jitted = jax.jit(jax.vmap(search, in_axes=(None, 0, None, None, None)))
images, betas, similarities = jitted(params, contents, style, jnp.logspace(-2, 1, 6), 0.5)
for beta, similarity in zip(betas, similarities, strict=True):
    print(f"beta {float(beta):.3g}, SSIM {float(similarity):.3f}")
pairs = [np.concatenate(pair, axis=1) for pair in zip(np.asarray(contents), np.asarray(images), strict=True)]
Image.fromarray(np.uint8(np.round(255 * np.concatenate(pairs)))).save("best.png")
