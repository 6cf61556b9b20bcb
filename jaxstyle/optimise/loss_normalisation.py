"""Normalise the loss for optimisers: divide it by a power of two, so that only the ratios alpha : beta : tv matter.

Adam adds a constant to the root of its moments, so without this it would stall at small weights. L-BFGS multiplies
gradients with each other and float32 ends at 1e38, so without this it would stall at large weights.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxstyle.common.checks import known
from jaxstyle.common.dtypes import widen
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses


def check_weights(weights: Any) -> None:
    """Check that not all weights are 0. This needs their values, which are not known in a function that is traced.

    Args:
      weights: LossWeights, with or without a lane axis. Anything else passes; it is up to the loss that takes it.

    Raises:
      ValueError: if alpha, beta and tv of a lane are all 0, or too small for floating-point numbers of full
        precision.
    """
    if not isinstance(weights, LossWeights):
        return
    terms = [known(x) for x in (weights.alpha, weights.beta, weights.tv)]
    values = [np.abs(x.astype(float)) for x in terms if x is not None]
    if len(values) < len(terms):
        return
    if len({x.shape for x in values if x.shape}) > 1:
        return  # weight_grid.lane_axes refuses these
    nothing = np.all([x < jnp.finfo(jnp.result_type(float)).tiny for x in np.broadcast_arrays(*values)], axis=0)
    if nothing.any():
        of_lane = f" of lane {np.argmax(nothing)}" if nothing.ndim else ""
        raise ValueError(f"weights.alpha, beta and tv{of_lane} are all 0: one must be larger, or there is no objective")


def scaled(value: Float[Array, ""], losses: Losses, weights: Any) -> Float[Array, ""]:
    """Divide a loss by the power of two that brings the largest of alpha, beta and tv to at least 1 and below 2.

    If all weights are multiplied by a power of two, the result and its gradient stay the same to the bit, as long as
    the weights stay in the range of numbers of full precision (1.2e-38 to 1.7e38 in float32). If the value is the
    weighted sum of the losses, the value itself may even be too large or too small to be represented.

    Args:
      value: the loss, from any function of (image, params, targets, weights).
      losses: the Losses that belong to it.
      weights: LossWeights of one lane. With weights of another type, the value is returned undivided.

    Returns:
      A scalar, float64 for a float64 value, else float32. Its gradient is divided likewise.
    """
    value = widen(value)
    if not isinstance(weights, LossWeights):
        return value
    factors = [_as_float(x) for x in (weights.alpha, weights.beta, weights.tv)]
    power = _power(factors)

    def total(factors: list[jax.Array]) -> jax.Array:
        a, b, c = (x.astype(value.dtype) for x in factors)
        content, style, tv = (jnp.asarray(x).astype(value.dtype) for x in (losses.content, losses.style, losses.tv))
        return a * content + b * style + c * tv

    over = power.astype(value.dtype) * value
    is_sum = total(factors) == value  # false for a loss that has further terms
    return _with_value(over, jnp.where(is_sum, total([power.astype(x.dtype) * x for x in factors]), over))


def _as_float(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def _power(factors: list[jax.Array]) -> jax.Array:
    dtype = jnp.float64 if any(x.dtype == jnp.float64 for x in factors) else jnp.float32
    largest = lax.stop_gradient(jnp.max(jnp.abs(jnp.stack([x.astype(dtype) for x in factors])), axis=0))
    _, exponent = jnp.frexp(jnp.where((largest > 0) & (largest < jnp.inf), largest, 1))
    # The power is at least the smallest number of full precision: processors treat smaller numbers as 0.
    return jnp.ldexp(jnp.ones((), dtype), jnp.maximum(1 - exponent, jnp.finfo(dtype).minexp))


@jax.custom_jvp
def _with_value(slope: jax.Array, value: jax.Array) -> jax.Array:
    """Return a number that has the value of `value` and the derivative of `slope`."""
    del slope
    return value


@_with_value.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return primals[1], tangents[0]
