"""The gradient of a result with respect to beta: find the beta whose picture has a given SSIM to the content.

python scripts/examples/hypergradient.py writes hypergradient.png: the content, the first beta's picture, the last's.

Newton's method on SSIM(image(beta)) - wanted, in log beta; the derivative goes back through every step of the
optimisation, in memory of the square root of their number (`run_checkpointed`). A grid of the same cost follows.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.hypergradient.run_checkpointed import run_checkpointed

SIZE, STEPS, TRIES = (52, 4, 2) if "--quick" in sys.argv else (64, 30, 4)
WANTED = 0.7

content, style = (jnp.asarray(js.read_image(f"sample:{name}", SIZE)) for name in ("cat", "mosaic"))
params = js.load_params("bundled")
# Few layers and plain convolutions: what is differentiated twice takes long to compile.
layers = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu2_1")}
features = js.make_features(("relu1_1", "relu2_1", "relu2_2"), backend="xla")
objective = js.make_objective(features, **layers)
targets = objective.targets(params, content, style)
# eps_root: the square root in Adam has no derivative at 0.
transfer = js.make_transfer(objective.loss, optax.adam(0.03, b2=0.99, eps_root=1e-12))


def excess(log_beta: jax.Array) -> tuple[jax.Array, jax.Array]:
    """SSIM of the finished picture above what is wanted, and the picture."""
    weights = js.LossWeights(1.0, jnp.exp(log_beta))
    state, _ = run_checkpointed(transfer, transfer.init(content), params, targets, weights, num_steps=STEPS)
    return js.metrics.ssim(state.image, content) - WANTED, state.image


newton = jax.jit(jax.value_and_grad(excess, has_aux=True))
log_beta, pictures, errors = jnp.log(0.1), [content], []
for _ in range(TRIES):
    (error, image), slope = newton(log_beta)
    print(f"beta {jnp.exp(log_beta):8.4f}: SSIM {WANTED + error:.4f}, d SSIM / d log beta {slope:.3f}")
    pictures.append(image)
    errors.append(abs(float(error)))
    log_beta -= jnp.clip(error / jnp.where(slope == 0, 1e-3, slope), -2, 2)

# A gradient costs about four runs, so that a grid may have four times as many betas.
grid = jnp.linspace(jnp.log(0.001), jnp.log(10.0), 4 * TRIES)
run = jax.jit(excess)
best = min(abs(float(run(value)[0])) for value in grid)
print(f"off by {errors[-1]:.4f} after {TRIES} gradients; best of {len(grid)} betas on a grid: {best:.4f}")
Image.fromarray(np.uint8(np.round(255 * np.concatenate([*pictures[:2], pictures[-1]], 1)))).save("hypergradient.png")
