"""What a statistic of style is: how it is measured on the features of a layer, and how two styles are compared by it.

Features are channels-last, shape (h, w, c), and belong to one image. Statistics are float64 for float64 features, and
float32 for features of any other dtype.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.objective.losses import check_convention, mask_area

FLAT = 1e-6
"""Square of the constant coordinate that cosines get beside features, over the mean square of their lengths."""

EPSILON = 1e-12
"""Keeps quotients of sums that may be 0 finite."""


class Distance(Protocol):
    """A function that gives the style loss of one layer: distance(found, target, *, convention) -> scalar."""

    def __call__(self, found: Any, target: Any, *, convention: str) -> Float[Array, ""]:
        """Compare the statistic of an image with the target of a style.

        Args:
          found: what `StyleStatistic.measure` gives of the image.
          target: what `StyleStatistic.to_target` makes of the style's.
          convention: one of `losses.CONVENTIONS`.

        Returns:
          A scalar >= 0, to rounding.
        """
        ...


class StyleStatistic(NamedTuple):
    """How to compare styles; `make_objective` takes one for `style_loss`, or its name.

    The names and the formulas behind them are in `style_statistics.style_statistic`.

    Attributes:
      measure: (features (h, w, c), mask (h, w) in [0, 1] or None) -> the statistic, a pytree of arrays. With a mask T,
        each position counts with the weight T^2, as in guided Gram matrices (Gatys et al., arXiv 1611.07865).
      distance: (statistic of the image, target, convention=) -> a scalar; see `Distance`.
      to_target: statistic of a style image -> target: whatever `distance` needs of a style, computed once. Its shapes
        don't depend on the image's size.
      match: None, or (statistic of an image, target) -> matches: which part of the style each part of the image is
        compared with, a pytree of arrays without gradient. `Objective.match` keeps them in the targets, and `distance`
        then gets them as its keyword `matches`; without that keyword it finds them anew.

    Examples:
      >>> import jax.numpy as jnp, jaxstyle as js
      >>> from jaxstyle.objective.statistics.statistic import StyleStatistic
      >>> from jaxstyle.objective.statistics.style_statistics import style_statistic
      >>> def measure(features, mask):  # the mean of each channel, as a style
      ...     return features.mean((0, 1))
      >>> def distance(found, target, *, convention):
      ...     return jnp.square(found - target).mean()
      >>> objective = js.make_objective(js.make_features(), style_loss=StyleStatistic(measure, distance))

      Alone, as a distance of features (h, w, c) and (H, W, c) in a loss of one's own:

      >>> features, other = jnp.ones((4, 5, 8)), jnp.zeros((6, 6, 8))
      >>> sliced = style_statistic("sliced")
      >>> target = sliced.to_target(sliced.measure(other, None))
      >>> float(sliced.distance(sliced.measure(features, None), target, convention="mean")) > 0
      True
    """

    measure: Callable[[Float[Array, "h w c"], Float[Array, "h w"] | None], Any]
    distance: Distance
    to_target: Callable[[Any], Any] = lambda statistic: statistic
    match: Callable[[Any, Any], Any] | None = None


def compare(statistic: StyleStatistic, found: Any, target: Any, matches: Any, convention: str) -> Float[Array, ""]:
    """Compute the style loss of one layer for one style.

    Args:
      statistic: how styles are compared.
      found: its statistic of the image.
      target: its target of the style.
      matches: what it has matched; None: nothing, or it is to match anew.
      convention: one of `losses.CONVENTIONS`.

    Returns:
      A scalar.
    """
    kept = {} if matches is None else {"matches": matches}
    return statistic.distance(found, target, convention=convention, **kept)


def scaled(name: str, distance: Float[Array, ""], energy: Float[Array, ""], convention: str) -> Float[Array, ""]:
    """Scale a distance that does not compare Gram matrices as a convention says.

    Args:
      name: the statistic's name, for the message.
      distance: the distance in the convention `mean`, a scalar.
      energy: the distance of the style from features that are all 0, a scalar.
      convention: "mean" or "relative".

    Returns:
      A scalar.

    Raises:
      ValueError: for a convention of Gram matrices.
    """
    if check_convention(convention) not in ("mean", "relative"):
        raise ValueError(f"convention {convention!r} is for Gram matrices; style_loss {name!r} takes mean or relative")
    return distance / (energy + EPSILON) if convention == "relative" else distance


def weighted_mean(f: Float[Array, "h w c"], mask: Float[Array, "h w"] | None) -> Float[Array, " c"]:
    """Average features over positions.

    Args:
      f: (h, w, c) features.
      mask: (h, w) in [0, 1], whose squares weight the positions; None: all positions count alike.

    Returns:
      (c,).
    """
    if mask is None:
        return f.mean((0, 1))
    mask = mask.astype(f.dtype)
    return jnp.einsum("hwc,hw->c", f, jnp.square(mask), precision=lax.Precision.HIGHEST) / mask_area(mask)
