"""Stack pytrees along a new leading axis, and unstack them."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.common.dtypes import promoted


def stack(trees: list[Any]) -> Any:
    """Stack several pytrees.

    Args:
      trees: pytrees with the same structure and the same shapes.

    Returns:
      One pytree, whose leaves have a new leading axis of length `len(trees)`.
    """
    return jax.tree.map(lambda *leaves: jnp.stack(promoted(*leaves)), *trees)


def unstack(tree: Any) -> list[Any]:
    """Undo `stack`.

    Args:
      tree: a pytree whose leaves all have a leading axis of the same length.

    Returns:
      A list of pytrees without that axis.
    """
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(len(jax.tree.leaves(tree)[0]))]
