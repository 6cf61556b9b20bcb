"""Averaging of iterates: the picture is an exponential moving average of the images that an optimiser went through.

The noise of a constant learning rate cancels out (Polyak and Juditsky 1992); started from 0 and divided by the sum of
the weights, as Adam's moments are, so that the start counts for nothing (crowsonkb/style-transfer-pytorch does so).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.objective import Losses, LossWeights, Targets
from jaxstyle.transfer import Transfer, TransferState
from jaxstyle.vgg import Params


class AveragingState(NamedTuple):
    """State of a transfer whose images are averaged.

    Attributes:
      image: (h, w, 3) the image so far, which the next step starts from.
      optimizer: state of the optax transformation.
      total: (h, w, 3) weighted sum of the images after each step.
      weight: () sum of the weights, below 1; 0 before the first step.
    """

    image: Float[Array, "*lanes h w 3"]
    optimizer: Any
    total: Float[Array, "*lanes h w 3"]
    weight: Float[Array, "*lanes"]

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the average; before the first step, the image."""
        weight = self.weight[..., None, None, None]
        return jnp.where(weight > 0, self.total / jnp.where(weight > 0, weight, 1), self.image)


export.register_namedtuple_serialization(AveragingState, serialized_name="jaxstyle.AveragingState")


def make_averaging(transfer: Transfer, *, decay: float = 0.95) -> Transfer:
    """The transfer, whose `state.picture` is the average of its images; the steps themselves are as without.

    Args:
      transfer: from `make_transfer`, before `make_stopping` and `make_lanes`.
      decay: weight of the images before a step against that after it, in [0, 1): 0.95 averages about 20 steps.

    Returns:
      A transfer of `AveragingState`.

    Raises:
      ValueError: for a decay outside of [0, 1).
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}")

    def init(image: Float[ArrayLike, "h w 3"]) -> AveragingState:
        state = transfer.init(image)
        return AveragingState(
            state.image, state.optimizer, jnp.zeros_like(state.image), jnp.zeros((), state.image.dtype)
        )

    def step(
        state: AveragingState, params: Params, targets: Targets, weights: LossWeights
    ) -> tuple[AveragingState, Losses]:
        after, losses = transfer.step(TransferState(state.image, state.optimizer), params, targets, weights)
        total = decay * state.total + (1 - decay) * after.image
        return AveragingState(after.image, after.optimizer, total, decay * state.weight + (1 - decay)), losses

    return Transfer(init, step, transfer.losses)
