"""Transfers that stop by themselves: one that fails or diverges keeps its last good image, one that converges its own.

Images are float RGB in [0, 1], shape (h, w, 3), one image: `lanes.py` takes these transfers over many.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Float, Int32, UInt8

from jaxstyle.objective import Losses, LossWeights, Targets
from jaxstyle.transfer import Transfer, TransferState
from jaxstyle.vgg import Params

RUNNING, CONVERGED, NOT_FINITE, DIVERGED = range(4)
"""Values of `StoppingState.status`."""

WINDOW = 25
"""Steps over which an improvement is measured."""


class StoppingState(NamedTuple):
    """State of a transfer that stops by itself.

    Attributes:
      transfer: TransferState; as it was left, with the last good image, of one that failed or diverged.
      good: (h, w, 3) uint8, the image before the last step: its loss is known to be good.
      best: (window,) the lowest total up to each of the last steps, infinite before the first; (1,) without tolerance.
      limit: () a total above this has diverged.
      steps: () int32, steps taken.
      status: () int32, RUNNING or why it stopped.
    """

    transfer: TransferState
    good: UInt8[Array, "*lanes h w 3"]
    best: Float[Array, "*lanes window"]
    limit: Float[Array, "*lanes"]
    steps: Int32[Array, "*lanes"]
    status: Int32[Array, "*lanes"]

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the image so far."""
        return self.transfer.image

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far; of one that failed, its last good image."""
        failed = self.status[..., None, None, None] > CONVERGED
        return jnp.where(failed, self.image, self.transfer.picture)


export.register_namedtuple_serialization(StoppingState, serialized_name="jaxstyle.StoppingState")


def make_stopping(
    transfer: Transfer, *, tolerance: float | None = None, window: int = WINDOW, factor: float = 100.0
) -> Transfer:
    """The transfer, which stops by itself and then leaves its state as it is.

    It stops where a loss or gradient is not finite, or the total is above `factor` times that of the start, or above
    the state's own `limit` if that is larger (0 from `init`; a caller may know a better scale than the start, whose
    total can be tiny). It then goes back to the image before, of which 8 bits a channel are kept. It has converged when
    the lowest total so far fell by no more than `tolerance`, relative to itself, in `window` steps.

    Args:
      transfer: from `make_transfer` or `make_averaging`.
      tolerance: of the relative improvement; None: never converges.
      window: steps that the improvement is taken over.
      factor: of the start's total, which no lane that works reaches.

    Returns:
      A transfer of `StoppingState`, whose losses are NaN after it has stopped; the row at which it stops has them.

    Raises:
      ValueError: for a negative tolerance, a window below 1, or a factor of 1 or less.
    """
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance must be None or 0 or more, got {tolerance}")
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    if not factor > 1:
        raise ValueError(f"factor must be above 1, got {factor}")

    def init(image: Float[ArrayLike, "h w 3"]) -> StoppingState:
        state = transfer.init(image)
        best = jnp.full(1 if tolerance is None else window, jnp.inf, state.image.dtype)
        zero = jnp.int32(0)
        return StoppingState(state, _to_bytes(state.image), best, jnp.zeros((), state.image.dtype), zero, zero)

    def step(
        state: StoppingState, params: Params, targets: Targets, weights: LossWeights
    ) -> tuple[StoppingState, Losses]:
        after, losses = transfer.step(state.transfer, params, targets, weights)
        total = losses.total
        limit = jnp.where(state.steps == 0, jnp.maximum(state.limit, factor * total), state.limit)
        status = jnp.where(total > limit, DIVERGED, jnp.where(jnp.isfinite(total), RUNNING, NOT_FINITE))
        best = state.best
        if tolerance is not None:
            oldest = best[state.steps % window]
            lowest = jnp.minimum(best[(state.steps - 1) % window], total)
            settled = jnp.isfinite(oldest) & (oldest - lowest <= tolerance * oldest)
            status = jnp.where((status == RUNNING) & settled, CONVERGED, status)
            best = best.at[state.steps % window].set(lowest)
        running = state.status == RUNNING
        status = jnp.where(running, status, state.status)
        going, failing = running & (status == RUNNING), running & (status > CONVERGED)
        kept = state.transfer._replace(image=jnp.where(failing, _from_bytes(state), state.image))
        new = StoppingState(
            jax.tree.map(lambda a, b: jnp.where(going, a, b), after, kept),
            jnp.where(going, _to_bytes(state.image), state.good),
            jnp.where(going, best, state.best),
            jnp.where(running, limit, state.limit),
            state.steps + going.astype(jnp.int32),
            status.astype(jnp.int32),
        )
        return new, jax.tree.map(lambda x: jnp.where(running, x, jnp.nan), losses)

    return Transfer(init, step, transfer.losses)


def _to_bytes(image: jax.Array) -> jax.Array:
    return jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8)


def _from_bytes(state: StoppingState) -> jax.Array:
    return state.good.astype(state.image.dtype) / 255
