"""Loss weights of many lanes: grids of them, and which of their leaves have a lane axis."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from jaxstyle.common.checks import known
from jaxstyle.objective.objective import LossWeights

_RANKS = {"alpha": 0, "beta": 0, "tv": 0, "content_layers": 1, "style_layers": 1, "style_mix": 1}


def weight_grid(
    *,
    alpha: Real[ArrayLike, "*alphas"] | Sequence[float] = 1.0,
    beta: Real[ArrayLike, "*betas"] | Sequence[float] = 1.0,
    tv: Real[ArrayLike, "*tvs"] | Sequence[float] = 0.0,
) -> LossWeights:
    """All combinations of the given values as LossWeights with a lane axis; the last argument varies fastest.

    Args:
      alpha: content weights, a scalar or a one-dimensional list.
      beta: style weights.
      tv: total-variation weights.

    Returns:
      LossWeights with alpha, beta and tv of shape (len(alpha) * len(beta) * len(tv),).

    Raises:
      ValueError: for an empty list or one of more than one dimension, and for what is no number >= 0 (where values are
        known: not in a function that is traced).

    Example:
      >>> import jaxstyle as js
      >>> grid = js.weight_grid(alpha=[1.0, 2.0], beta=[0.5, 1.0, 4.0])
      >>> grid.alpha.tolist(), grid.beta.tolist()
      ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [0.5, 1.0, 4.0, 0.5, 1.0, 4.0])
    """
    axes = {"alpha": alpha, "beta": beta, "tv": tv}
    values = {name: jnp.atleast_1d(jnp.asarray(_check_weights(name, x), dtype=float)) for name, x in axes.items()}
    for name, value in values.items():
        if value.ndim != 1 or not value.size:
            raise ValueError(f"{name} must be a scalar or a list of at least one value, got shape {value.shape}")
    grid = jnp.meshgrid(*values.values(), indexing="ij")
    return LossWeights(**{name: x.ravel() for name, x in zip(axes, grid, strict=True)})


def _check_weights(name: str, value: Any) -> Any:
    """The value; raises ValueError unless it is of numbers >= 0, where values are known."""
    values = [known(leaf) for leaf in jax.tree.leaves(value)]
    if any(v is None for v in values):
        return value
    try:
        if not all((np.asarray(v, float) >= 0).all() for v in values):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number >= 0 or a list of them, got {value!r}") from None
    return value


def lane_axes(weights: LossWeights) -> LossWeights:
    """Which leaves of weights have a lane axis, as vmap's in_axes.

    Args:
      weights: LossWeights, at least one leaf of which has a leading lane axis.

    Returns:
      LossWeights: 0 for a leaf with a lane axis, None for one that is the same for all lanes.

    Raises:
      ValueError: for a leaf with more axes than that, leaves whose lane counts differ, or no lane axis at all.
    """
    given = {name: leaf for name, leaf in weights._asdict().items() if leaf is not None}
    axes: dict[str, Any] = dict.fromkeys(weights._fields)
    counts = {}
    for name, leaf in given.items():
        extra = jnp.ndim(leaf) - _RANKS[name]
        if extra not in (0, 1):
            raise ValueError(
                f"weights.{name} must have {_RANKS[name]} axes, or {_RANKS[name] + 1} with lanes, got {jnp.shape(leaf)}"
            )
        if extra:
            axes[name] = 0
            counts[name] = jnp.shape(leaf)[0]
    if len(set(counts.values())) != 1:
        raise ValueError(f"weights must have one number of lanes, got {counts or 'no lane axis'}")
    return LossWeights(**axes)


def num_lanes(weights: LossWeights) -> int:
    """Number of lanes of weights.

    Args:
      weights: LossWeights, at least one leaf of which has a leading lane axis.

    Returns:
      The number.

    Raises:
      ValueError: as `lane_axes` does.
    """
    axes = lane_axes(weights)
    return next(jnp.shape(leaf)[0] for leaf, axis in zip(weights, axes, strict=True) if axis == 0 and leaf is not None)


def pad_lanes(lanes: Any, multiple: int) -> Any:
    """Repeat the last lane until the number of lanes is a multiple of `multiple`, as `make_lanes` wants of a mesh.

    Args:
      lanes: a pytree whose leaves all have a leading lane axis.
      multiple: of which the number of lanes is to be one, for example the number of devices.

    Returns:
      The pytree, each leaf with that many lanes.
    """
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], -len(x) % multiple, axis=0)]), lanes)
