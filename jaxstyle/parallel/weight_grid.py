"""Loss weights of many lanes: grids of them, and which of their leaves have a lane axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Real

from jaxstyle.common.checks import known
from jaxstyle.objective.loss_weights import SCALARS, LossWeights

Values = Real[ArrayLike, "..."] | list[float] | tuple[float, ...]
"""One value, or a list of values."""

Vectors = Real[ArrayLike, "..."] | list[list[float]] | list[float] | tuple[Any, ...] | None
"""One vector of weights, a list of vectors, or None for equal weights."""


def weight_grid(
    *,
    alpha: Values = 1.0,
    beta: Values = 1.0,
    tv: Values = 0.0,
    content_layers: Vectors = None,
    style_layers: Vectors = None,
    style_mix: Vectors = None,
) -> LossWeights:
    """Make LossWeights of all combinations of the given values, a lane each; the last argument varies fastest.

    Args:
      alpha: content weights, a scalar or a list.
      beta: style weights, likewise.
      tv: total-variation weights, likewise.
      content_layers: weights of the content layers, one vector (layers,) or a list of vectors (n, layers); None: equal.
      style_layers: weights of the style layers, likewise.
      style_mix: weights of the style images, likewise.

    Returns:
      LossWeights with alpha, beta and tv of shape (lanes,), and what else was given of shape (lanes, n).

    Raises:
      ValueError: for an empty list, one of too many dimensions, and what is no number; for alpha, beta and tv below 0
        (where values are known: not in a function that is traced).

    Examples:
      >>> import jaxstyle as js
      >>> grid = js.weight_grid(alpha=[1.0, 2.0], beta=[0.5, 1.0, 4.0])
      >>> grid.alpha.tolist(), grid.beta.tolist()
      ([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], [0.5, 1.0, 4.0, 0.5, 1.0, 4.0])
      >>> js.weight_grid(beta=[1.0, 10.0], style_mix=[[1.0, 0.0], [0.5, 0.5]]).style_mix.tolist()
      [[1.0, 0.0], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5]]
    """
    given = {
        "alpha": alpha,
        "beta": beta,
        "tv": tv,
        "content_layers": content_layers,
        "style_layers": style_layers,
        "style_mix": style_mix,
    }
    axes = {name: _as_axis(name, value) for name, value in given.items() if value is not None}
    places = jnp.meshgrid(*(jnp.arange(len(values)) for values in axes.values()), indexing="ij")
    leaves: dict[str, Any] = {
        name: values[place.ravel()] for (name, values), place in zip(axes.items(), places, strict=True)
    }
    return LossWeights(**leaves)


def _as_axis(name: str, value: Any) -> jax.Array:
    """The values of a leaf with a leading axis; raises ValueError unless they are numbers in the right shape."""
    rank = _rank(name)
    values = [known(leaf) for leaf in jax.tree.leaves(value)]
    try:
        numbers = [np.asarray(found, float) for found in values if found is not None]
        if not all((np.isfinite(x) if rank else x >= 0).all() for x in numbers):
            raise ValueError
        axis = jnp.asarray(value, dtype=float)
    except (TypeError, ValueError):
        wanted = "a vector of finite numbers or a list of vectors" if rank else "a number >= 0 or a list of them"
        raise ValueError(f"{name} must be {wanted}, got {value!r}") from None
    if axis.ndim not in (rank, rank + 1) or not axis.size:
        what = "a vector or a list of vectors" if rank else "a scalar or a list of at least one value"
        raise ValueError(f"{name} must be {what}, got shape {axis.shape}")
    return axis[None] if axis.ndim == rank else axis


def _rank(name: str) -> int:
    """Axes of a leaf of LossWeights without lanes."""
    return 0 if name in SCALARS else 1


def lane_axes(weights: LossWeights) -> LossWeights:
    """Find which leaves of weights have a lane axis, as vmap's in_axes.

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
        rank = _rank(name)
        extra = jnp.ndim(leaf) - rank
        if extra not in (0, 1):
            raise ValueError(f"weights.{name} must have {rank} axes, or {rank + 1} with lanes, got {jnp.shape(leaf)}")
        if extra:
            axes[name] = 0
            counts[name] = jnp.shape(leaf)[0]
    if len(set(counts.values())) != 1:
        raise ValueError(f"weights must have one number of lanes, got {counts or 'no lane axis'}")
    return LossWeights(**axes)


def num_lanes(weights: LossWeights) -> int:
    """Count the lanes of weights.

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
    """Repeat the last lane until the number of lanes is a multiple of `multiple`, as `make_lanes` wants for a mesh.

    Args:
      lanes: a pytree whose leaves all have a leading lane axis.
      multiple: for example the number of devices.

    Returns:
      The pytree, each leaf with that many lanes.
    """
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], -len(x) % multiple, axis=0)]), lanes)
