"""What a job was asked to do. Imports no jax, so that the command's help is quick."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxstyle.network.layers import CONTENT_LAYERS, STYLE_LAYERS
from jaxstyle.optimise.schedule import COARSE_STEPS, SMALLEST, STEPS


class WeightDefaults(NamedTuple):
    """Weights to try: style weights of a sweep, that of one picture, total variation's."""

    betas: tuple[float, ...]
    beta: float
    tv: float


# Chosen by looking, under "mean": from nearly the photograph to nearly pure style. Under the others, what is of the
# same proportion to the content loss on the sample images at 160 px; under "gatys" it grows with the image's area.
WEIGHT_DEFAULTS: dict[str, WeightDefaults] = {
    "mean": WeightDefaults((0.01, 0.1, 1.0, 10.0, 100.0), 1.0, 30.0),
    "gatys": WeightDefaults((3e3, 3e4, 3e5, 3e6, 3e7), 3e5, 2e6),
    "johnson": WeightDefaults((1e3, 1e4, 1e5, 1e6, 1e7), 1e5, 30.0),
    "relative": WeightDefaults((0.01, 0.1, 1.0, 10.0, 100.0), 1.0, 2.0),
}
"""Of Gram matrices, by convention."""

# Of the others, the style weight of one picture: for a gradient of about the same size on sample images at 96 px.
_BETAS: dict[str, dict[str, float]] = {
    "mean": {"centered_gram": 3.0, "wasserstein": 10.0, "moments": 10.0, "sliced": 20.0},
    "relative": {"wasserstein": 3.0, "moments": 3.0, "sliced": 3.0},
    "gatys": {"centered_gram": 3e5 * 3},
    "johnson": {"centered_gram": 1e5 * 3},
}
_LAYER_WEIGHTS = (
    0.4,
    0.3,
    0.15,
    0.1,
    0.05,
)  # of STYLE_LAYERS: 2 to 4 % better by every judge than equal ones, at 160 px
_SPREAD = (0.1, 0.3, 1.0, 3.0, 10.0)  # of a sweep, over that of one picture: distances have a narrower range
COLOURS: tuple[str, ...] = ("style", "content", "match")
"""Whose colours a picture has: the style image's; the content's, by a transfer of luminance alone; or the content's on
the whole, by matching the mean and covariance of the style image's to them before the transfer."""

DEFAULT_SIZE = 160


def default_style_loss(convention: str) -> str:
    """The way to compare styles under a convention: the best that takes it (see compare_pictures.py)."""
    return "gram" if convention in ("gatys", "johnson") else "wasserstein"


def weight_defaults(convention: str, style_loss: str) -> WeightDefaults:
    """Defaults of a convention and a way to compare styles; those of "mean" for a convention that is unknown."""
    found = WEIGHT_DEFAULTS.get(convention, WEIGHT_DEFAULTS["mean"])
    beta = _BETAS.get(convention, {}).get(style_loss)
    if beta is None:
        return found
    return found._replace(betas=tuple(float(f"{beta * factor:g}") for factor in _SPREAD), beta=beta)


def default_layer_weights(style_loss: str, style_layers: tuple[str, ...]) -> tuple[float, ...] | None:
    """Weights of the style layers; None: equal ones."""
    return _LAYER_WEIGHTS if style_loss == "wasserstein" and style_layers == STYLE_LAYERS else None


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
