"""What feed_forward_linen.py and feed_forward_nnx.py share: pictures to train on, and jaxstyle's objective as a loss.

A network that stylises in one pass (Johnson, Alahi and Fei-Fei, arXiv 1603.08155) is trained for one style: its output
for a photograph is compared with the photograph's features and the style's Gram matrices, as in a transfer.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from PIL import Image

import jaxstyle as js
from jaxstyle.app.pictures.image_sources import load_source
from jaxstyle.app.system.errors import StartError
from jaxstyle.network.features import Params
from jaxstyle.objective.targets import content_targets

QUICK = "--quick" in sys.argv
CROP, BATCH, STEPS, SIZE = (32, 2, 2, 48) if QUICK else (64, 4, 400, 160)

LAYERS = {"content_layers": ("relu2_2",), "style_layers": ("relu1_2", "relu2_2", "relu3_1")}
FEATURES = js.make_features(("relu1_2", "relu2_2", "relu3_1"))
OBJECTIVE = js.make_objective(FEATURES, convention="relative", **LAYERS)
WEIGHTS = js.LossWeights(alpha=1.0, beta=3.0, tv=3.0)
OPTIMIZER = optax.adam(1e-3)


class Frozen(NamedTuple):
    """What training never changes: arguments of the jitted step, so that they are no constants of its program."""

    params: Params
    targets: js.Targets


def freeze(style: np.ndarray) -> Frozen:
    """Load the network that judges, and measure the style once. The content of these targets is never read."""
    params = js.prepare(js.load_params("bundled"))
    return Frozen(params, OBJECTIVE.targets(params, style, style))


def mean_loss(frozen: Frozen, pictures: jax.Array, contents: jax.Array) -> jax.Array:
    """The objective of pictures (n, h, w, 3) of the contents (n, h, w, 3), on average; targets are made on the fly."""

    def of_one(picture: jax.Array, content: jax.Array) -> jax.Array:
        found = content_targets(FEATURES, frozen.params, content, LAYERS["content_layers"])
        return OBJECTIVE.loss(picture, frozen.params, frozen.targets._replace(content=found), WEIGHTS)[0]

    return jax.vmap(of_one)(pictures, contents).mean()


def random_crops(pictures: list[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    """Batches (n, h, w, 3) without end, of random places of random pictures, about half of them mirrored."""
    random = np.random.default_rng(seed)
    while True:
        crops = []
        for i in random.integers(len(pictures), size=BATCH):
            top, left = (random.integers(n - CROP + 1) for n in pictures[i].shape[:2])
            crop = pictures[i][top : top + CROP, left : left + CROP]
            crops.append(crop[:, ::-1] if random.integers(2) else crop)
        yield np.stack(crops)


def train(step: Callable[[Frozen, np.ndarray], Any], stylise: Callable[[np.ndarray], Any], file: str) -> None:
    """Take steps, each of which returns its loss; then write the sample cat and its stylised picture beside it.

    The command line names pictures to train on, as CONTENT of the command (a folder, or tfds:NAME/SPLIT), and a style.
    """
    names = [text for text in sys.argv[1:] if not text.startswith("--")]
    sources = names[:1] or ["sample:cat", "sample:coffee"]
    try:
        pictures = [p.image for text in sources for p in load_source(text, SIZE, smallest=CROP).pictures]
        frozen = freeze(js.read_image(names[1] if len(names) > 1 else "sample:mosaic", SIZE))
    except StartError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    batches = random_crops(pictures, seed=0)
    for number in range(STEPS):
        loss = step(frozen, next(batches))
        if number % 50 == 0 or number == STEPS - 1:
            print(f"step {number}: loss {loss:.4f}", flush=True)
    cat = js.read_image("sample:cat", SIZE)
    both = np.concatenate([cat, np.asarray(stylise(cat[None]))[0]], axis=1)
    Image.fromarray(np.uint8(np.round(255 * both))).save(file)
