"""An optimiser of one's own: Adam with a cosine schedule, whose first updates are smooth and later ones sharp.

python scripts/examples/custom_optimizer.py writes optimizers.png: the content, plain Adam, and this one.

Any optax transformation drives a transfer. Here one is written by hand, a Gaussian blur of the update whose width
shrinks to nothing, which lets large structures settle first; optax chains it with the rest.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.read_image import read_image

SIZE, STEPS = (52, 3) if "--quick" in sys.argv else (160, 80)


class BlurState(NamedTuple):
    """Steps taken so far, from which the width follows."""

    steps: jax.Array


def blur_updates(widest: float, steps: int) -> optax.GradientTransformation:
    """Blur updates (h, w, 3) by a Gaussian of standard deviation `widest` pixels, which falls to 0 over `steps`."""

    def init(image: Any) -> BlurState:
        return BlurState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: BlurState, image: Any = None) -> tuple[Any, BlurState]:
        deviation = widest * jnp.maximum(1 - state.steps / steps, 0)
        # In the frequency domain a Gaussian is a Gaussian, for a width that is an array, too.
        y, x = jnp.fft.fftfreq(updates.shape[0])[:, None], jnp.fft.rfftfreq(updates.shape[1])[None]
        gain = jnp.exp(-2 * jnp.square(jnp.pi * deviation) * (y * y + x * x))
        waves = jnp.fft.rfft2(updates, axes=(0, 1)) * gain[..., None]
        return jnp.fft.irfft2(waves, s=updates.shape[:2], axes=(0, 1)), BlurState(state.steps + 1)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


content, style = read_image("sample:coffee", SIZE), read_image("sample:mosaic", SIZE)
params = js.load_params("bundled")
features = js.make_features()
targets = js.make_targets(features, params, content, style)
loss = js.make_loss(features)
weights = js.LossWeights(1.0, jnp.float32(1.0), jnp.float32(30.0))

optimizers = {
    "adam": optax.adam(0.03, b2=0.99),
    "blurred": optax.chain(
        optax.scale_by_adam(b2=0.99),
        blur_updates(2.0, STEPS // 2),
        optax.scale_by_learning_rate(optax.cosine_decay_schedule(0.05, STEPS)),
    ),
}
pictures = [content]
for name, optimizer in optimizers.items():
    transfer = js.make_transfer(loss, optimizer)
    run = jax.jit(lambda *args, transfer=transfer: js.run(transfer, *args, num_steps=STEPS))
    state, losses = run(transfer.init(content), params, targets, weights)
    print(f"{name}: total {losses.total[0]:.4g} to {losses.total[-1]:.4g}")
    pictures.append(np.asarray(state.picture))
Image.fromarray(np.uint8(np.round(255 * np.concatenate(pictures, axis=1)))).save("optimizers.png")
