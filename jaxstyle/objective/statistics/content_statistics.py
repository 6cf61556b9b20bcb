"""Content statistics: how the content of two images of one size is compared at a layer.

`features` is the content loss of Gatys et al. (arXiv 1508.06576). `self_similarity` is that of STROTSS (Kolkin et al.,
arXiv 1904.12785).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.objective.losses import feature_loss
from jaxstyle.objective.statistics.positions import sample_positions
from jaxstyle.objective.statistics.statistic import EPSILON, FLAT, Distance, scaled
from jaxstyle.objective.weight_defaults import CONTENT_LOSSES

_ALIKE = 1e-5  # mean cosine distance that is little beside others, and much beside rounding in float32


class ContentStatistic(NamedTuple):
    """How to compare contents; `make_objective` takes one for `content_loss`, or its name.

    Attributes:
      measure: features (h, w, c) -> the statistic, a pytree of arrays. The content image has the size of the images
        that are compared with it, so shapes may depend on the size.
      distance: (statistic of the image, statistic of the content, convention=) -> a scalar >= 0.

    Examples:
      >>> import jax.numpy as jnp, jaxstyle as js
      >>> from jaxstyle.objective.statistics.content_statistics import ContentStatistic
      >>> def distance(found, target, *, convention):
      ...     return jnp.abs(found - target).mean()
      >>> absolute = ContentStatistic(lambda features: features, distance)
      >>> objective = js.make_objective(js.make_features(), content_loss=absolute)
    """

    measure: Callable[[Float[Array, "h w c"]], Any]
    distance: Distance


def content_statistic(content_loss: str | ContentStatistic) -> ContentStatistic:
    """Find a content statistic by its name.

    With the image's features F and the content's P, and D and E the matrices of cosine distances between positions of F
    and of P, each column divided by its sum, the distance of a layer in the convention `mean` is

    | name            | distance                                      | from                           |
    |-----------------|-----------------------------------------------|--------------------------------|
    | features        | `mean((F - P)^2)`                             | Gatys et al., arXiv 1508.06576 |
    | self_similarity | `sum(abs(D - E))` over the number of columns  | Kolkin et al., arXiv 1904.12785 |

    `self_similarity` lies in [0, 2] and asks that what was alike stay alike, whatever it is painted with. Unlike in the
    paper, 1e-5 times the number of positions is added to each column's sum, so that features that are all alike have no
    distances, where rounding alone would make some.

    Args:
      content_loss: one of `weight_defaults.CONTENT_LOSSES`, or a `ContentStatistic`.

    Returns:
      The statistic with this name; a `ContentStatistic` is returned as it is.

    Raises:
      ValueError: for an unknown name; the message lists the valid ones.
    """
    if isinstance(content_loss, ContentStatistic):
        return content_loss
    if content_loss not in _BY_NAME:
        raise ValueError(
            f"unknown content_loss {content_loss!r}; valid: {', '.join(CONTENT_LOSSES)}, or a ContentStatistic"
        )
    return _BY_NAME[content_loss]


def self_similarity(*, count: int = 1024) -> ContentStatistic:
    """Make the content statistic `self_similarity` with another number of positions.

    Kolkin et al. draw positions anew for every evaluation. Here a fixed sample is taken, spread evenly, so that the
    loss is a function of the image.

    Args:
      count: number of positions; images of fewer take all of them.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `distance`, for a convention of Gram matrices.
    """

    def measure(features: jax.Array) -> jax.Array:
        check_shape("features", features, ("h", "w", "c"))
        h, w, c = features.shape
        flat = widen(features).reshape(h * w, c)
        if h * w > count:
            flat = flat[sample_positions(jnp.ones((h, w)), count)]
        squares = jnp.square(flat).sum(1)
        # One more coordinate, the same for all, defines the cosine of features that are 0, as in `positions.Samples`.
        floor = FLAT * squares.mean() + EPSILON
        inverse = lax.rsqrt(squares + floor)
        directions = flat * inverse[:, None]
        distances = 1 - exact_matmul(directions, directions.T) - floor * inverse[:, None] * inverse[None]
        distances = jnp.maximum(distances, 0)
        return distances / (distances.sum(0, keepdims=True) + _ALIKE * len(distances))

    def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        value = jnp.abs(found - target).sum() / len(found)
        return scaled("self_similarity", value, jnp.ones_like(value), convention)

    return ContentStatistic(measure, distance)


_BY_NAME: dict[str, ContentStatistic] = {
    "features": ContentStatistic(lambda features: features, feature_loss),
    "self_similarity": self_similarity(),
}
