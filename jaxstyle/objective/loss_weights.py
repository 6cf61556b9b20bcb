"""Weights of the terms of the objective, for one picture or with a leading lane axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float, Real

from jaxstyle.common.checks import known
from jaxstyle.common.dtypes import as_float, promoted

Weight = Real[ArrayLike, "..."]
"""One number, or an array with a number for each lane."""


class LossWeights(NamedTuple):
    """Weights of the terms of the objective; each leaf may be an array with a leading lane axis.

    Attributes:
      alpha: content weight, a scalar >= 0.
      beta: style weight, a scalar >= 0.
      tv: weight of the total variation, a scalar >= 0.
      content_layers: (number of content layers,) weights, used as they are; None: equal, with sum 1.
      style_layers: (number of style layers,) weights, used as they are; None: equal, with sum 1.
      style_mix: (number of style images,) weights of the style images; None: equal, with sum 1.
    """

    alpha: Weight = 1.0
    beta: Weight = 1.0
    tv: Weight = 0.0
    content_layers: Real[ArrayLike, "... _content_layers"] | None = None
    style_layers: Real[ArrayLike, "... _style_layers"] | None = None
    style_mix: Real[ArrayLike, "... _styles"] | None = None


export.register_namedtuple_serialization(LossWeights, serialized_name="jaxstyle.LossWeights")

SCALARS: tuple[str, ...] = ("alpha", "beta", "tv")
"""The leaves of `LossWeights` that are one number a lane; the others are a vector a lane."""


def as_weights(weights: Any) -> Any:
    """Make the leaves of weights arrays.

    Args:
      weights: LossWeights of numbers, lists or arrays.

    Returns:
      LossWeights of floating-point arrays; None stays None.

    Raises:
      ValueError: for a leaf that holds no real numbers, and for alpha, beta or tv below 0, where values are known.
    """
    found = {}
    for name, value in weights._asdict().items():
        optional = name not in SCALARS
        if value is None and optional:
            continue
        try:
            if isinstance(value, Mapping):
                raise TypeError
            # Strong floats, so that 1, 1.0 and an array of them are one type, and a program is compiled once.
            found[name] = as_float(value)
            if jnp.iscomplexobj(found[name]):
                raise TypeError
        except (TypeError, ValueError):
            wanted = f"an array of numbers, in the order of {name}" if optional else "a number, or an array of lanes"
            raise ValueError(f"weights.{name} must be {wanted}, got {type(value).__name__}") from None
        values = None if optional else known(value)
        if values is not None and (values < 0).any():
            raise ValueError(f"weights.{name} must be 0 or more, got {values.min()}")
    return weights._replace(**found)


def weighted_sum(name: str, weights: ArrayLike | None, terms: list[Float[Array, ""]]) -> Float[Array, ""]:
    """Sum terms with their weights.

    Args:
      name: the leaf of `LossWeights` that holds the weights, for the message.
      weights: (number of terms,); None: equal ones, with sum 1.
      terms: scalars; there may be none.

    Returns:
      A scalar, 0 of no terms.

    Raises:
      ValueError: for weights of another shape.
    """
    if weights is not None and jnp.shape(weights) != (len(terms),):
        raise ValueError(f"weights.{name} must have shape ({len(terms)},), got {jnp.shape(weights)}")
    if not terms:
        return jnp.zeros(())
    terms = promoted(*terms)
    if weights is None:
        return sum(terms[1:], terms[0]) / len(terms)
    stacked = jnp.stack(terms)
    return jnp.dot(jnp.asarray(weights, stacked.dtype), stacked, precision=jax.lax.Precision.HIGHEST)
