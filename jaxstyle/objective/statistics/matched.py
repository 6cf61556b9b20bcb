"""The statistic `matched`: each position has its own feature of the style, which stays the same for a while.

It is the hypercolumn matching of NNST (Kolkin et al., arXiv 2203.13215).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export, lax
from jaxtyping import Array, Float

from jaxstyle.common.dtypes import promoted
from jaxstyle.objective.statistics.positions import (
    Positions,
    directions_of,
    find_nearest,
    floor_of,
    mean_of,
    positions_of,
    sample_positions,
)
from jaxstyle.objective.statistics.statistic import EPSILON, FLAT, StyleStatistic, scaled


class MatchTarget(NamedTuple):
    """What `matched` needs of a style.

    Attributes:
      features: (n, c) features of a sample of positions.
      mean: (c,) the mean of all positions.
    """

    features: Float[Array, "*styles n c"]
    mean: Float[Array, "*styles c"]


export.register_namedtuple_serialization(MatchTarget, serialized_name="jaxstyle.MatchTarget")


def matched(*, count: int = 1024, block: int = 2048) -> StyleStatistic:
    """Make the statistic `matched` with another number of samples.

    The distance is the mean, over the image's positions, of the cosine distance to the feature of the style that the
    position was matched with. `Objective.match` matches the positions of an image with the nearest of the style's, by
    the cosine distance of features from which each image's own mean is taken off. The image may be another one than
    that which is compared, such as a mix of the content and of the picture so far. NNST matches once a size.

    Of the style a fixed sample of positions is taken, spread evenly, where NNST takes all positions, also those of the
    style image turned by 90, 180 and 270 degrees. A mask weights the image's positions by its square, and the sample is
    drawn from the positions of the style's mask.

    Args:
      count: number of positions that are taken of the style; a style of fewer has some of them twice.
      block: number of the image's positions that are compared with the style's at once.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `distance`, for a convention of Gram matrices, and for matches of another image size.
    """

    def to_target(found: Positions) -> MatchTarget:
        flat = found.features.reshape(-1, found.features.shape[-1])
        return MatchTarget(flat[sample_positions(jnp.square(found.mask), count)], mean_of(found))

    def match(found: Positions, target: MatchTarget) -> jax.Array:
        found, target = lax.stop_gradient(promoted(found, target))
        centred = target.features - target.mean[None]
        samples = directions_of(centred, floor_of(centred, target.mean, jnp.ones(len(centred), centred.dtype)))
        h, w, c = found.features.shape
        weights = jnp.square(found.mask).reshape(-1)
        flat = found.features.reshape(-1, c)
        return find_nearest(flat, mean_of(found), weights, samples, block=block, both=False)[0].reshape(h, w)

    def distance(
        found: Positions, target: MatchTarget, *, convention: str, matches: jax.Array | None = None
    ) -> jax.Array:
        if matches is None:
            matches = match(found, target)
        if matches.shape != found.mask.shape:
            raise ValueError(f"the image has {found.mask.shape} positions, but {matches.shape} are matched")
        found, target = promoted(found, target)
        floor = FLAT * jnp.square(target.features).sum(1).mean() + EPSILON  # see `positions.Samples`
        inverse = lax.rsqrt(jnp.square(target.features).sum(1) + floor)
        weights = jnp.square(found.mask).reshape(-1)

        # Checkpointed, so that the matched features are gathered again by the backward pass and not kept until then.
        @jax.checkpoint
        def distances(features: jax.Array) -> jax.Array:
            flat, places = features.reshape(-1, features.shape[-1]), matches.reshape(-1)
            product = ((flat * target.features[places]).sum(1) + floor) * inverse[places]
            return 1 - product * lax.rsqrt(jnp.square(flat).sum(1) + floor)

        value = jnp.dot(weights, distances(found.features), precision=lax.Precision.HIGHEST)
        value /= jnp.maximum(weights.sum(), EPSILON)
        return scaled("matched", value, jnp.ones_like(value), convention)

    return StyleStatistic(positions_of, distance, to_target, match)
