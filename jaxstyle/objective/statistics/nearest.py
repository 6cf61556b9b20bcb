"""The statistics `nearest` and `relaxed_emd`, which look for the nearest of the style's features.

`nearest` is the feature-splitting loss of NNST (Kolkin et al., arXiv 2203.13215) and the loss of NNFM (Zhang et al.,
arXiv 2206.06360). `relaxed_emd` is the style loss of STROTSS (Kolkin et al., arXiv 1904.12785).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float

from jaxstyle.common.dtypes import promoted
from jaxstyle.objective.losses import gram_matrix
from jaxstyle.objective.statistics.positions import Positions, Samples, find_nearest, mean_of, positions_of, sample
from jaxstyle.objective.statistics.statistic import EPSILON, StyleStatistic, scaled

_MANY = 65_536  # positions, of which every other one a side will do: those of the first layer from 257x256 pixels on
_COLOURS = 3  # channels of an image, whose positions see nothing of their neighbours


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


export.register_namedtuple_serialization(EmdTarget, serialized_name="jaxstyle.EmdTarget")


def nearest(*, both: bool = False, count: int = 1024, patch: int = 1, block: int = 2048) -> StyleStatistic:
    """Make the statistic `nearest` with another number of samples, both ways, or of patches.

    The distance is the mean, over the image's positions, of the cosine distance to the nearest of the style's
    positions. Features are centred, that is, each image's own mean is taken off first.

    NNST takes positions of the style at a random offset, drawn anew for every evaluation. Here a fixed sample of
    positions is taken, spread evenly, so that the loss is a function of the image and targets have one shape for all
    sizes. All positions of the image are taken, since one that is left out would get no gradient; but of more than
    65,536, every other one a side, since in a layer of 3x3 convolutions each pixel is still seen by one that is taken,
    and the search in the first layer would take half as long as the network. Of an image itself, with three channels,
    all pixels are taken. They are compared in blocks, so that memory doesn't grow with the product of both numbers.
    Which position is nearest is a matter of integers, and has no gradient; so the backward pass holds no matrix of
    distances.

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
        found = positions_of(features, mask)
        return _thin(found if patch == 1 else _patches(found, patch))

    def to_target(found: Positions) -> Samples:
        return sample(found, mean_of(found), count)

    def distance(found: Positions, target: Samples, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        ways = _ways(found, mean_of(found), target, block=block, both=both)
        return scaled("nearest", ways.max(), jnp.ones_like(ways[0]), convention)

    return StyleStatistic(measure, distance, to_target)


def relaxed_emd(*, count: int = 1024, block: int = 2048) -> StyleStatistic:
    """Make the statistic `relaxed_emd` with another number of samples.

    It is the larger of the two mean cosine distances, from each of the image's positions to the nearest of the style's
    and back (the features aren't centred), plus the mean absolute differences of the means and of the covariances,
    which hold the lengths that cosines don't see. Kolkin et al. draw 1,024 positions of the image anew for every
    evaluation; here they are taken as `nearest` takes them, and of the style a fixed sample.

    Args:
      count: number of positions that are taken of the style.
      block: number of the image's positions that are compared with the style's at once.

    Returns:
      The statistic.

    Raises:
      ValueError: from its `distance`, for a convention of Gram matrices.
    """

    def to_target(found: Positions) -> EmdTarget:
        mean = mean_of(found)
        samples = sample(found, jnp.zeros_like(mean), count)
        return EmdTarget(samples, mean, _covariance(found, mean))

    def distance(found: Positions, target: EmdTarget, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        mean = mean_of(found)
        ways = _ways(found, jnp.zeros_like(mean), target.samples, block=block, both=True)
        moments = jnp.abs(mean - target.mean).mean()
        moments += jnp.abs(_covariance(found, mean) - target.covariance).mean()
        energy = 1 + jnp.abs(target.mean).mean() + jnp.abs(target.covariance).mean()
        return scaled("relaxed_emd", ways.max() + moments, energy, convention)

    return StyleStatistic(lambda features, mask: _thin(positions_of(features, mask)), distance, to_target)


def _thin(found: Positions) -> Positions:
    """Take every other position a side, where there are very many, and each saw its neighbours."""
    if found.mask.size <= _MANY or found.features.shape[-1] <= _COLOURS:
        return found
    return Positions(found.features[::2, ::2], found.mask[::2, ::2])


def _patches(found: Positions, side: int) -> Positions:
    """Make each position a patch of side x side positions, whose mask is the mean of theirs."""
    h, w, _ = found.features.shape
    if min(h, w) < side:
        raise ValueError(f"patches of {side}x{side} positions don't fit into features of {h}x{w}")
    corners = [np.s_[i : h - side + 1 + i, j : w - side + 1 + j] for i in range(side) for j in range(side)]
    mask = jnp.stack([found.mask[corner] for corner in corners]).mean(0)
    return Positions(jnp.concatenate([found.features[corner] for corner in corners], -1), mask)


def _covariance(found: Positions, mean: jax.Array) -> jax.Array:
    return gram_matrix(found.features - mean[None, None], found.mask)


def _ways(found: Positions, centre: jax.Array, target: Samples, *, block: int, both: bool) -> jax.Array:
    """Compute the mean cosine distance from the image to the style, and the way back if it is wanted: (1,) or (2,)."""
    flat = found.features.reshape(-1, found.features.shape[-1])
    weights = jnp.square(found.mask).reshape(-1)
    places = find_nearest(*lax.stop_gradient((flat, centre, weights, target)), block=block, both=both)

    # Checkpointed, so that the nearest features are gathered again by the backward pass and not kept until then.
    @jax.checkpoint
    def distances(flat: jax.Array, samples: jax.Array) -> jax.Array:
        centred = flat - centre[None]
        product = (centred * target.directions[samples]).sum(1) + target.lifts[samples]
        return 1 - product * lax.rsqrt(jnp.square(centred).sum(1) + target.floor)

    of_image = jnp.dot(weights, distances(flat, places[0]), precision=lax.Precision.HIGHEST)
    ways = [of_image / jnp.maximum(weights.sum(), EPSILON)]
    if both:
        ways.append(distances(flat[places[1]], jnp.arange(len(target.lifts))).mean())
    return jnp.stack(ways)
