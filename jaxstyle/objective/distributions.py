"""The statistics `sliced` and `nearest`, which compare features as sets of positions, and not by moments alone.

`sliced` is the sliced Wasserstein distance (Heitz et al., arXiv 2006.07229). `nearest` is the relaxed earth mover's
distance of Kolkin et al. (STROTSS, arXiv 1904.12785), with squared differences for a cost.
"""

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


def nearest(*, side: int = 24, block: int = 2048) -> StyleStatistic:
    """Make the statistic `nearest` with another number of positions.

    The distance is the larger of two means: of the squared differences between each of the image's positions and its
    nearest neighbour among the style's, and of those between each of the style's and its nearest among the image's. The
    first asks that everything in the picture be the style's, and the second that everything of the style appear.

    Kolkin et al. draw positions anew for every evaluation. Here a fixed grid of side x side positions is taken of the
    style, so that the loss is a function of the image, and targets have one shape for all sizes. All positions of the
    image are taken, because one that is left out would get no gradient. They are compared in blocks, so that memory
    doesn't grow with the product of both numbers. This statistic takes no masks.

    Kolkin et al. take cosine distances, and compare moments beside them. Squared differences also see how strong
    features are, so that nothing is needed beside them.

    Args:
      side: number of rows and of columns of the grid; a style of fewer positions has some of them twice.
      block: number of the image's positions that are compared with the style's at once.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `measure`, for a mask; from its `distance`, for a convention of Gram matrices.
    """

    def measure(features: jax.Array, mask: jax.Array | None) -> jax.Array:
        if mask is not None:
            raise ValueError("style_loss 'nearest' takes no masks; use gram, centered_gram, wasserstein or moments")
        check_shape("features", features, ("h", "w", "c"))
        return widen(features)

    def to_target(found: jax.Array) -> jax.Array:
        rows, columns = (np.floor((np.arange(side) + 0.5) * n / side).astype(int) for n in found.shape[:2])
        return found[rows][:, columns].reshape(-1, found.shape[2])

    def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
        found, target = promoted(found.reshape(-1, found.shape[-1]), target)
        to_style, to_image = _find_nearest(lax.stop_gradient(found), lax.stop_gradient(target), block)
        ways = [jnp.square(found - target[to_style]).mean(), jnp.square(found[to_image] - target).mean()]
        return scaled("nearest", jnp.stack(ways).max(), jnp.square(target).mean(), convention)

    return StyleStatistic(measure, distance, to_target)


def _find_nearest(found: jax.Array, target: jax.Array, block: int) -> tuple[jax.Array, jax.Array]:
    """Find the nearest of the target's positions for each of the image's, and of the image's for each of the target's.

    Args:
      found: (n, c) the image's features.
      target: (m, c) the style's.
      block: number of rows of `found` that are compared at once.

    Returns:
      Indices (n,) into the target, and indices (m,) into the image.
    """
    count = len(found)
    size = min(block, count)
    # The last block is filled up with the last position, which changes no nearest neighbour.
    places = np.minimum(np.arange(-(-count // size) * size), count - 1).reshape(-1, size)
    squares, transposed = jnp.square(target).sum(1)[None], target.T

    def of_block(places: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        own = found[places]
        costs = jnp.square(own).sum(1)[:, None] + squares - 2 * exact_matmul(own, transposed)
        return costs.argmin(1), costs.min(0), places[costs.argmin(0)]

    to_style, lowest, at = lax.map(of_block, jnp.asarray(places))
    return to_style.reshape(-1)[:count], jnp.take_along_axis(at, lowest.argmin(0)[None], 0)[0]
