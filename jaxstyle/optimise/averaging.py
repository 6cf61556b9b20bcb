"""Averaging of iterates: the picture is an exponential moving average of the images that an optimiser went through.

The noise of a constant learning rate cancels out (Polyak and Juditsky 1992); started from 0 and divided by the sum of
the weights, as Adam's moments are, so that the start counts for nothing (crowsonkb/style-transfer-pytorch does so).
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
      transfer: state of that transfer, as it would be without.
      total: (h, w, 3) weighted sum of the pictures after each step.
      weight: () sum of the weights, below 1; 0 before the first step.
    """

    transfer: Any
    total: Float[Array, "*lanes h w 3"]
    weight: Float[Array, "*lanes"]

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the image so far, which the next step starts from."""
        return self.transfer.image

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the average; before the first step, and of one that has failed, the transfer's own picture."""
        failed = offered(self.transfer, "failed")
        averaged = self.weight > 0 if failed is None else (self.weight > 0) & ~failed
        weight = jnp.where(averaged, self.weight, 1)[..., None, None, None]
        return jnp.where(averaged[..., None, None, None], self.total / weight, self.transfer.picture)

    def carried(self, fresh: "AveragingState", inner: Callable[[Any, Any], Any]) -> "AveragingState":
        """The state at another size, which averages anew (see `pyramid.carry`).

        Args:
          fresh: a new state of that size.
          inner: of the old and the new state within, the state that goes on.

        Returns:
          The new state, with what goes on of this one.
        """
        return fresh._replace(transfer=inner(self.transfer, fresh.transfer))


export.register_namedtuple_serialization(AveragingState, serialized_name="jaxstyle.AveragingState")


def make_averaging(transfer: Transfer, *, decay: float = 0.95) -> Transfer:
    """The transfer, whose `state.picture` is the average of its pictures; the steps themselves are as without.

    A step that is not taken, because its loss is not finite or the transfer has stopped, does not count.

    Args:
      transfer: from `make_transfer` or `make_stopping`, before `make_lanes`.
      decay: weight of the pictures before a step against that after it, in [0, 1): 0.95 averages about 20 steps.

    Returns:
      A transfer of `AveragingState`.

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
