"""Ways to compare the style of two images: statistics of a layer's features, and distances between them.

Features are channels-last, shape (h, w, c), of one image: vmap for more. Statistics are at least float32, whatever
the features' dtype, and float64 for float64 features.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax
from jaxtyping import Array, Float

from jaxstyle.checks import check_shape
from jaxstyle.dtypes import promoted, widen
from jaxstyle.layers import STYLE_LOSSES
from jaxstyle.losses import check_convention, gram_matrix, mask_area, style_loss
from jaxstyle.matrix_root import SMALLEST, matrix_root, root_trace

_EPSILON = 1e-12


class Distance(Protocol):
    """A function that gives the style loss of one layer: distance(found, target, *, convention) -> scalar."""

    def __call__(self, found: Any, target: Any, *, convention: str) -> Float[Array, ""]:
        """Compare the statistic of an image with the target of a style.

        Args:
          found: what `StyleStatistic.measure` gives of the image.
          target: what `StyleStatistic.prepare` makes of the style's.
          convention: one of `losses.CONVENTIONS`.

        Returns:
          A scalar >= 0, to rounding.
        """
        ...


class StyleStatistic(NamedTuple):
    """How to compare styles; `make_targets` and `make_loss` take one for `style_loss`, or the name of one of these.

    With features F and S (c channels), means m and s, covariances C and D, standard deviations u and v, directions d,
    the distance of a layer in the convention `mean` is

    | name          | distance                                          | from                                    |
    |---------------|---------------------------------------------------|-----------------------------------------|
    | gram          | `mean((F'F / N - S'S / M)^2)`                     | Gatys et al., arXiv 1508.06576          |
    | centered_gram | `mean((C - D)^2)`                                 | Novak and Nikulin, arXiv 1605.04603;    |
    |               |                                                   | Sun and Saenko, arXiv 1607.01719        |
    | wasserstein   | `(sum((m - s)^2) + tr(C + D - 2 (D^½ C D^½)^½)) / c` | crowsonkb/style-transfer-pytorch     |
    | moments       | `mean((m - s)^2) + mean((u - v)^2)`               | Huang and Belongie, arXiv 1703.06868    |
    | sliced        | mean over d of the squared Wasserstein-2 distance | Heitz et al., arXiv 2006.07229          |
    |               | of `F d` and `S d`                                |                                         |

    The convention `relative` divides by what the distance would be to an image whose features are all 0 (mean(D^2) of
    centered_gram), which makes numbers comparable between statistics. `gatys` and `johnson` scale Gram matrices, and
    are for the first two only. Under `mean`, beta 1 of gram was about beta 10 of wasserstein, 15 of moments and of
    centered_gram, and 20 of sliced, by the content loss they lead to (a photograph and a mosaic of 112 pixels).

    Attributes:
      measure: (features (h, w, c), mask (h, w) in [0, 1] or None) -> the statistic, a pytree of arrays. With a mask T,
        each position counts with the weight T^2, as in guided Gram matrices (Gatys et al., arXiv 1611.07865).
      distance: (statistic of the image, target, convention=) -> a scalar; see `Distance`.
      prepare: statistic of a style image -> target, a pytree whose shapes don't depend on the image's size: what of
        `distance` can be computed once.

    Example:
      >>> import jax.numpy as jnp, jaxstyle as js
      >>> from jaxstyle.style_statistics import StyleStatistic, style_statistic
      >>> def measure(features, mask):  # the mean of each channel, as a style
      ...     return features.mean((0, 1))
      >>> def distance(found, target, *, convention):
      ...     return jnp.square(found - target).mean()
      >>> loss = js.make_loss(js.make_features(), style_loss=StyleStatistic(measure, distance))

      Alone, as a distance of features (h, w, c) and (H, W, c) in a loss of one's own:

      >>> features, other = jnp.ones((4, 5, 8)), jnp.zeros((6, 6, 8))
      >>> sliced = style_statistic("sliced")
      >>> target = sliced.prepare(sliced.measure(other, None))
      >>> float(sliced.distance(sliced.measure(features, None), target, convention="mean")) > 0
      True
    """

    measure: Callable[[Float[Array, "h w c"], Float[Array, "h w"] | None], Any]
    distance: Distance
    prepare: Callable[[Any], Any] = lambda statistic: statistic


def style_statistic(style_loss: str | StyleStatistic) -> StyleStatistic:
    """Find a statistic by its name.

    Args:
      style_loss: one of `layers.STYLE_LOSSES`, or a `StyleStatistic`.

    Returns:
      The statistic of this name; one that is given as such.

    Raises:
      ValueError: for an unknown name; the message lists the valid ones.
    """
    if isinstance(style_loss, StyleStatistic):
        return style_loss
    if style_loss not in _BY_NAME:
        raise ValueError(f"unknown style_loss {style_loss!r}; valid: {', '.join(STYLE_LOSSES)}, or a StyleStatistic")
    return _BY_NAME[style_loss]


def check_statistic(statistic: StyleStatistic, layer: str, features: Float[Array, "h w c"]) -> None:
    """Check that a statistic is of the same shape for images of any size.

    Args:
      statistic: of whoever wrote it.
      layer: whose features these are, for the message.
      features: of an image.

    Raises:
      ValueError: for one whose `prepare` gives arrays of another shape for an image of twice the size.
    """
    if statistic in _BY_NAME.values():
        return

    def shapes(h: int, w: int, c: int) -> Any:
        f = jax.ShapeDtypeStruct((h, w, c), features.dtype)
        return jax.tree.map(jnp.shape, jax.eval_shape(lambda f: statistic.prepare(statistic.measure(f, None)), f))

    h, w, c = features.shape
    small, large = shapes(h, w, c), shapes(2 * h, 2 * w, c)
    if small != large:
        raise ValueError(
            f"style_loss has a statistic whose shape depends on the image's size: {small} and {large} for features of "
            f"{layer} of {h}x{w} and {2 * h}x{2 * w} positions; StyleStatistic.prepare must give one shape for all"
        )


def _scaled(name: str, distance: jax.Array, energy: jax.Array, convention: str) -> jax.Array:
    """A distance that is no Gram matrix's, in a convention."""
    if check_convention(convention) not in ("mean", "relative"):
        raise ValueError(f"convention {convention!r} is for Gram matrices; style_loss {name!r} takes mean or relative")
    return distance / (energy + _EPSILON) if convention == "relative" else distance


