"""The statistics `moments` and `centered_gram`: means and deviations of channels, or their covariance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.objective.losses import gram_loss, gram_matrix
from jaxstyle.objective.statistics.statistic import StyleStatistic, scaled, weighted_mean


def _measure_centered_gram(features: jax.Array, mask: jax.Array | None) -> jax.Array:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    return gram_matrix(f - weighted_mean(f, mask)[None, None], mask)


class Moments(NamedTuple):
    """Mean and standard deviation of each channel.

    Attributes:
      mean: (c,).
      deviation: (c,). It is the square root of the variance plus 1e-5, as in AdaIN, so that its gradient is finite.
    """

    mean: Float[Array, "*styles c"]
    deviation: Float[Array, "*styles c"]


def _measure_moments(features: jax.Array, mask: jax.Array | None) -> Moments:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    mean = weighted_mean(f, mask)
    return Moments(mean, jnp.sqrt(weighted_mean(jnp.square(f - mean[None, None]), mask) + 1e-5))


def _distance(found: Moments, target: Moments, *, convention: str) -> jax.Array:
    found, target = promoted(found, target)
    distance = jnp.square(found.mean - target.mean).mean() + jnp.square(found.deviation - target.deviation).mean()
    energy = jnp.square(target.mean).mean() + jnp.square(target.deviation).mean()
    return scaled("moments", distance, energy, convention)


export.register_namedtuple_serialization(Moments, serialized_name="jaxstyle.Moments")

CENTERED_GRAM = StyleStatistic(_measure_centered_gram, gram_loss)
"""The statistic `centered_gram`: Gram matrices of features minus their mean, which are covariances."""

MOMENTS = StyleStatistic(_measure_moments, _distance)
"""The statistic `moments`: means and standard deviations of channels."""
