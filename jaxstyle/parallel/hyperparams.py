"""Hyperparameters of optimisers, such as learning rates, one value a lane."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.optimise.transfer_state import StateT


def set_hyperparams(state: StateT, values: Mapping[str, Any]) -> StateT:
    """Give every lane its own values of hyperparameters.

    The optimiser must keep them in its state, as `optax.inject_hyperparams` makes it do.

    Args:
      state: the state of lanes.
      values: {name: (lanes,) values, or one value for all lanes}.

    Returns:
      The state with these values.

    Raises:
      ValueError: for a hyperparameter that the optimiser doesn't keep or has a schedule for, and for values of another
        shape.
    """
    left = set(values)
    seen: set[str] = set()

    def with_values(part: Any) -> Any:
        held = getattr(part, "hyperparams", None)
        if not isinstance(held, Mapping):
            return part
        seen.update(held)
        # optax computes these anew at every update, from their schedules.
        scheduled = sorted(values.keys() & getattr(part, "hyperparams_states", {}).keys())
        if scheduled:
            raise ValueError(
                f"the optimiser computes {', '.join(scheduled)} by a schedule at every step: to set values, give "
                "optax.inject_hyperparams a number in its place"
            )
        own = {name: _as_leaf(name, values[name], leaf) for name, leaf in held.items() if name in values}
        left.difference_update(own)
        return part._replace(hyperparams={**held, **own})

    state = jax.tree.map(
        with_values, state, is_leaf=lambda part: isinstance(getattr(part, "hyperparams", None), Mapping)
    )
    if left:
        kept = f"keeps {', '.join(sorted(seen))}" if seen else "keeps none"
        raise ValueError(
            f"the optimiser has no hyperparameter {', '.join(sorted(left))} to set, it {kept}: make it with "
            "optax.inject_hyperparams, as optax.inject_hyperparams(optax.adam)(learning_rate=0.03)"
        )
    return state


def _as_leaf(name: str, value: Any, leaf: jax.Array) -> jax.Array:
    given = jnp.asarray(value, leaf.dtype)
    if given.shape not in ((), leaf.shape):
        raise ValueError(f"hyperparams[{name!r}] must be one value or of shape {leaf.shape}, got shape {given.shape}")
    return jnp.broadcast_to(given, leaf.shape)
