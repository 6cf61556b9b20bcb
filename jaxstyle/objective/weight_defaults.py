"""The style losses, and weights to try where nobody names any, by convention. Plain Python: imports no jax."""

from typing import NamedTuple

from jaxstyle.network.layers import HYPERCOLUMN, PIXELS, STYLE_LAYERS


class WeightDefaults(NamedTuple):
    """Weights to try.

    Attributes:
      betas: style weights of a sweep.
      beta: the style weight of one picture.
      tv: weight of the total variation.
    """

    betas: tuple[float, ...]
    beta: float
    tv: float


# Those under "mean" were chosen by looking, from nearly the photograph to nearly pure style. Those of the other
# conventions have the same proportion to the content loss on the sample images at 160 px; under "gatys" that proportion
# grows with the image's area.
WEIGHT_DEFAULTS: dict[str, WeightDefaults] = {
    "mean": WeightDefaults((0.01, 0.1, 1.0, 10.0, 100.0), 1.0, 30.0),
    "gatys": WeightDefaults((3e3, 3e4, 3e5, 3e6, 3e7), 3e5, 2e6),
    "johnson": WeightDefaults((1e3, 1e4, 1e5, 1e6, 1e7), 1e5, 30.0),
    "relative": WeightDefaults((0.01, 0.1, 1.0, 10.0, 100.0), 1.0, 2.0),
}
"""Weights for Gram matrices, by convention."""

# Style weights of each style loss by convention; those of Gram matrices are in WEIGHT_DEFAULTS. They were chosen by
# looking, near the ones that give a gradient of the same size as Gram matrices do on sample images at 96 px.
_BETAS: dict[str, dict[str, float]] = {
    "gram": {},
    "centered_gram": {"mean": 3.0, "gatys": 3e5 * 3, "johnson": 1e5 * 3},
    "wasserstein": {"mean": 10.0, "relative": 3.0},
    "moments": {"mean": 10.0, "relative": 3.0},
    "sliced": {"mean": 20.0, "relative": 3.0},
    "nearest": {"mean": 300.0, "relative": 30.0},
    "matched": {"mean": 300.0, "relative": 30.0},
    "relaxed_emd": {"mean": 100.0, "relative": 10.0},
    "wasserstein+nearest": {"mean": 5.0, "relative": 1.5},
    "nearest+matched": {"mean": 100.0, "relative": 10.0},
}

COMBINED_STYLE_LOSSES: tuple[str, ...] = ("wasserstein+nearest", "nearest+matched")
"""Two ways at once: the first compares layers of the network and pixels, the second hypercolumns."""

STYLE_LOSSES: tuple[str, ...] = tuple(name for name in _BETAS if name not in COMBINED_STYLE_LOSSES)
"""Ways to compare the style of two images; see `style_statistics.style_statistic`."""

CONTENT_LOSSES: tuple[str, ...] = ("features", "self_similarity")
"""Ways to compare the content of two images; see `content_statistics.content_statistic`."""

# Weights for STYLE_LAYERS that are 2 to 4 % better by every metric than equal ones, at 160 px.
_LAYER_WEIGHTS = (0.4, 0.3, 0.15, 0.1, 0.05)
# The weight of a hypercolumn beside them, by convention. With 10 in the place of 3, faces are lost before the strokes
# are those of the painting; without it, strokes stay small and break off within objects.
_COLUMN_WEIGHTS = {"mean": 3.0, "relative": 1.0}
# The weight of pixels, which makes colours the style's: at equal LPIPS, earth mover's distances of colours are 0.58 of
# those without it, and those of patches 0.87 (3 pairs at 160 px).
_PIXEL_WEIGHT = 10.0
# Those of `nearest+matched`: as much for all layers together as for the hypercolumn.
_NEAREST_WEIGHTS = (0.2, 0.2, 0.2, 0.2, 0.2, 1.0)
_SPREAD = (0.1, 0.3, 1.0, 3.0, 10.0)  # betas of a sweep over that of one picture: these losses have a narrower range


def default_style_loss(convention: str) -> str:
    """Choose how to compare styles under a convention: the best way that takes it (see scripts/compare_pictures.py).

    Args:
      convention: one of `losses.CONVENTIONS`.

    Returns:
      One of `STYLE_LOSSES` or `COMBINED_STYLE_LOSSES`.
    """
    return "gram" if convention in ("gatys", "johnson") else "wasserstein+nearest"


def default_style_layers(style_loss: str) -> tuple[str, ...]:
    """Choose the layers of VGG19 where styles are compared.

    Args:
      style_loss: one of `STYLE_LOSSES` or `COMBINED_STYLE_LOSSES`.

    Returns:
      Gatys et al.'s layers; hypercolumns too if there is a way to compare these, and pixels by default.
    """
    if style_loss == "wasserstein+nearest":
        return (*STYLE_LAYERS, PIXELS, HYPERCOLUMN)
    return (*STYLE_LAYERS, HYPERCOLUMN) if style_loss in COMBINED_STYLE_LOSSES else STYLE_LAYERS


def weight_defaults(convention: str, style_loss: str) -> WeightDefaults:
    """Choose weights to try.

    Args:
      convention: one of `losses.CONVENTIONS`; for an unknown one, the weights are those of "mean".
      style_loss: one of `STYLE_LOSSES` or `COMBINED_STYLE_LOSSES`.

    Returns:
      WeightDefaults.
    """
    found = WEIGHT_DEFAULTS.get(convention, WEIGHT_DEFAULTS["mean"])
    beta = _BETAS.get(style_loss, {}).get(convention)
    if beta is None:
        return found
    return found._replace(betas=tuple(float(f"{beta * factor:g}") for factor in _SPREAD), beta=beta)


def default_layer_weights(convention: str, style_loss: str, style_layers: tuple[str, ...]) -> tuple[float, ...] | None:
    """Choose weights of the style layers.

    Args:
      convention: one of `losses.CONVENTIONS`.
      style_loss: one of `STYLE_LOSSES` or `COMBINED_STYLE_LOSSES`.
      style_layers: the layers.

    Returns:
      A weight for each layer; those of the network's layers have sum 1. None: equal ones.
    """
    if style_loss == "wasserstein" and style_layers == STYLE_LAYERS:
        return _LAYER_WEIGHTS
    if style_loss == "wasserstein+nearest" and style_layers == default_style_layers(style_loss):
        return (*_LAYER_WEIGHTS, _PIXEL_WEIGHT, _COLUMN_WEIGHTS.get(convention, _COLUMN_WEIGHTS["mean"]))
    if style_loss == "nearest+matched" and style_layers == default_style_layers(style_loss):
        return _NEAREST_WEIGHTS
    return None
