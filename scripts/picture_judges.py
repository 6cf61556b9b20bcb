"""Judges of stylised pictures that no transfer optimises, for compare_pictures.py: less is better in all of them.

Images are float RGB in [0, 1], shape (h, w, 3). Three judge the style, each by another principle, so that a setting
cannot win by being measured as it was optimised: Gram matrices of AlexNet (`js.metrics.gram_distance`), sliced
Wasserstein distances of its features (`js.metrics.sliced_distance`), and nearest neighbours of patches of pixels.
`emd_of_colours` judges the palette. `checkerboard` and `frame` look for artefacts, and are compared with what content
and style have of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.optimize import linear_sum_assignment

import jaxstyle as js
from jaxstyle.evaluate.similarity import cielab
from jaxstyle.evaluate.style_distances import halved_pairs

PATCH, STRIDE = 7, 2
COLOURS = 600  # pixels of each image that are assigned to each other
FRAME, INSIDE = 6, 18  # pixels from the border
"""The frame is the outer 6 pixels; it is compared with the next 12."""


class Judgement(NamedTuple):
    """What the judges say of one picture.

    lpips, edges: distances from the content (edges: 1 - edge similarity). gram, sliced, patches: from the style.
    colours: earth mover's distance of colours from the style's, in CIELAB's units. checkerboard, frame: artefacts.
    """

    lpips: float
    edges: float
    gram: float
    sliced: float
    patches: float
    colours: float
    checkerboard: float
    frame: float


CONTENT_JUDGES, STYLE_JUDGES = ("lpips", "edges"), ("gram", "sliced", "patches")


def judge(params: Any, image: np.ndarray, content: np.ndarray, style: np.ndarray) -> Judgement:
    """Ask all judges about a picture. `params`: js.load_lpips("alex")."""
    made, wanted = (jnp.asarray(x, jnp.float32) for x in (image, style))
    metrics = js.metrics.measure(params, made, jnp.asarray(content, jnp.float32), wanted)
    return Judgement(
        float(metrics.lpips),
        1 - float(metrics.edge_similarity),
        float(metrics.style_distance),
        float(js.metrics.sliced_distance(params, made, wanted)),
        float(patch_distance(made, wanted)),
        emd_of_colours(image, style),
        float(checkerboard(made)),
        float(frame(made)),
    )


@jax.jit
def patch_distance(image: jax.Array, style: jax.Array) -> jax.Array:
    """Distance of patches of 7x7 pixels from their nearest neighbours in the other image, both ways, at three scales.

    From the picture to the style it asks whether every stroke is the style's; from the style to the picture, whether
    every part of the style appears. The root mean square difference of a pixel, over the style's standard deviation.
    """
    terms = []
    for a, b in halved_pairs(image, style, 3, 4 * PATCH):
        squared = _squared_distances(_patches(a), _patches(b))
        ways = jnp.stack([jnp.sqrt(squared.min(1)).mean(), jnp.sqrt(squared.min(0)).mean()])
        terms.append(ways.mean() / jnp.sqrt(b.var((0, 1)).mean() + 1e-12))
    return jnp.stack(terms).mean()


def _patches(image: jax.Array) -> jax.Array:
    """Patches (number, 7 * 7 * 3), every second one in each direction."""
    h, w, _ = image.shape
    rows, columns = (range(0, side - PATCH + 1, STRIDE) for side in (h, w))
    taps = [
        lax.slice(image, (i, j, 0), (i + rows[-1] + 1, j + columns[-1] + 1, 3), (STRIDE, STRIDE, 1))
        for i in range(PATCH)
        for j in range(PATCH)
    ]
    return jnp.stack(taps, -2).reshape(-1, PATCH * PATCH * 3)


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean squared difference of each in a (n, d) from each in b (m, d)."""
    products = jnp.matmul(a, b.T, precision="highest")
    return jnp.maximum(jnp.square(a).sum(1)[:, None] + jnp.square(b).sum(1) - 2 * products, 0) / a.shape[1]


def emd_of_colours(image: np.ndarray, style: np.ndarray) -> float:
    """Earth mover's distance of the colours in CIELAB, exact between 600 pixels of each, drawn at random once."""
    a, b = (np.asarray(cielab(jnp.asarray(_sample(x)))) for x in (image, style))
    costs = np.sqrt(np.square(a[:, None] - b[None]).sum(-1))
    return float(costs[linear_sum_assignment(costs)].mean())


def _sample(image: np.ndarray) -> np.ndarray:
    pixels = image.reshape(-1, 3)
    return pixels[np.random.default_rng(0).permutation(len(pixels))[:COLOURS]]


@jax.jit
def checkerboard(image: jax.Array) -> jax.Array:
    """Root mean square of what alternates from pixel to pixel, in the flattest quarter of the blocks of 8x8 pixels.

    The mean over colours and over the three patterns of period 2: rows, columns, and a checkerboard. Which blocks are
    flat is decided at half the size, where such a pattern is gone.
    """
    h, w = (side // 8 * 8 for side in image.shape[:2])
    image = image[:h, :w]
    quads = image.reshape(h // 2, 2, w // 2, 2, 3)
    signs = jnp.array([[[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]) / 4
    power = jnp.square(jnp.einsum("hawbc,pab->phwc", quads, signs)).mean((0, 3))
    half = quads.mean((1, 3))
    variance = half.reshape(h // 8, 4, w // 8, 4, 3).var((1, 3)).mean(-1).ravel()
    of_block = power.reshape(h // 8, 4, w // 8, 4).mean((1, 3)).ravel()
    flat = jnp.argsort(variance)[: max(1, len(variance) // 4)]
    return jnp.sqrt(of_block[flat].mean())


@jax.jit
def frame(image: jax.Array) -> jax.Array:
    """How much the outer 6 pixels differ from the next 12: in mean colour and contrast, over the image's deviation.

    Of each of the four sides by itself, of which the mean is taken: a photograph whose sky is brighter than its ground
    has no frame.
    """
    deviation = jnp.sqrt(image.var((0, 1)).mean() + 1e-12)
    terms = []
    for turned in (image, image[::-1], image.transpose(1, 0, 2), image.transpose(1, 0, 2)[::-1]):
        outer, inner = turned[:FRAME, INSIDE:-INSIDE], turned[FRAME:INSIDE, INSIDE:-INSIDE]
        mean = jnp.abs(outer.mean((0, 1)) - inner.mean((0, 1))).mean()
        terms.append((mean + jnp.abs(_contrast(outer) - _contrast(inner))) / deviation)
    return jnp.stack(terms).mean()


def _contrast(x: jax.Array) -> jax.Array:
    """Root mean square of the differences of neighbouring pixels."""
    across, down = x[:, 1:] - x[:, :-1], x[1:] - x[:-1]
    return jnp.sqrt((jnp.square(across).mean() + jnp.square(down).mean()) / 2)
