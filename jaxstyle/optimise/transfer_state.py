"""States of a transfer, what their parts offer, and the transfer as a pair of functions."""

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
    """State of an optimisation, a pytree: `TransferState`, or what holds one, such as `stopping.StoppingState`.

    Parts of it may offer more (see `offered`): `accepted`, the best image so far, by an optimiser that goes back to it
    from worse ones; `stopped` and `failed`, by transfers that stop by themselves. A state that holds another has a
    method `carried`, for `pyramid.carry`.
    """

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the image so far."""
        ...

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far."""
        ...


StateT = TypeVar("StateT", bound=State)


def offered(state: Any, name: str) -> Any:
    """What a part of a state offers under a name.

    Args:
      state: a pytree, such as the state of a transfer, or of an optimiser that is made of others.
      name: of an attribute.

    Returns:
      That attribute of the first part that has it; None where none has.
    """
    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, name))
    return next((getattr(part, name) for part in parts if hasattr(part, name)), None)


def check_one_image(image: ArrayLike, wrapper: str) -> None:
    """Check that a transfer is wrapped before it takes lanes.

    Args:
      image: (h, w, 3) what a state is made of.
      wrapper: name of the function that wraps it.

    Raises:
      ValueError: for an image with other axes.
    """
    if jnp.ndim(image) != 3:
        raise ValueError(
            f"{wrapper} takes a transfer of one image (h, w, 3), got shape {jnp.shape(image)}; "
            f"lanes come last: make_lanes({wrapper}(transfer), weights)"
        )


class TransferState(NamedTuple):
    """State of the optimisation.

    Attributes:
      image: (h, w, 3) the image so far.
      optimizer: state of the optax transformation.
    """

    image: Float[Array, "*lanes h w 3"]
    optimizer: Any

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far: the image, or the one that the optimiser has accepted."""
        accepted = offered(self.optimizer, "accepted")
        return self.image if accepted is None else accepted


class Transfer(NamedTuple):
    """A style transfer as pure functions, none of them jitted, of a state of its own kind.

    Attributes:
      init: image -> state: a TransferState, if the transfer is from `make_transfer`.
      step: (state, params, targets, weights) -> (state, Losses of the image before the step).
      losses: (image, params, targets, weights) -> Losses of the image.
    """

    init: Callable[[Float[ArrayLike, "*lanes h w 3"]], Any]
    step: Callable[[Any, Params, Any, LossWeights], tuple[Any, Losses]]
    losses: Callable[[Float[Array, "*lanes h w 3"], Params, Any, LossWeights], Losses]


def check_state(state: Any) -> None:
    """Check what a transfer starts from.

    Args:
      state: what should be a state.

    Raises:
      ValueError: for anything else, such as an image.
    """
    if not hasattr(state, "picture"):
        raise ValueError(f"state must be a state, as transfer.init(image) gives it, got {type(state).__name__}")


export.register_namedtuple_serialization(TransferState, serialized_name="jaxstyle.TransferState")
