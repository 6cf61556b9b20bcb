"""The statistic `sliced`: the sliced Wasserstein distance of features (Heitz et al., arXiv 2006.07229)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.objective.statistic import StyleStatistic, scaled


def sliced(*, key: int = 0, projections: int | None = None, bins: int = 1024) -> StyleStatistic:
    """Make the statistic `sliced` with other directions.

    Heitz et al. draw directions anew for every evaluation. Here the directions stay the same, so that the loss is a
    function of the image. The sorted features along each direction are averaged in equal shares, so that images of
    different sizes compare. This statistic takes no masks.

    Args:
      key: seed of the directions.
      projections: number of directions for each layer; None: as many as the layer has channels.
      bins: number of shares along a direction, each with an equal number of positions.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `measure`, for a mask; from its `distance`, for a convention of Gram matrices.
    """

    def measure(features: jax.Array, mask: jax.Array | None) -> jax.Array:
        if mask is not None:
            raise ValueError("style_loss 'sliced' takes no masks; use gram, centered_gram, wasserstein or moments")
        check_shape("features", features, ("h", "w", "c"))
        f = widen(features)
        count = f.shape[0] * f.shape[1]
        directions = jax.random.normal(jax.random.key(key), (f.shape[2], projections or f.shape[2]), f.dtype)
        directions /= jnp.sqrt(jnp.square(directions).sum(0, keepdims=True))
        ordered = jnp.sort(exact_matmul(f.reshape(count, -1), directions), axis=0)
        first = np.arange(bins) * count // bins
        last = np.maximum(first + 1, np.arange(1, bins + 1) * count // bins)
        places = first[:, None] + np.arange((last - first).max())
        shares = np.where(places < last[:, None], 1 / (last - first)[:, None], 0)
        taken = ordered[np.minimum(places, count - 1)]
        return jnp.einsum("bnd,bn->bd", taken, shares.astype(f.dtype), precision=lax.Precision.HIGHEST)

    def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        return scaled("sliced", jnp.square(found - target).mean(), jnp.square(target).mean(), convention)

    return StyleStatistic(measure, distance)
