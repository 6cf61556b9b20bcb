"""The statistic `wasserstein`: two styles are as far apart as Gaussians with the mean and covariance of their features.

The distance is the squared Wasserstein-2 distance of these Gaussians, as crowsonkb/style-transfer-pytorch has it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import check_shape
from jaxstyle.common.dtypes import promoted, widen
from jaxstyle.common.exact_matmul import exact_matmul
from jaxstyle.objective.losses import gram_matrix, mask_area
from jaxstyle.objective.statistics.matrix_root import SMALLEST, matrix_root, root_trace
from jaxstyle.objective.statistics.statistic import StyleStatistic, scaled, weighted_mean


class Gaussian(NamedTuple):
    """A layer's mean and covariance, for `wasserstein`.

    Attributes:
      mean: (c,).
      spread: the covariance (c, c); where a layer has fewer positions than channels, X (positions, c) with the
        covariance X'X.
    """

    mean: Float[Array, "*styles c"]
    spread: Float[Array, "*styles rows c"]


class GaussianTarget(NamedTuple):
    """What `wasserstein` needs of a style with the covariance S.

    Attributes:
      mean: (c,).
      root: (c, c), the square root of S + E, where `_to_target` explains E.
      floor: the largest eigenvalue that E can have, a scalar.
      traces: (2,), those of S and of S + E.
    """

    mean: Float[Array, "*styles c"]
    root: Float[Array, "*styles c c"]
    floor: Float[Array, "*styles"]
    traces: Float[Array, "*styles 2"]


def _measure(features: jax.Array, mask: jax.Array | None) -> Gaussian:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    mean = weighted_mean(f, mask)
    h, w, c = f.shape
    if h * w >= c:
        if features.dtype == jnp.bfloat16 and mask is None:
            # Centred features would be float32, whose products take several times the time and the traffic. So they
            # are nearly centred, which leaves no large numbers to cancel, and the rest is taken off afterwards.
            near = lax.stop_gradient(mean).astype(jnp.bfloat16)
            rest = mean - near.astype(mean.dtype)
            return Gaussian(mean, gram_matrix(features - near[None, None]) - rest[:, None] * rest[None])
        return Gaussian(mean, gram_matrix(f - mean[None, None], mask))
    weights = jnp.full((h, w), 1 / np.sqrt(h * w), f.dtype)
    if mask is not None:
        mask = mask.astype(f.dtype)
        weights = mask / jnp.sqrt(mask_area(mask))
    return Gaussian(mean, ((f - mean[None, None]) * weights[..., None]).reshape(-1, c))


def _to_target(found: Gaussian) -> GaussianTarget:
    """Add noise of the covariance E to the style; `_distance` adds the same noise to the image.

    Covariances are singular where channels are dead or positions are fewer than channels, and there the distance has no
    gradient. Equal noise on both sides gives it one, and leaves the distance between equals at 0. The choice
    E = d^2 (S + E)^-1 is d in directions where the style has no variance, and next to nothing where it has much. It
    also saves work, since (S + E)^.5 (C + E) (S + E)^.5 = (S + E)^.5 C (S + E)^.5 + d^2: an image of fewer positions
    than channels needs the eigenvalues of a matrix with only as many rows as it has positions.
    """
    covariance = (
        found.spread if len(found.spread) == found.spread.shape[1] else exact_matmul(found.spread.T, found.spread)
    )
    # The root of 0, of a flat style or an empty region, has no finite gradient.
    square = jnp.maximum(jnp.square(covariance).sum(), jnp.finfo(covariance.dtype).tiny)
    floor = 2e-3 * jnp.sqrt(square) + 1e-8
    eye = jnp.eye(len(covariance), dtype=covariance.dtype)
    noisy = covariance / 2 + matrix_root(exact_matmul(covariance, covariance) / 4 + floor**2 * eye)
    return GaussianTarget(found.mean, matrix_root(noisy), floor, jnp.stack([jnp.trace(covariance), jnp.trace(noisy)]))


def _distance(found: Gaussian, target: GaussianTarget, *, convention: str) -> jax.Array:
    found, target = promoted(found, target)
    channels = len(target.mean)
    side = exact_matmul(found.spread, target.root)
    if len(found.spread) == channels:
        variance, product = jnp.trace(found.spread), exact_matmul(target.root, side)
    else:
        variance, product = jnp.square(found.spread).sum(), exact_matmul(side, side.T)
    # Where the image varies far more than the style, an iteration in float32 needs a higher floor.
    norm = lax.stop_gradient(jnp.sqrt(jnp.square(product).sum()))
    floor = jnp.maximum(target.floor, jnp.sqrt(SMALLEST * norm))
    size = len(product)
    common = root_trace(product + floor**2 * jnp.eye(size, dtype=product.dtype)) - size * floor
    of_style, of_noisy = target.traces
    spread = variance - of_style - 2 * common + 2 * (of_noisy - channels * target.floor)
    distance = jnp.square(found.mean - target.mean).mean() + spread / channels
    return scaled("wasserstein", distance, jnp.square(target.mean).mean() + of_style / channels, convention)


for _type in (Gaussian, GaussianTarget):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")

WASSERSTEIN = StyleStatistic(_measure, _distance, _to_target)
"""The statistic `wasserstein`."""
