"""A style loss of one's own: Gram matrices of features with their neighbours, which see how a pattern goes on.

python scripts/examples/custom_style_statistic.py writes statistics.png: the content, the style by `gram`, and by this.

A Gram matrix counts which features are in the same place. Berger and Memisevic (arXiv 1606.01286) compare features
with those some positions to the right and below, too, so that stripes stay stripes.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import jaxstyle as js
from jaxstyle.objective.losses import gram_matrix
from jaxstyle.objective.statistics.statistic import StyleStatistic

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (160, 60)
SHIFT = 4  # positions of a layer, where it has so many


def measure(features: jax.Array, mask: jax.Array | None) -> jax.Array:
    """The Gram matrices (3, c, c) of features (h, w, c) in place, and with those to the right and below."""
    if mask is not None:
        raise ValueError("shifted Gram matrices take no masks")
    grams = [gram_matrix(features)]
    for axis in (0, 1):
        shift = min(SHIFT, features.shape[axis] // 2)
        here = jax.lax.slice_in_dim(features, 0, features.shape[axis] - shift, axis=axis)
        there = jax.lax.slice_in_dim(features, shift, features.shape[axis], axis=axis)
        products = jnp.einsum("hwc,hwd->cd", here, there, precision="highest")
        grams.append(products / (here.shape[0] * here.shape[1]))
    return jnp.stack(grams)


def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
    """The mean squared difference, relative to the target's."""
    if convention != "relative":
        raise ValueError("shifted Gram matrices take the convention relative")
    return jnp.square(found - target).mean() / jnp.square(target).mean()


content, style = js.read_image("sample:cat", SIZE), js.read_image("sample:woodcut", SIZE)
params = js.load_params("bundled")
features = js.make_features()
pictures = [content, content * 0]
pictures[1][: style.shape[0], : style.shape[1]] = style[: content.shape[0], : content.shape[1]]
for style_loss in ("gram", StyleStatistic(measure, distance)):
    objective = js.make_objective(features, style_loss=style_loss, convention="relative")
    targets = objective.targets(params, content, style)
    transfer = js.make_transfer(objective.loss, js.lbfgs())
    run = jax.jit(lambda *args, transfer=transfer: js.run(transfer, *args, num_steps=STEPS))
    weights = js.LossWeights(1.0, jnp.float32(3.0), jnp.float32(1.0))
    state, losses = run(transfer.init(content), params, targets, weights)
    print(f"style loss {losses.style[0]:.4g} to {losses.style[-1]:.4g}")
    pictures.append(np.asarray(state.picture))
Image.fromarray(np.uint8(np.round(255 * np.concatenate(pictures, axis=1)))).save("statistics.png")
