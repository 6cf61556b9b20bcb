"""Checks of optimisers: a transfer takes any optax transformation of one image.

Transformations that need more than one image, or other functions of the loss, are refused.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

_REFUSED = {
    "lookahead": ("optax.lookahead", "it keeps two images"),
    "sam": ("optax.contrib.sam", "every other step of it goes where the loss is high"),
    "differentially_private_aggregate": ("optax.contrib.dpsgd", "it wants the gradients of many examples"),
    "hutchinson_estimator_diag_hessian": ("optax.contrib.sophia", "it wants a function for the loss's curvature"),
}
"""{name of the function that makes a transformation: (its name in optax, why it can't work)}."""


def check_optimizer(optimizer: object) -> optax.GradientTransformationExtraArgs:
    """Check an optimiser and the transformations that it is made of.

    Args:
      optimizer: an optax transformation.

    Returns:
      The same transformation, whose `update` now accepts any keyword.

    Raises:
      ValueError: if it is no optax transformation, or can't work on one image.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"optimizer must be an optax transformation, such as optax.adam(0.03), got {optimizer!r}")
    for name in _makers(optimizer, set()):
        if name in _REFUSED:
            shown, why = _REFUSED[name]
            raise ValueError(f"optimizer can't be or contain {shown}: {why}; take another, such as optax.adam(0.03)")
    return optax.with_extra_args_support(optimizer)  # pyright: ignore[reportArgumentType]


def _makers(part: Any, seen: set[int]) -> Iterable[str]:
    """Find the names of the optax functions that made an object, by following what its functions hold."""
    if id(part) in seen:
        return
    seen.add(id(part))
    for held in _held(part):
        yield from _makers(held, seen)
    if isinstance(part, Callable) and (getattr(part, "__module__", None) or "").startswith("optax"):
        yield getattr(part, "__qualname__", "").split(".")[0]


def _held(part: Any) -> Iterable[Any]:
    if isinstance(part, Mapping):
        return list(part.values())
    if isinstance(part, tuple | list):
        return part
    if isinstance(part, partial):
        return [part.func, *part.args, *part.keywords.values()]
    owner = getattr(part, "__self__", part)  # a bound method holds its object
    if hasattr(owner, "init") and hasattr(owner, "update"):  # an object, such as optax.MultiSteps
        return list(getattr(owner, "__dict__", {}).values())
    return [cell.cell_contents for cell in getattr(part, "__closure__", None) or () if _is_filled(cell)]


def _is_filled(cell: Any) -> bool:
    """Tell whether a function's cell holds anything. The cell of a function that names itself may still be empty."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


_ODD = (5, 7, 11)  # arrays for images of three channels can't be broadcast to this shape


def check_hyperparameters(optimizer: optax.GradientTransformationExtraArgs, image: jax.Array) -> None:
    """Check that no hyperparameter of an optimiser is an array that has some axes of an image but not all.

    Such an array, for instance of rates for lanes, would be broadcast over colour channels or columns without an error.

    Args:
      optimizer: an optax transformation.
      image: (h, w, 3).

    Raises:
      ValueError: if a hyperparameter is such an array.
    """

    def fails(shape: tuple[int, ...], promotion: str) -> bool:
        def update(image: jax.Array) -> Any:
            value = jnp.square(image).sum()
            extra = {"value": value, "grad": image, "value_fn": lambda x: jnp.square(x).sum()}
            return optimizer.update(image, optimizer.init(image), image, **extra)

        try:
            with jax.numpy_rank_promotion(promotion), jax.numpy_dtype_promotion("standard"):
                jax.eval_shape(update, jax.ShapeDtypeStruct(shape, image.dtype))
        except (TypeError, ValueError) as error:
            return "broadcast" in str(error)
        return False

    # Optimisers may broadcast arrays of their own; what works for an image of any shape is right.
    if fails(image.shape, "raise") and fails(_ODD, "allow"):
        raise ValueError(
            "optimizer has an array for a hyperparameter, which would be spread over colour channels or columns: "
            "give a number; for one a lane, make the optimiser inside of a function that jax.vmap maps over lanes"
        )
