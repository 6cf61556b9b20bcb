"""The statistics of style by name, and a check of statistics that users write.

Features are channels-last, shape (h, w, c), and belong to one image. Statistics are float64 for float64 features, and
float32 for features of any other dtype.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.network.layers import HYPERCOLUMN
from jaxstyle.objective.losses import gram_loss, gram_matrix
from jaxstyle.objective.statistics.matched import matched
from jaxstyle.objective.statistics.moments import CENTERED_GRAM, MOMENTS
from jaxstyle.objective.statistics.nearest import nearest, relaxed_emd
from jaxstyle.objective.statistics.sliced import sliced
from jaxstyle.objective.statistics.statistic import StyleStatistic
from jaxstyle.objective.statistics.wasserstein import WASSERSTEIN
from jaxstyle.objective.weight_defaults import COMBINED_STYLE_LOSSES, STYLE_LOSSES

StyleLoss = str | StyleStatistic | Mapping[str, str | StyleStatistic]
"""How styles are compared: by a statistic or its name, or by one for each layer; see `statistics_by_layer`."""


def style_statistic(style_loss: str | StyleStatistic) -> StyleStatistic:
    """Find a statistic by its name.

    With features F and S (c channels), means m and s, covariances C and D, standard deviations u and v, directions d,
    the distance of a layer in the convention `mean` is

    | name          | distance                                          | from                                    |
    |---------------|---------------------------------------------------|-----------------------------------------|
    | gram          | `mean((F'F / N - S'S / M)^2)`                     | Gatys et al., arXiv 1508.06576          |
    | centered_gram | `mean((C - D)^2)`                                 | Novak and Nikulin, arXiv 1605.04603;    |
    |               |                                                   | Sun and Saenko, arXiv 1607.01719        |
    | wasserstein   | `(sum((m - s)^2) + tr(C + D - 2 (D^½ C D^½)^½)) / c` | crowsonkb/style-transfer-pytorch     |
    | moments       | `mean((m - s)^2) + mean((u - v)^2)`               | Huang and Belongie, arXiv 1703.06868    |
    | sliced        | mean over d of the squared Wasserstein-2 distance | Heitz et al., arXiv 2006.07229          |
    |               | of `F d` and `S d`                                |                                         |
    | nearest       | mean over positions of the cosine distance of     | Kolkin et al., arXiv 2203.13215         |
    |               | `F - m` to the nearest of `S - s`                 |                                         |
    | matched       | mean over positions of the cosine distance of F   | Kolkin et al., arXiv 2203.13215         |
    |               | to the S that was nearest to another image        |                                         |
    | relaxed_emd   | the larger of two means of cosine distances, of F | Kolkin et al., arXiv 1904.12785         |
    |               | to its nearest in S and of S to its nearest in F, |                                         |
    |               | plus `mean(abs(m - s)) + mean(abs(C - D))`        |                                         |

    The convention `relative` divides by the distance to an image whose features are all 0 (mean(D^2) for
    centered_gram), which makes numbers comparable between statistics. The conventions `gatys` and `johnson` scale Gram
    matrices, and are for the first two statistics only. Under `mean`, beta 1 of gram led to about the content loss of
    beta 10 of wasserstein, 15 of moments and of centered_gram, and 20 of sliced (a photograph and a mosaic of 112
    pixels). For nearest and matched, `relative` is the same as `mean`.

    Args:
      style_loss: one of `weight_defaults.STYLE_LOSSES`, or a `StyleStatistic`.

    Returns:
      The statistic with this name; a `StyleStatistic` is returned as it is.

    Raises:
      ValueError: for an unknown name; the message lists the valid ones.
    """
    if isinstance(style_loss, StyleStatistic):
        return style_loss
    if style_loss not in _BY_NAME:
        valid = ", ".join(STYLE_LOSSES + COMBINED_STYLE_LOSSES)
        raise ValueError(f"unknown style_loss {style_loss!r}; valid: {valid}, or a StyleStatistic")
    return _BY_NAME[style_loss]


def statistics_by_layer(style_loss: StyleLoss, layers: Iterable[str]) -> dict[str, StyleStatistic]:
    """Find the statistic of each layer.

    Args:
      style_loss: a statistic or its name, for all layers; or a name out of `weight_defaults.COMBINED_STYLE_LOSSES`,
        such as "wasserstein+nearest", whose first part is for layers of the network and whose second part is for
        hypercolumns; or {layer: a statistic or its name}.
      layers: names of the style layers.

    Returns:
      {layer: StyleStatistic}, in the order of `layers`.

    Raises:
      ValueError: for an unknown name, and for a mapping of other layers.
    """
    layers = tuple(layers)
    if isinstance(style_loss, Mapping):
        if set(style_loss) != set(layers):
            raise ValueError(f"style_loss names {', '.join(style_loss)}, but the style layers are {', '.join(layers)}")
        return {layer: style_statistic(style_loss[layer]) for layer in layers}
    if isinstance(style_loss, str) and style_loss in COMBINED_STYLE_LOSSES:
        plain, column = (style_statistic(name) for name in style_loss.split("+"))
        return {layer: column if layer == HYPERCOLUMN else plain for layer in layers}
    return dict.fromkeys(layers, style_statistic(style_loss))


def check_statistic(statistic: StyleStatistic, layer: str, features: Float[Array, "h w c"]) -> None:
    """Check that a statistic's targets have the same shapes for images of any size.

    Args:
      statistic: the statistic. Statistics that have a name pass without a check.
      layer: name of a layer, for the message.
      features: (h, w, c) features of an image at that layer.

    Raises:
      ValueError: if `to_target` gives arrays of other shapes for an image of twice the size.
    """
    if statistic in _BY_NAME.values():
        return

    def shapes(h: int, w: int, c: int) -> Any:
        f = jax.ShapeDtypeStruct((h, w, c), features.dtype)
        return jax.tree.map(jnp.shape, jax.eval_shape(lambda f: statistic.to_target(statistic.measure(f, None)), f))

    h, w, c = features.shape
    small, large = shapes(h, w, c), shapes(2 * h, 2 * w, c)
    if small != large:
        raise ValueError(
            f"style_loss has a statistic whose shape depends on the image's size: {small} and {large} for features of "
            f"{layer} of {h}x{w} and {2 * h}x{2 * w} positions; StyleStatistic.to_target must give one shape for all"
        )


_BY_NAME: dict[str, StyleStatistic] = {
    "gram": StyleStatistic(gram_matrix, gram_loss),
    "centered_gram": CENTERED_GRAM,
    "wasserstein": WASSERSTEIN,
    "moments": MOMENTS,
    "sliced": sliced(),
    "nearest": nearest(),
    "matched": matched(),
    "relaxed_emd": relaxed_emd(),
}
