"""A sweep over five style weights, in one vmapped and jitted loop: 15 lines of code after the imports.

python scripts/examples/sweep_in_15_lines.py writes sweep.png: the content, then beta from 0.01 to 100.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image

size, steps = (52, 3) if "--quick" in sys.argv else (160, 80)
content, style = read_image("sample:cat", size), read_image("sample:swirls", size)  # (h, w, 3), RGB in [0, 1]
params = js.load_params("bundled")  # the frozen network's, a pytree
features = js.make_features()
targets = js.make_targets(features, params, content, style)  # once, shared by all lanes
loss = js.make_loss(features)
transfer = js.make_transfer(loss, optax.adam(0.03, b2=0.99))
betas = jnp.logspace(-2, 2, 5)
grid = js.weight_grid(beta=betas, tv=30.0)  # LossWeights with a lane axis; new values need no new compilation
sweep = jax.jit(lambda *args: js.sweep(transfer, *args, num_steps=steps))
result = sweep(content, params, targets, grid)  # images (5, h, w, 3), losses (5, steps)
for beta, first, last in zip(betas, result.losses.style[:, 0], result.losses.style[:, -1], strict=True):
    print(f"beta {float(beta):6.2f}: style loss {first:.3g} to {last:.3g}")
sheet = jnp.concatenate([content, *result.images], axis=1)
Image.fromarray(np.uint8(np.round(255 * sheet))).save("sweep.png")
