"""Averaging of iterates: the picture is an exponential moving average of the images that an optimiser goes through.

The noise of a constant learning rate cancels out (Polyak and Juditsky 1992). The average starts from 0 and is divided
by the sum of its weights, like Adam's moments, so that the starting image has no influence on it. This follows
crowsonkb/style-transfer-pytorch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.transfer_state import Transfer, check_one_image, offered


class AveragingState(NamedTuple):
    """State of a transfer whose pictures are averaged.

    Attributes:
      transfer: the transfer's state, which is the same as without averaging.
      total: (h, w, 3) weighted sum of the pictures after each step.
      weight: () sum of the weights, below 1. It is 0 before the first step.
    """

    transfer: Any
    total: Float[Array, "*lanes h w 3"]
    weight: Float[Array, "*lanes"]

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the current image, from which the next step starts."""
        return self.transfer.image

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the average. Before the first step, and after a failure, it is the transfer's own picture."""
        failed = offered(self.transfer, "failed")
        averaged = self.weight > 0 if failed is None else (self.weight > 0) & ~failed
        weight = jnp.where(averaged, self.weight, 1)[..., None, None, None]
        return jnp.where(averaged[..., None, None, None], self.total / weight, self.transfer.picture)

    def carried(self, fresh: "AveragingState", inner: Callable[[Any, Any], Any]) -> "AveragingState":
        """Move the state to another size (see `pyramid.carry`). The average starts anew.

        Args:
          fresh: a new state of that size.
          inner: a function of the old and the new state of the wrapped transfer that moves that state.

        Returns:
          The new state.
        """
        return fresh._replace(transfer=inner(self.transfer, fresh.transfer))


export.register_namedtuple_serialization(AveragingState, serialized_name="jaxstyle.AveragingState")


def make_averaging(transfer: Transfer, *, decay: float = 0.95) -> Transfer:
    """Wrap a transfer so that `state.picture` is the average of its pictures. The steps stay the same.

    A step does not count if it is not taken, because its loss is not finite or the transfer has stopped.

    Args:
      transfer: from `make_transfer` or `make_stopping`. Wrap it before `make_lanes`.
      decay: in [0, 1). The average so far is multiplied by it at each step; 0.95 averages about 20 steps.

    Returns:
      A transfer whose state is an `AveragingState`.

    Raises:
      ValueError: for a decay outside of [0, 1); from `init`, for more than one image.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}")

    def init(image: Float[ArrayLike, "h w 3"]) -> AveragingState:
        check_one_image(image, "make_averaging")
        state = transfer.init(image)
        return AveragingState(state, jnp.zeros_like(state.image), jnp.zeros((), state.image.dtype))

    def step(
        state: AveragingState, params: Params, targets: Targets, weights: LossWeights
    ) -> tuple[AveragingState, Losses]:
        after, losses = transfer.step(state.transfer, params, targets, weights)
        taken, stopped = ~jnp.isnan(losses.total), offered(after, "stopped")
        if stopped is not None:
            taken &= ~stopped
        total = decay * state.total + (1 - decay) * after.picture
        weight = decay * state.weight + (1 - decay)
        total, weight = (jnp.where(taken, a, b) for a, b in ((total, state.total), (weight, state.weight)))
        return AveragingState(after, total, weight), losses

    return Transfer(init, step, transfer.losses)
