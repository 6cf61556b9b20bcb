"""Two networks in one objective: VGG judges the content, AlexNet the style.

python scripts/examples/alexnet_beside_vgg.py writes alexnet_beside_vgg.png: the content, the style by VGG alone, and by
AlexNet.

The parameters of both are one pytree, and their layers one mapping.
"""

import sys
from typing import Any

import jax
import numpy as np
from PIL import Image

import jaxstyle as js
from jaxstyle.network.alexnet import LAYERS, alexnet_features

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (160, 60)

vgg = js.make_features(padding="replicate")


def features(params: Any, image: jax.Array) -> dict[str, jax.Array]:
    """The layers of both networks; their names differ."""
    return {**vgg(params["vgg"], image), **alexnet_features(params["alexnet"], image)}


content, style = js.read_image("sample:portrait", SIZE), js.read_image("sample:woodcut", SIZE)
params = {"vgg": js.prepare(js.load_params("bundled")), "alexnet": js.load_lpips("alex")}
pictures = [content]
for style_layers in (("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), LAYERS):
    objective = js.make_objective(features, style_layers=style_layers, style_loss="wasserstein", convention="relative")
    targets = objective.targets(params, content, style)
    transfer = js.make_transfer(objective.loss, js.lbfgs())
    run = jax.jit(lambda *args, transfer=transfer: js.run(transfer, *args, num_steps=STEPS))
    state, losses = run(transfer.init(content), params, targets, js.LossWeights(beta=3.0, tv=2.0))
    print(f"style loss {losses.style[0]:.4g} to {losses.style[-1]:.4g}")
    pictures.append(np.asarray(state.picture))
Image.fromarray(np.uint8(np.round(255 * np.concatenate(pictures, axis=1)))).save("alexnet_beside_vgg.png")
