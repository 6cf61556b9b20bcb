"""A sweep over images of TensorFlow Datasets: every image at every style weight, in one jitted loop, no TensorFlow.

python scripts/examples/tfds_input.py [tfds:NAME/SPLIT] writes tfds.png: a row an image, then beta from 0.03 to 30.

The split must be on disk (TFDS_DATA_DIR, or ~/tensorflow_datasets); if it isn't, one line says how to get it. Slices
are in TFDS's syntax: tfds:oxford_flowers102/train[:4], the default, is four images.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.pictures.shared_shapes import crop_center
from jaxstyle.app.system.errors import StartError
from jaxstyle.network.features import Params

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (96, 60)
SMALLEST = 16  # pixels a side that the network's layers need, for textures of it to mean something

name = next((text for text in sys.argv[1:] if text.startswith("tfds:")), "tfds:oxford_flowers102/train[:4]")
try:
    pictures = load_source(name, SIZE, smallest=SMALLEST).pictures
except StartError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
images = [picture.image for picture in pictures]
shape = (min(len(image) for image in images), min(image.shape[1] for image in images))
contents = jnp.stack([crop_center(image, shape) for image in images])  # one shape, which vmap needs

style = js.read_image("sample:woodcut", SIZE)
params = js.prepare(js.load_params("bundled"))
layers = {"content_layers": ("relu3_1",), "style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1")}
features = js.make_features(("relu1_1", "relu2_1", "relu3_1", "relu4_1"))
objective = js.make_objective(features, **layers)
transfer = js.make_transfer(objective.loss, optax.adam(0.03, b2=0.99))
grid = js.weight_grid(beta=jnp.logspace(-1.5, 1.5, 4), tv=30.0)


@jax.jit
def sweep(params: Params, contents: jax.Array, style: jax.Array, grid: js.LossWeights) -> js.SweepResult:
    """Images (contents, lanes, h, w, 3), and losses (contents, lanes, steps)."""

    def of_one(content: jax.Array) -> js.SweepResult:
        targets = objective.targets(params, content, style)
        return js.sweep(transfer, content, params, targets, grid, num_steps=STEPS)

    return jax.lax.map(of_one, contents)  # one after another: memory for one image's lanes; jax.vmap for all at once


result = sweep(params, contents, jnp.asarray(style), grid)
for picture, row in zip(pictures, np.asarray(result.losses.style[..., -1]), strict=True):
    print(f"{picture.name}: style loss {', '.join(f'{loss:.3g}' for loss in row)}")
rows = [np.concatenate([content, *lanes], axis=1) for content, lanes in zip(contents, result.images, strict=True)]
Image.fromarray(np.uint8(np.round(255 * np.concatenate(rows)))).save("tfds.png")
