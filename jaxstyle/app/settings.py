"""What a job was asked to do. Imports no jax, so that the command's help is quick."""

from dataclasses import dataclass

from jaxstyle.layers import CONTENT_LAYERS, STYLE_LAYERS

DEFAULT_BETAS = (0.01, 0.1, 1.0, 10.0)
DEFAULT_SIZE = 160
DEFAULT_STEPS = 100


@dataclass(frozen=True)
class Settings:
    """Options of `jaxstyle sweep` and `jaxstyle transfer`, named as there; the lists span the lanes.

    None means the optimiser's own learning_rate, and `size` for style_size.
    """

    content: str
    style: str
    alpha: tuple[float, ...] = (1.0,)
    beta: tuple[float, ...] = DEFAULT_BETAS
    tv: tuple[float, ...] = (0.0,)
    size: int = DEFAULT_SIZE
    style_size: int | None = None
    steps: int = DEFAULT_STEPS
    optimizer: str = "adam"
    learning_rate: float | None = None
    convention: str = "mean"
    content_layers: tuple[str, ...] = CONTENT_LAYERS
    style_layers: tuple[str, ...] = STYLE_LAYERS
    pooling: str = "max"
    init: str = "content"
    seed: int = 0
    weights: str = "bundled"
