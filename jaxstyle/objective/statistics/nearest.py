"""The statistics `nearest` and `relaxed_emd`, which look for the nearest of the style's features.

`nearest` is the feature-splitting loss of NNST (Kolkin et al., arXiv 2203.13215) and the loss of NNFM (Zhang et al.,
arXiv 2206.06360). `relaxed_emd` is the style loss of STROTSS (Kolkin et al., arXiv 1904.12785).
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float, Int

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, wide, widen
from jaxstyle.objective.losses import gram_matrix
from jaxstyle.objective.statistics.statistic import StyleStatistic, scaled, weighted_mean

_FLAT = 1e-6
_EPSILON = 1e-12


class Positions(NamedTuple):
    """Features of an image, position by position.

    Attributes:
      features: (h, w, c).
      mask: (h, w) in [0, 1]; ones without a mask. A position counts with the weight of its square.
    """

    features: Float[Array, "h w c"]
    mask: Float[Array, "h w"]


class Samples(NamedTuple):
    """What `nearest` needs of a style.

    Features get one more, constant coordinate, whose square is a millionth of the style's mean squared length. So the
    cosine of features that equal the mean is defined and has a finite gradient, and that of two such features is 1.

    Attributes:
      directions: (n, c) centred features of a sample of positions, divided by their lengths.
      lifts: (n,) product of the constant coordinate and that of each direction.
      floor: the square of the constant coordinate.
    """

    directions: Float[Array, "*styles n c"]
    lifts: Float[Array, "*styles n"]
    floor: Float[Array, "*styles"]


class EmdTarget(NamedTuple):
    """What `relaxed_emd` needs of a style.

    Attributes:
      samples: directions of features that are not centred.
      mean: (c,).
      covariance: (c, c).
    """

    samples: Samples
    mean: Float[Array, "*styles c"]
    covariance: Float[Array, "*styles c c"]


for _type in (Positions, Samples, EmdTarget):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")


def nearest(*, both: bool = False, count: int = 1024, patch: int = 1, block: int = 2048) -> StyleStatistic:
    """Make the statistic `nearest` with another number of samples, both ways, or of patches.

    The distance is the mean, over the image's positions, of the cosine distance to the nearest of the style's
    positions. Features are centred, that is, each image's own mean is taken off first.

    NNST takes positions of the style at a random offset, drawn anew for every evaluation. Here a fixed sample of
    positions is taken, spread evenly, so that the loss is a function of the image and targets have one shape for all
    sizes. All positions of the image are taken, since one that is left out would get no gradient. They are compared in
    blocks, so that memory doesn't grow with the product of both numbers. Which position is nearest is a matter of
    integers, and has no gradient; so the backward pass holds no matrix of distances.

    A mask weights the image's positions by its square. Of the style, the sample is drawn from the mask's positions.

    Args:
      both: also take the mean, over the style's positions, of the distance to the image's nearest, and return the
        larger of both, which is the relaxed earth mover's distance: everything of the style has to appear.
      count: number of positions that are taken of the style; a style of fewer has some of them twice.
      patch: side of the patches that are compared, in positions; 3 is that of Li and Wand (arXiv 1601.04589).
      block: number of the image's positions that are compared with the style's at once.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `measure`, for features with fewer positions a side than a patch has; from its `distance`,
        for a convention of Gram matrices.
    """

    def measure(features: jax.Array, mask: jax.Array | None) -> Positions:
        found = _positions(features, mask)
        return found if patch == 1 else _patches(found, patch)

    def to_target(found: Positions) -> Samples:
        return _samples(found, _mean(found), count)

    def distance(found: Positions, target: Samples, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        ways = _ways(found, _mean(found), target, block=block, both=both)
        return scaled("nearest", ways.max(), jnp.ones_like(ways[0]), convention)

    return StyleStatistic(measure, distance, to_target)


def relaxed_emd(*, count: int = 1024, block: int = 2048) -> StyleStatistic:
    """Make the statistic `relaxed_emd` with another number of samples.

    It is the larger of the two mean cosine distances, from each of the image's positions to the nearest of the style's
    and back (the features aren't centred), plus the mean absolute differences of the means and of the covariances,
    which hold the lengths that cosines don't see. Kolkin et al. draw 1,024 positions of the image anew for every
    evaluation; here all of them are taken, and of the style a fixed sample, as `nearest` explains.

    Args:
      count: number of positions that are taken of the style.
      block: number of the image's positions that are compared with the style's at once.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `distance`, for a convention of Gram matrices.
    """

    def to_target(found: Positions) -> EmdTarget:
        mean = _mean(found)
        samples = _samples(found, jnp.zeros_like(mean), count)
        return EmdTarget(samples, mean, _covariance(found, mean))

    def distance(found: Positions, target: EmdTarget, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        mean = _mean(found)
        ways = _ways(found, jnp.zeros_like(mean), target.samples, block=block, both=True)
        moments = jnp.abs(mean - target.mean).mean()
        moments += jnp.abs(_covariance(found, mean) - target.covariance).mean()
        energy = 1 + jnp.abs(target.mean).mean() + jnp.abs(target.covariance).mean()
        return scaled("relaxed_emd", ways.max() + moments, energy, convention)

    return StyleStatistic(_positions, distance, to_target)


def _positions(features: jax.Array, mask: jax.Array | None) -> Positions:
    check_shape("features", features, ("h", "w", "c"))
    own = jnp.ones(features.shape[:2]) if mask is None else mask
    return Positions(widen(features), own.astype(wide(features.dtype)))


def _patches(found: Positions, side: int) -> Positions:
    """Make each position a patch of side x side positions, whose mask is the mean of theirs."""
    h, w, _ = found.features.shape
    if min(h, w) < side:
        raise ValueError(f"patches of {side}x{side} positions don't fit into features of {h}x{w}")
    corners = [np.s_[i : h - side + 1 + i, j : w - side + 1 + j] for i in range(side) for j in range(side)]
    mask = jnp.stack([found.mask[corner] for corner in corners]).mean(0)
    return Positions(jnp.concatenate([found.features[corner] for corner in corners], -1), mask)


def _mean(found: Positions) -> jax.Array:
    return weighted_mean(found.features, found.mask)


def _covariance(found: Positions, mean: jax.Array) -> jax.Array:
    return gram_matrix(found.features - mean[None, None], found.mask)


def sample_positions(weights: Float[Array, "h w"], count: int) -> Int[Array, " n"]:
    """Choose positions of an image, spread evenly over those that have a weight.

    Positions are put in the order of a Z-curve (Morton, 1966), which keeps neighbours together, and are taken at equal
    steps of the sum of weights. So a weight that is twice as large is taken twice as often, a weight of 0 never, and a
    position is taken twice only where there are too few.

    Args:
      weights: (h, w) >= 0. If all are 0, positions are taken as if all were 1.
      count: how many.

    Returns:
      (count,) indices into the h * w positions, whole numbers.
    """
    h, w = weights.shape
    order = _z_order(h, w)
    own = weights.reshape(-1)[order]
    own = jnp.where(own.sum() > 0, own, 1)
    reached = jnp.cumsum(own)
    wanted = (np.arange(count) + 0.5) / count * reached[-1]
    # A position without weight adds nothing to the sum before it, so it is never the first that exceeds what is wanted.
    places = jnp.searchsorted(reached, wanted.astype(own.dtype), side="right")
    return jnp.asarray(order)[jnp.minimum(places, h * w - 1)]


@lru_cache(maxsize=32)  # objectives are traced many times, also where only shapes are wanted
def _z_order(h: int, w: int) -> np.ndarray:
    """Return the indices of h * w positions in the order of a Z-curve."""
    bits = np.arange(max(h, w).bit_length())
    rows, columns = ((((np.arange(n)[:, None] >> bits) & 1) << (2 * bits)).sum(1) for n in (h, w))
    return np.argsort((2 * rows[:, None] + columns[None]).ravel()).astype(np.int32)


def _samples(found: Positions, centre: jax.Array, count: int) -> Samples:
    flat = found.features.reshape(-1, found.features.shape[-1]) - centre[None]
    weights = jnp.square(found.mask).reshape(-1)
    floor = _FLAT * jnp.dot(weights, jnp.square(flat).sum(1)) / jnp.maximum(weights.sum(), _EPSILON) + _EPSILON
    taken = flat[sample_positions(jnp.square(found.mask), count)]
    inverse = lax.rsqrt(jnp.square(taken).sum(1) + floor)
    return Samples(taken * inverse[:, None], floor * inverse, floor)


def _ways(found: Positions, centre: jax.Array, target: Samples, *, block: int, both: bool) -> jax.Array:
    """Compute the mean cosine distance from the image to the style, and the way back if it is wanted: (1,) or (2,)."""
    flat = found.features.reshape(-1, found.features.shape[-1])
    weights = jnp.square(found.mask).reshape(-1)
    places = _find_nearest(*lax.stop_gradient((flat, centre, weights, target)), block=block, both=both)

    # Checkpointed, so that the nearest features are gathered again by the backward pass and not kept until then.
    @jax.checkpoint
    def distances(flat: jax.Array, samples: jax.Array) -> jax.Array:
        centred = flat - centre[None]
        product = (centred * target.directions[samples]).sum(1) + target.lifts[samples]
        return 1 - product * lax.rsqrt(jnp.square(centred).sum(1) + target.floor)

    of_image = jnp.dot(weights, distances(flat, places[0]), precision=lax.Precision.HIGHEST)
    ways = [of_image / jnp.maximum(weights.sum(), _EPSILON)]
    if both:
        ways.append(distances(flat[places[1]], jnp.arange(len(target.lifts))).mean())
    return jnp.stack(ways)


def _find_nearest(
    flat: jax.Array, centre: jax.Array, weights: jax.Array, target: Samples, *, block: int, both: bool
) -> list[jax.Array]:
    """Find the nearest of the style's samples for each position of the image, and the way back if it is wanted.

    Args:
      flat: (n, c) the image's features.
      centre: (c,) what is taken off them.
      weights: (n,) weights of the positions; one of 0 is nobody's nearest.
      target: m samples of the style.
      block: number of positions that are compared at once, at most.
      both: whether the way back is wanted.

    Returns:
      Indices (n,) into the samples; and, for the way back, indices (m,) into the positions.
    """
    count = len(flat)
    blocks = -(-count // block)
    size = -(-count // blocks)
    fill = blocks * size - count
    rows = jnp.pad(flat, ((0, fill), (0, 0))).reshape(blocks, size, -1)
    transposed = target.directions.T

    def of_block(rows_and_weights: tuple[jax.Array, jax.Array]) -> list[jax.Array]:
        rows, weights = rows_and_weights
        own = rows - centre[None]
        # The default precision will do, since the distances themselves are computed again.
        cosines = jnp.matmul(own, transposed) + target.lifts[None]
        to_style = cosines.argmax(1)
        if not both:
            return [to_style]
        cosines *= lax.rsqrt(jnp.square(own).sum(1) + target.floor)[:, None]
        seen = jnp.where(weights[:, None] > 0, cosines, -jnp.inf)
        return [to_style, seen.max(0), seen.argmax(0)]

    found = lax.map(of_block, (rows, jnp.pad(weights, (0, fill)).reshape(blocks, size)))
    to_style = found[0].reshape(-1)[:count]
    if not both:
        return [to_style]
    best = found[1].argmax(0)[None]
    return [to_style, (best * size + jnp.take_along_axis(found[2], best, 0))[0]]
