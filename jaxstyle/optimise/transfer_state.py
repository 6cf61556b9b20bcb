"""The types `Transfer`, a style transfer as pure functions, and `State`, what it carries from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses


@runtime_checkable
class State(Protocol):
    """State of a transfer, a pytree: a `TransferState`, or a state that wraps one, such as `stopping.StoppingState`.

    Its parts may have further attributes, which `offered` finds. `accepted` is the best image so far, in the state of
    an optimiser that goes back to it from worse images. `stopped` and `failed` are in the state of a transfer that
    stops by itself. A state that wraps another has a method `carried` for `pyramid.carry`.
    """

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the current image."""
        ...

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far."""
        ...


StateT = TypeVar("StateT", bound=State)


def offered(state: Any, name: str) -> Any:
    """Find an attribute that some part of a state has.

    Args:
      state: a pytree, such as the state of a transfer, or of an optimiser that is made of others.
      name: the attribute's name.

    Returns:
      The attribute of the first part that has it; None if no part has it.
    """
    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, name))
    return next((getattr(part, name) for part in parts if hasattr(part, name)), None)


def check_one_image(image: ArrayLike, wrapper: str) -> None:
    """Check that a transfer was wrapped before it was given lanes.

    Args:
      image: the argument of the transfer's `init`, which must be (h, w, 3).
      wrapper: name of the function that wraps the transfer, for the message.

    Raises:
      ValueError: if the image has other axes.
    """
    if jnp.ndim(image) != 3:
        raise ValueError(
            f"{wrapper} takes a transfer of one image (h, w, 3), got shape {jnp.shape(image)}; "
            f"lanes come last: make_lanes({wrapper}(transfer), weights)"
        )


class TransferState(NamedTuple):
    """State of a transfer from `make_transfer`.

    Attributes:
      image: (h, w, 3) the current image.
      optimizer: state of the optax transformation.
    """

    image: Float[Array, "*lanes h w 3"]
    optimizer: Any

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far: the optimiser's `accepted` image if it has one, else `image`."""
        accepted = offered(self.optimizer, "accepted")
        return self.image if accepted is None else accepted


class Transfer(NamedTuple):
    """A style transfer as pure functions, which are not jitted. Each kind of transfer has a state of its own.

    Attributes:
      init: image -> state, which is a `TransferState` if the transfer is from `make_transfer`.
      step: (state, params, targets, weights) -> (state, Losses of the image before the step).
      losses: (image, params, targets, weights) -> Losses of the image.
    """

    init: Callable[[Float[ArrayLike, "*lanes h w 3"]], Any]
    step: Callable[[Any, Params, Any, LossWeights], tuple[Any, Losses]]
    losses: Callable[[Float[Array, "*lanes h w 3"], Params, Any, LossWeights], Losses]


def check_state(state: Any) -> None:
    """Check that an argument is a state.

    Args:
      state: the argument.

    Raises:
      ValueError: if it is anything else, such as an image.
    """
    if not hasattr(state, "picture"):
        raise ValueError(f"state must be a state, as transfer.init(image) gives it, got {type(state).__name__}")


export.register_namedtuple_serialization(TransferState, serialized_name="jaxstyle.TransferState")
