"""Which optimisers a transfer takes: any optax transformation of one image, but for those that want more than one."""

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
"""By the name of the function that makes them: a name of optax, and why they can't work."""


def check_optimizer(optimizer: object) -> optax.GradientTransformationExtraArgs:
    """Check an optimiser, also those that it is made of.

    Args:
      optimizer: an optax transformation.

    Returns:
      The same, which takes any keyword in its update.

    Raises:
      ValueError: for what is no optax transformation, and for one that can't work on one image.
    """
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(f"optimizer must be an optax transformation, such as optax.adam(0.03), got {optimizer!r}")
    for name in _makers(optimizer, set()):
        if name in _REFUSED:
            shown, why = _REFUSED[name]
            raise ValueError(f"optimizer can't be or contain {shown}: {why}; take another, such as optax.adam(0.03)")
    return optax.with_extra_args_support(optimizer)  # pyright: ignore[reportArgumentType]


def _makers(part: Any, seen: set[int]) -> Iterable[str]:
    """Names of the functions of optax that made the transformations in something, found in what its functions hold."""
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
    owner = getattr(part, "__self__", part)  # of a bound method
    if hasattr(owner, "init") and hasattr(owner, "update"):  # an object, such as optax.MultiSteps
        return list(getattr(owner, "__dict__", {}).values())
    return [cell.cell_contents for cell in getattr(part, "__closure__", None) or () if _is_filled(cell)]


def _is_filled(cell: Any) -> bool:
    """Whether a function's cell holds anything: of a function that names itself it may not yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


_ODD = (5, 7, 11)  # a shape that an array for images of three channels does not go with


def check_hyperparameters(optimizer: optax.GradientTransformationExtraArgs, image: jax.Array) -> None:
    """Check that no hyperparameter of an optimiser is an array which has some axes of an image but not all.

    Such an array, as of rates for lanes, would be spread over colour channels or columns without a word.

    Args:
      optimizer: an optax transformation.
      image: (h, w, 3).

    Raises:
      ValueError: for such an optimiser.
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

    # Optimisers may widen arrays of their own: what works for any image is right.
    if fails(image.shape, "raise") and fails(_ODD, "allow"):
        raise ValueError(
            "optimizer has an array for a hyperparameter, which would be spread over colour channels or columns: "
            "give a number; for one a lane, make the optimiser inside of a function that jax.vmap maps over lanes"
        )
