"""Transfers that stop by themselves, when they fail, diverge or converge.

After a failure or divergence, the picture is the last good image. After convergence, it is the image at which the
transfer stopped. Images are float RGB in [0, 1], shape (h, w, 3). These transfers take one image; `lanes.make_lanes`
makes transfers of many.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, ArrayLike, Bool, Float, Int32, UInt8

from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.loss_normalisation import scaled
from jaxstyle.optimise.transfer_state import Transfer, check_one_image, offered

RUNNING, CONVERGED, NOT_FINITE, DIVERGED = range(4)
"""The values of `StoppingState.status`."""

WINDOW = 25
"""Number of steps over which the improvement is measured."""


class StoppingState(NamedTuple):
    """State of a transfer that stops by itself.

    Attributes:
      transfer: state of the wrapped transfer. After a stop, it is the state before the step at which it stopped.
      good: (h, w, 3) uint8, the image before the last step, whose loss is known to be good.
      best: (window,) the lowest total up to each of the last steps, infinite before the first; (1,) without tolerance.
      limit: () a transfer whose total is above this has diverged. Totals are as optimisers see them, that is, divided
        as `make_transfer` says.
      steps: () int32, number of steps taken.
      status: () int32, RUNNING or the reason why it stopped.
    """

    transfer: Any
    good: UInt8[Array, "*lanes h w 3"]
    best: Float[Array, "*lanes window"]
    limit: Float[Array, "*lanes"]
    steps: Int32[Array, "*lanes"]
    status: Int32[Array, "*lanes"]

    @property
    def stopped(self) -> Bool[Array, "*lanes"]:
        """() whether the transfer has stopped."""
        return self.status != RUNNING

    @property
    def failed(self) -> Bool[Array, "*lanes"]:
        """() whether the transfer has stopped because it was not finite or diverged."""
        return self.status > CONVERGED

    @property
    def image(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the current image; after a failure, the last good image."""
        return self._unless_failed(self.transfer.image)

    @property
    def picture(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) what the transfer has made so far; after a failure, the last good image."""
        return self._unless_failed(self.transfer.picture)

    def carried(self, fresh: "StoppingState", inner: Callable[[Any, Any], Any]) -> "StoppingState":
        """Move the state to another size. A transfer that has failed stays failed; one that has converged goes on.

        Args:
          fresh: a new state of that size.
          inner: a function of the old and the new state of the wrapped transfer that moves that state.

        Returns:
          The new state.
        """
        return fresh._replace(
            transfer=inner(self.transfer, fresh.transfer),
            limit=self.limit,
            steps=self.steps,
            status=jnp.where(self.failed, self.status, RUNNING),
        )

    def _unless_failed(self, image: jax.Array) -> jax.Array:
        good = offered(self.transfer, "accepted")
        if good is None:
            good = self.good.astype(image.dtype) / 255
        return jnp.where(self.failed[..., None, None, None], good, image)


export.register_namedtuple_serialization(StoppingState, serialized_name="jaxstyle.StoppingState")


def make_stopping(
    transfer: Transfer, *, tolerance: float | None = None, window: int = WINDOW, factor: float = 100.0
) -> Transfer:
    """Wrap a transfer so that it stops by itself, and then leaves its state as it is.

    - It fails if a loss or gradient is not finite and the next step would start again from an image whose step was
      tried already.
    - It diverges if the total is above `factor` times the start's total. If the state's own `limit` is larger, that
      holds instead. `init` sets the limit to 0; a caller may know a better scale than the start, whose total can be
      tiny. Transfers with an optimiser that goes back by itself, such as `lbfgs.lbfgs`, don't diverge.
    - It converges when the lowest total so far falls by no more than `tolerance`, relative to itself, in `window`
      steps.

    After a failure or divergence, it goes back to the image before, of which 8 bits per channel are kept.

    Args:
      transfer: from `make_transfer` or `make_averaging`. Wrap it before `make_lanes`.
      tolerance: relative improvement at which it has converged; None: it never converges.
      window: number of steps over which the improvement is measured.
      factor: factor of the start's total above which it has diverged. No lane that works gets there.

    Returns:
      A transfer whose state is a `StoppingState`. Its losses are NaN at all steps after the one at which it stops.

    Raises:
      ValueError: for a negative tolerance, a window below 1, or a factor of 1 or less; from `init`, for more than one
        image.
    """
    if tolerance is not None and not tolerance >= 0:
        raise ValueError(f"tolerance must be None or 0 or more, got {tolerance}")
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    if not factor > 1:
        raise ValueError(f"factor must be above 1, got {factor}")

    def init(image: Float[ArrayLike, "h w 3"]) -> StoppingState:
        check_one_image(image, "make_stopping")
        state = transfer.init(image)
        dtype = state.image.dtype
        best, limit = jnp.full(1 if tolerance is None else window, jnp.inf, dtype), jnp.zeros((), dtype)
        steps, status = (jnp.zeros((), jnp.int32) for _ in range(2))  # separate arrays, so that both can be donated
        return StoppingState(state, _to_bytes(state.image), best, limit, steps, status)

    def step(
        state: StoppingState, params: Params, targets: Targets, weights: LossWeights
    ) -> tuple[StoppingState, Losses]:
        before = state.transfer
        after, losses = transfer.step(before, params, targets, weights)
        total = scaled(losses.total, losses, weights).astype(state.limit.dtype)
        known = ~jnp.isnan(total)
        lowest = state.best[(state.steps - 1) % len(state.best)]
        started = lowest < jnp.inf
        limit = jnp.where(known & ~started, jnp.maximum(state.limit, factor * total), state.limit)
        lowest = jnp.where(known, jnp.minimum(lowest, total), lowest)
        accepted = offered(after, "accepted")
        # If a step starts again from an image whose step was tried already, all steps after it would do so too.
        again = [before.image] if accepted is None else [before.image, accepted]
        new = jnp.array([(after.image != image).any() for image in again]).all() & jnp.isfinite(after.image).all()
        status = jnp.where(known | new, RUNNING, NOT_FINITE)
        if accepted is None:
            status = jnp.where(total > limit, DIVERGED, status)
        if tolerance is not None:
            oldest = state.best[state.steps % window]
            settled = jnp.isfinite(oldest) & (oldest - lowest <= tolerance * oldest)
            status = jnp.where((status == RUNNING) & known & settled, CONVERGED, status)
        running = ~state.stopped
        status = jnp.where(running, status, state.status)
        going = running & (status == RUNNING)
        stopping = StoppingState(
            jax.tree.map(partial(jnp.where, going), after, before),
            jnp.where(going & known, _to_bytes(before.image), state.good),
            jnp.where(going, state.best.at[state.steps % len(state.best)].set(lowest), state.best),
            jnp.where(running, limit, state.limit),
            state.steps + going.astype(jnp.int32),
            status.astype(jnp.int32),
        )
        return stopping, jax.tree.map(lambda x: jnp.where(running, x, jnp.nan), losses)

    return Transfer(init, step, transfer.losses)


def _to_bytes(image: jax.Array) -> jax.Array:
    return jnp.round(jnp.clip(image, 0, 1) * 255).astype(jnp.uint8)