def _mean(f: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Mean (c,) of features over all positions, or with the weight T^2 of a mask T."""
    if mask is None:
        return f.mean((0, 1))
    mask = mask.astype(f.dtype)
    return jnp.einsum("hwc,hw->c", f, jnp.square(mask), precision=lax.Precision.HIGHEST) / mask_area(mask)


def _measure_centered_gram(features: jax.Array, mask: jax.Array | None) -> jax.Array:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    return gram_matrix(f - _mean(f, mask)[None, None], mask)


class Moments(NamedTuple):
    """Mean and standard deviation of each channel.

    Attributes:
      mean: (c,).
      deviation: (c,), the square root of the variance plus 1e-5 (as in AdaIN), whose gradient is finite.
    """

    mean: Float[Array, "*styles c"]
    deviation: Float[Array, "*styles c"]


def _measure_moments(features: jax.Array, mask: jax.Array | None) -> Moments:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    mean = _mean(f, mask)
    return Moments(mean, jnp.sqrt(_mean(jnp.square(f - mean[None, None]), mask) + 1e-5))


def _distance_of_moments(found: Moments, target: Moments, *, convention: str) -> jax.Array:
    found, target = promoted(found, target)
    distance = jnp.square(found.mean - target.mean).mean() + jnp.square(found.deviation - target.deviation).mean()
    energy = jnp.square(target.mean).mean() + jnp.square(target.deviation).mean()
    return _scaled("moments", distance, energy, convention)


class Gaussian(NamedTuple):
    """A layer's mean and covariance, for `wasserstein`.

    Attributes:
      mean: (c,).
      spread: the covariance (c, c), or of fewer positions than channels X (positions, c), with the covariance X'X.
    """

    mean: Float[Array, "*styles c"]
    spread: Float[Array, "*styles rows c"]


class GaussianTarget(NamedTuple):
    """A style's mean and covariance S, prepared for `wasserstein`.

    Attributes:
      mean: (c,).
      root: (c, c), the square root of S + E, with E as `_prepare_gaussian` says.
      floor: scalar, the largest eigenvalue that E can have.
      traces: (2,), of S and of S + E.
    """

    mean: Float[Array, "*styles c"]
    root: Float[Array, "*styles c c"]
    floor: Float[Array, "*styles"]
    traces: Float[Array, "*styles 2"]


for _type in (Moments, Gaussian, GaussianTarget):
    export.register_namedtuple_serialization(_type, serialized_name=f"jaxstyle.{_type.__name__}")


def _measure_gaussian(features: jax.Array, mask: jax.Array | None) -> Gaussian:
    check_shape("features", features, ("h", "w", "c"))
    f = widen(features)
    mean = _mean(f, mask)
    h, w, c = f.shape
    if h * w >= c:
        return Gaussian(mean, gram_matrix(f - mean[None, None], mask))
    weights = jnp.full((h, w), 1 / np.sqrt(h * w), f.dtype)
    if mask is not None:
        mask = mask.astype(f.dtype)
        weights = mask / jnp.sqrt(mask_area(mask))
    return Gaussian(mean, ((f - mean[None, None]) * weights[..., None]).reshape(-1, c))


def _prepare_gaussian(found: Gaussian) -> GaussianTarget:
    """Add some noise to the style, and to the image as `_distance_of_gaussians` compares them.

    Covariances are singular (dead channels, fewer positions than channels), and there the distance has no gradient.
    So both get noise of the same covariance E, which leaves it 0 between equals. E = d^2 (S + E)^-1 is d in directions
    where the style has no variance and next to nothing where it has much, and
    (S + E)^.5 (C + E) (S + E)^.5 = (S + E)^.5 C (S + E)^.5 + d^2
    has the eigenvalues of a matrix of only as many rows as the image has positions, where that is fewer than channels.
    """
    covariance = found.spread if len(found.spread) == found.spread.shape[1] else _times(found.spread.T, found.spread)
    floor = 2e-3 * jnp.sqrt(jnp.square(covariance).sum()) + 1e-8
    eye = jnp.eye(len(covariance), dtype=covariance.dtype)
    noisy = covariance / 2 + matrix_root(_times(covariance, covariance) / 4 + floor**2 * eye)
    return GaussianTarget(found.mean, matrix_root(noisy), floor, jnp.stack([jnp.trace(covariance), jnp.trace(noisy)]))


def _distance_of_gaussians(found: Gaussian, target: GaussianTarget, *, convention: str) -> jax.Array:
    found, target = promoted(found, target)
    channels = len(target.mean)
    side = _times(found.spread, target.root)
    if len(found.spread) == channels:
        variance, product = jnp.trace(found.spread), _times(target.root, side)
    else:
        variance, product = jnp.square(found.spread).sum(), _times(side, side.T)
    # An image of far more variance than the style needs more than the floor, for an iteration in float32.
    norm = lax.stop_gradient(jnp.sqrt(jnp.square(product).sum()))
    floor = jnp.maximum(target.floor, jnp.sqrt(SMALLEST * norm))
    size = len(product)
    common = root_trace(product + floor**2 * jnp.eye(size, dtype=product.dtype)) - size * floor
    of_style, of_noisy = target.traces
    spread = variance - of_style - 2 * common + 2 * (of_noisy - channels * target.floor)
    distance = jnp.square(found.mean - target.mean).mean() + spread / channels
    return _scaled("wasserstein", distance, jnp.square(target.mean).mean() + of_style / channels, convention)


def _times(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def sliced(*, key: int = 0, projections: int | None = None, bins: int = 1024) -> StyleStatistic:
    """The statistic `sliced` with other directions.

    Heitz et al. draw directions anew for every evaluation; here they are the same ones every time, so that the loss is
    a function of the image. Along each, the sorted features are averaged in equal shares, so that images of different
    sizes compare. It takes no masks.

    Args:
      key: seed of the directions.
      projections: directions of each layer; None: as many as it has channels.
      bins: shares along a direction, each with an equal number of positions.

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
        ordered = jnp.sort(_times(f.reshape(count, -1), directions), axis=0)
        first = np.arange(bins) * count // bins
        last = np.maximum(first + 1, np.arange(1, bins + 1) * count // bins)
        places = first[:, None] + np.arange((last - first).max())
        shares = np.where(places < last[:, None], 1 / (last - first)[:, None], 0)
        taken = ordered[np.minimum(places, count - 1)]
        return jnp.einsum("bnd,bn->bd", taken, shares.astype(f.dtype), precision=lax.Precision.HIGHEST)

    def distance(found: jax.Array, target: jax.Array, *, convention: str) -> jax.Array:
        found, target = promoted(found, target)
        return _scaled("sliced", jnp.square(found - target).mean(), jnp.square(target).mean(), convention)

    return StyleStatistic(measure, distance)


_BY_NAME: dict[str, StyleStatistic] = {
    "gram": StyleStatistic(gram_matrix, style_loss),
    "centered_gram": StyleStatistic(_measure_centered_gram, style_loss),
    "wasserstein": StyleStatistic(_measure_gaussian, _distance_of_gaussians, _prepare_gaussian),
    "moments": StyleStatistic(_measure_moments, _distance_of_moments),
    "sliced": sliced(),
}
