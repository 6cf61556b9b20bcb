"""A transfer exported for TPU, GPU and CPU, saved to a file, and run from the file alone.

python scripts/examples/export_for_tpu.py writes transfer.jax, the program, and exported.png.

The file holds StableHLO for all three platforms, and the types of arguments and results, but neither parameters nor
Python code of the transfer: what is loaded takes new images, weights and parameters of these shapes.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import export
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image
from jaxstyle.network.features import Params

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (128, 60)
PLATFORMS = ("tpu", "cuda", "cpu")

content, style = (jnp.asarray(read_image(f"sample:{name}", SIZE)) for name in ("cat", "swirls"))
params = js.load_params("bundled")
features = js.make_features()
transfer = js.make_transfer(js.make_loss(features), optax.adam(0.03, b2=0.99))


def stylise(
    params: Params, content: jax.Array, style: jax.Array, weights: js.LossWeights
) -> tuple[jax.Array, js.Losses]:
    """The finished image, and the losses of each step."""
    targets = js.make_targets(features, params, content, style)
    state, losses = js.run(transfer, transfer.init(content), params, targets, weights, num_steps=STEPS)
    return state.image, losses


weights = js.LossWeights(jnp.float32(1), jnp.float32(0.3), jnp.float32(30))
exported = export.export(jax.jit(stylise), platforms=PLATFORMS)(params, content, style, weights)
file = Path("transfer.jax")
file.write_bytes(exported.serialize())

# From here on, as another process on another machine would. jaxstyle is imported for its types alone.
program = export.deserialize(bytearray(file.read_bytes()))
print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, for {', '.join(program.platforms)}")
image, losses = program.call(params, content, style, weights)
total = losses.total  # type: ignore[attr-defined]  # an exported program has no annotations
print(f"on {jax.default_backend()}: total {total[0]:.4g} to {total[-1]:.4g}")
Image.fromarray(np.uint8(np.round(255 * jnp.concatenate([content, image], axis=1)))).save("exported.png")
