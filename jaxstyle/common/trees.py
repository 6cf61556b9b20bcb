"""Several pytrees as one with a leading axis, and back."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.common.dtypes import promoted


def stack(trees: list[Any]) -> Any:
    """One pytree out of several.

    Args:
      trees: pytrees of one structure and of the same shapes.

    Returns:
      A pytree, each leaf with a leading axis for them.
    """
    return jax.tree.map(lambda *leaves: jnp.stack(promoted(*leaves)), *trees)


def unstack(tree: Any) -> list[Any]:
    """The pytrees that `stack` made one of.

    Args:
      tree: a pytree whose leaves have a leading axis of one length.

    Returns:
      As many pytrees.
    """
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]
