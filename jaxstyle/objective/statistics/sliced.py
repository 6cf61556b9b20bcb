"""The statistic `sliced`: the sliced Wasserstein distance of features as sets (Heitz et al., arXiv 2006.07229)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.objective.losses import mask_area
from jaxstyle.objective.statistics.statistic import StyleStatistic, scaled


def sliced(*, key: int = 0, projections: int | None = None, bins: int = 1024) -> StyleStatistic:
    """Make the statistic `sliced` with other directions.

    Heitz et al. draw directions anew for every evaluation. Here the directions stay the same, so that the loss is a
    function of the image. The sorted features along each direction are averaged in equal shares, so that images of
    different sizes compare.

    With a mask, each position counts with the weight of its mask's square, and the shares are equal parts of the sum of
    weights. Heitz et al. instead add a channel of large values, a tag, for each region, which sorts the regions apart.
    For hard masks both compare each region of the picture with that region of the style; the weights also take soft
    masks, and regions whose shares of content and style differ.

    Args:
      key: seed of the directions.
      projections: number of directions for each layer; None: as many as the layer has channels.
      bins: number of shares along a direction, each with an equal number of positions, or with an equal sum of weights.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `distance`, for a convention of Gram matrices.
    """

    def measure(features: jax.Array, mask: jax.Array | None) -> jax.Array:
        check_shape("features", features, ("h", "w", "c"))
        f = widen(features)
        # In float32 whatever the features are: other dtypes would draw other directions.
        drawn = jax.random.normal(jax.random.key(key), (f.shape[2], projections or f.shape[2]), jnp.float32)
        directions = drawn.astype(f.dtype)
        directions /= jnp.sqrt(jnp.square(directions).sum(0, keepdims=True))
        projected = exact_matmul(f.reshape(-1, f.shape[2]), directions)
        if mask is None:
            return _equal_shares(projected, bins)
        return _weighted_shares(projected, mask.astype(f.dtype), bins)

    def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        return scaled("sliced", jnp.square(found - target).mean(), jnp.square(target).mean(), convention)

    return StyleStatistic(measure, distance)


def _equal_shares(projected: jax.Array, bins: int) -> jax.Array:
    """Average the sorted columns of (n, d) in shares of equal numbers of positions, or parts of them: (bins, d)."""
    ordered, count = jnp.sort(projected, axis=0), len(projected)
    ends = np.arange(bins + 1) * count / bins
    first, last = np.floor(ends[:-1]).astype(int), np.ceil(ends[1:]).astype(int)
    places = first[:, None] + np.arange((last - first).max())
    shares = (np.minimum(places + 1, ends[1:, None]) - np.maximum(places, ends[:-1, None])).clip(0) * bins / count
    taken = ordered[np.minimum(places, count - 1)]
    return jnp.einsum("bnd,bn->bd", taken, shares.astype(projected.dtype), precision=lax.Precision.HIGHEST)


def _weighted_shares(projected: jax.Array, mask: jax.Array, bins: int) -> jax.Array:
    """Average the sorted columns of (n, d) in shares of equal sums of the weights mask^2: (bins, d).

    The sum of the smallest values is a piecewise linear function of the sum of their weights; a share is the difference
    of that function at its two ends. The mean is taken off before, so that little is lost to rounding.
    """
    weights = jnp.square(mask.reshape(-1)) / mask_area(mask)
    mean = jnp.einsum("n,nd->d", weights, projected, precision=lax.Precision.HIGHEST)
    ends = jnp.linspace(0, 1, bins + 1, dtype=projected.dtype)

    def along(column: jax.Array) -> jax.Array:
        order = jnp.argsort(lax.stop_gradient(column))
        own = weights[order]
        reached = jnp.concatenate([jnp.zeros(1, own.dtype), jnp.cumsum(own)])
        sums = jnp.concatenate([jnp.zeros(1, own.dtype), jnp.cumsum(own * column[order])])
        # All weights add up to 1 but for rounding, and to 0 for a mask of zeros, whose shares are then all 0.
        return jnp.diff(jnp.interp(ends * reached[-1], reached, sums)) * bins

    return jax.vmap(along, 1, 1)(projected - mean[None]) + mean[None]
