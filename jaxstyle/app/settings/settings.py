"""What a job was asked to do. Imports no jax, so that the command's help is quick."""

from dataclasses import dataclass

from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS
from jaxstyle.optimise.schedule import COARSE_STEPS, SMALLEST, STEPS

COLOURS: tuple[str, ...] = ("style", "content", "match")
"""Whose colours a picture has: the style image's; the content's, by a transfer of luminance alone; or the content's on
the whole, by matching the mean and covariance of the style image's to them before the transfer."""

DEFAULT_SIZE = 160


@dataclass(frozen=True)
class Settings:
    """Options of `jaxstyle sweep` and `jaxstyle transfer`, named as there; the tuples of alpha to seed span the lanes.

    None means: of content, a texture without one; of beta and tv, the convention's defaults; of learning_rate, the
    optimiser's; of microbatch, what suits the device; of style_layer_weights, those of the style loss; of style_mix,
    equal ones; of grid, no file; of max_pixels, what is safe; of weights, the best set that is here; of min_size, no
    smaller sizes before `size`; of tolerance, that all steps are taken; of average, the last image.
    """

    content: str | None
    style: str
    pair: str = "all"
    alpha: tuple[float, ...] = (1.0,)
    beta: tuple[float, ...] | None = None
    tv: tuple[float, ...] | None = None
    learning_rate: tuple[float, ...] | None = None
    seed: tuple[int, ...] = (0,)
    style_layer_weights: tuple[tuple[float, ...], ...] | None = None
    style_mix: tuple[tuple[float, ...], ...] | None = None
    grid: str | None = None
    size: int = DEFAULT_SIZE
    style_scale: float = 1.0
    blend: tuple[str, ...] = ()
    colour: str = "style"
    content_mask: tuple[str, ...] = ()
    style_mask: tuple[str, ...] = ()
    steps: int = STEPS
    optimizer: str = "lbfgs"
    average: float | None = None
    convention: str = "mean"
    content_layers: tuple[str, ...] = CONTENT_LAYERS
    style_layers: tuple[str, ...] = STYLE_LAYERS
    style_loss: str = "wasserstein"
    preset: str | None = None
    pooling: str = "max"
    padding: str = "replicate"
    dtype: str = "float32"
    init: str = "content"
    weights: str | None = None
    microbatch: int | None = None
    background: str = "white"
    max_pixels: int | None = None
    min_size: int | None = SMALLEST
    coarse_steps: int = COARSE_STEPS
    tolerance: float | None = None
