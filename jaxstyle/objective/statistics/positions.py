"""Positions of features: a fixed sample of them, spread evenly, and the search for the nearest of a style's.

A fixed sample makes a loss a function of the image, and gives targets one shape for images of all sizes.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float, Int

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import wide, widen
from jaxstyle.objective.statistics.statistic import EPSILON, FLAT, weighted_mean


class Positions(NamedTuple):
    """Features of an image, position by position.

    Attributes:
      features: (h, w, c).
      mask: (h, w) in [0, 1]; ones without a mask. A position counts with the weight of its square.
    """

    features: Float[Array, "h w c"]
    mask: Float[Array, "h w"]


class Samples(NamedTuple):
    """Directions of a sample of a style's features, as `find_nearest` compares them.

    Features get one more, constant coordinate, whose square is a millionth of the style's mean squared length, and no
    less than what the rounding of their mean could make. So the cosine of features that equal the mean is defined and
    has a finite gradient, and that of two such features is 1.

    Attributes:
      directions: (n, c) centred features of a sample of positions, divided by their lengths.
      lifts: (n,) product of the constant coordinate and that of each direction.
      floor: the square of the constant coordinate.
    """

    directions: Float[Array, "*styles n c"]
    lifts: Float[Array, "*styles n"]
    floor: Float[Array, "*styles"]


for _type in (Positions, Samples):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")


def positions_of(features: jax.Array, mask: jax.Array | None) -> Positions:
    """Make positions of the features of a layer.

    Args:
      features: (h, w, c).
      mask: (h, w) in [0, 1]; None: ones.

    Returns:
      Positions, float64 for float64 features, else float32.

    Raises:
      ValueError: for features of another rank.
    """
    check_shape("features", features, ("h", "w", "c"))
    own = jnp.ones(features.shape[:2]) if mask is None else mask
    return Positions(widen(features), own.astype(wide(features.dtype)))


def mean_of(found: Positions) -> jax.Array:
    """Average the features of all positions.

    Args:
      found: positions of c channels, weighted by the square of their mask.

    Returns:
      (c,).
    """
    return weighted_mean(found.features, found.mask)


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
    # A position without weight adds nothing to the sum before it, so it is never the first that exceeds what is wanted.
    # Sums in float32, which are made of parts, would rise and fall by a rounding there.
    reached = lax.cummax(jnp.where(own > 0, jnp.cumsum(own), 0))
    wanted = (np.arange(count) + 0.5) / count * reached[-1]
    places = jnp.searchsorted(reached, wanted.astype(own.dtype), side="right")
    return jnp.asarray(order)[jnp.minimum(places, h * w - 1)]


@lru_cache(maxsize=32)  # objectives are traced many times, also where only shapes are wanted
def _z_order(h: int, w: int) -> np.ndarray:
    """Return the indices of h * w positions in the order of a Z-curve."""
    bits = np.arange(max(h, w).bit_length())
    rows, columns = ((((np.arange(n)[:, None] >> bits) & 1) << (2 * bits)).sum(1) for n in (h, w))
    return np.argsort((2 * rows[:, None] + columns[None]).ravel()).astype(np.int32)


def sample(found: Positions, centre: jax.Array, count: int) -> Samples:
    """Take a sample of a style's features for `find_nearest`.

    Args:
      found: the style's positions.
      centre: (c,) what is taken off the features first.
      count: size of the sample.

    Returns:
      Samples.
    """
    flat = found.features.reshape(-1, found.features.shape[-1]) - centre[None]
    weights = jnp.square(found.mask).reshape(-1)
    floor = floor_of(flat, centre, weights)
    return directions_of(flat[sample_positions(jnp.square(found.mask), count)], floor)


def floor_of(centred: Float[Array, "n c"], centre: Float[Array, " c"], weights: Float[Array, " n"]) -> Float[Array, ""]:
    """Compute the square of the constant coordinate that `Samples` explains.

    Args:
      centred: (n, c) features from which the centre is taken off.
      centre: (c,); it is known to a few roundings, so what is no larger beside it is no direction.
      weights: (n,) weights of the positions.

    Returns:
      A scalar > 0.
    """
    energy = jnp.dot(weights, jnp.square(centred).sum(1)) / jnp.maximum(weights.sum(), EPSILON)
    rounding = (8 * jnp.finfo(centre.dtype).eps) ** 2 * jnp.square(centre).sum()
    return FLAT * energy + rounding + EPSILON


def directions_of(features: Float[Array, "n c"], floor: Float[Array, ""]) -> Samples:
    """Divide features by their lengths, with the constant coordinate that `Samples` explains.

    Args:
      features: (n, c), centred if they are to be.
      floor: the square of the constant coordinate.

    Returns:
      Samples.
    """
    inverse = lax.rsqrt(jnp.square(features).sum(1) + floor)
    return Samples(features * inverse[:, None], floor * inverse, floor)


def find_nearest(
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
        to_style = _first_largest(cosines, 1)[1]
        if not both:
            return [to_style]
        cosines *= lax.rsqrt(jnp.square(own).sum(1) + target.floor)[:, None]
        seen = jnp.where(weights[:, None] > 0, cosines, -jnp.inf)
        return [to_style, *_first_largest(seen, 0)]

    found = lax.map(of_block, (rows, jnp.pad(weights, (0, fill)).reshape(blocks, size)))
    to_style = found[0].reshape(-1)[:count]
    if not both:
        return [to_style]
    best = _first_largest(found[1], 0)[1][None]
    return [to_style, (best * size + jnp.take_along_axis(found[2], best, 0))[0]]


def _first_largest(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return max and argmax of a matrix along an axis; on a CPU in a third of the time that XLA takes for argmax."""
    largest = x.max(axis, keepdims=True)
    places = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return largest.squeeze(axis), jnp.where(x == largest, places, x.shape[axis] - 1).min(axis)
