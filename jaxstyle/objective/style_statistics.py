"""Ways to compare the style of two images: statistics of a layer's features, and distances between them.

Features are channels-last, shape (h, w, c), of one image: vmap for more. Statistics are at least float32, whatever
the features' dtype, and float64 for float64 features.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.network.layers import STYLE_LOSSES
from jaxstyle.objective.losses import gram_matrix, style_loss
from jaxstyle.objective.moments import _distance_of_moments, _measure_centered_gram, _measure_moments
from jaxstyle.objective.sliced import sliced
from jaxstyle.objective.statistic import StyleStatistic
from jaxstyle.objective.wasserstein import (
    _distance_of_gaussians,
    _measure_gaussian,
    _prepare_gaussian,
)


def style_statistic(style_loss: str | StyleStatistic) -> StyleStatistic:
    """Find a statistic by its name.

    Args:
      style_loss: one of `layers.STYLE_LOSSES`, or a `StyleStatistic`.

    Returns:
      The statistic of this name; one that is given as such.

    Raises:
      ValueError: for an unknown name; the message lists the valid ones.
    """
    if isinstance(style_loss, StyleStatistic):
        return style_loss
    if style_loss not in _BY_NAME:
        raise ValueError(f"unknown style_loss {style_loss!r}; valid: {', '.join(STYLE_LOSSES)}, or a StyleStatistic")
    return _BY_NAME[style_loss]


def check_statistic(statistic: StyleStatistic, layer: str, features: Float[Array, "h w c"]) -> None:
    """Check that a statistic is of the same shape for images of any size.

    Args:
      statistic: of whoever wrote it.
      layer: whose features these are, for the message.
      features: of an image.

    Raises:
      ValueError: for one whose `prepare` gives arrays of another shape for an image of twice the size.
    """
    if statistic in _BY_NAME.values():
        return

    def shapes(h: int, w: int, c: int) -> Any:
        f = jax.ShapeDtypeStruct((h, w, c), features.dtype)
        return jax.tree.map(jnp.shape, jax.eval_shape(lambda f: statistic.prepare(statistic.measure(f, None)), f))

    h, w, c = features.shape
    small, large = shapes(h, w, c), shapes(2 * h, 2 * w, c)
    if small != large:
        raise ValueError(
            f"style_loss has a statistic whose shape depends on the image's size: {small} and {large} for features of "
            f"{layer} of {h}x{w} and {2 * h}x{2 * w} positions; StyleStatistic.prepare must give one shape for all"
        )


_BY_NAME: dict[str, StyleStatistic] = {
    "gram": StyleStatistic(gram_matrix, style_loss),
    "centered_gram": StyleStatistic(_measure_centered_gram, style_loss),
    "wasserstein": StyleStatistic(_measure_gaussian, _distance_of_gaussians, _prepare_gaussian),
    "moments": StyleStatistic(_measure_moments, _distance_of_moments),
    "sliced": sliced(),
}
