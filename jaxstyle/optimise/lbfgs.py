"""L-BFGS for pictures: pixels stay within bounds, and a step costs one evaluation of loss and gradient in every lane.

Line searches evaluate until they are satisfied, so that under vmap all lanes wait for the slowest. Here each step is
one evaluation: a step that raised the loss is taken back and a shorter one tried from where it began, at the next.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import export, lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jaxstyle.optimise.lbfgs_curvature import Pixels, Waves, apply_curvature, first_curvature, learn_curvature

_BOLDNESS = 2.0  # of the first guess: by the last pair's change alone, it moves too little
_CURVATURE = 1e-4  # cosine of step and change of gradient above which a pair says something about the curvature
_GROWTH = 2.0  # of the longest step, over one that lowered the loss
_PRECISION = lax.Precision.HIGHEST  # the default of TPUs and recent GPUs rounds operands
_SHRINKAGE = 0.5  # of the longest step, over one that did not


class LbfgsState(NamedTuple):
    """State of `lbfgs`: 2 * memory_size + 4 images.

    Attributes:
      steps: (memory_size, h, w, 3) differences of images, one after another, the oldest overwritten in its place;
        unused ones are 0.
      changes: (memory_size, h, w, 3) differences of the images' gradients, likewise.
      stored: () number of pairs that have been stored.
      pixels: (2, h, w, 3) what the first guess of the curvature knows about pixels, see `curvature`.
      waves: (2, bands, 3) what it knows about spatial frequencies and colours.
      image: (h, w, 3) the best image so far.
      gradient: (h, w, 3) its gradient.
      value: () its loss; infinite before the first step.
      radius: () largest root mean square of the next step's pixels.
    """

    steps: Float[Array, "*lanes memory_size h w 3"]
    changes: Float[Array, "*lanes memory_size h w 3"]
    stored: Int[Array, "*lanes"]
    pixels: Pixels
    waves: Waves
    image: Float[Array, "*lanes h w 3"]
    gradient: Float[Array, "*lanes h w 3"]
    value: Float[Array, "*lanes"]
    radius: Float[Array, "*lanes"]

    @property
    def accepted(self) -> Float[Array, "*lanes h w 3"]:
        """(h, w, 3) the best image so far; the one to start from before the first step."""
        return self.image


export.register_namedtuple_serialization(LbfgsState, serialized_name="jaxstyle.LbfgsState")


def lbfgs(
    memory_size: int = 5,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    first_step: float = 0.01,
    max_step: float = 0.1,
) -> optax.GradientTransformationExtraArgs:
    """Make the optimiser, which `make_transfer` takes with the same bounds.

    With s and y the last steps and changes of gradient, the direction is that of L-BFGS (Nocedal 1980), computed over
    the free pixels alone: those not at a bound which the gradient pushes them against (Bertsekas 1982). Where the
    pairs say nothing about the curvature, L-BFGS takes all directions for equal; here a first guess of it by pixel,
    spatial frequency and colour is learnt from all pairs so far (see `curvature`), which matters more than their
    number. The step is no longer than a radius, and clipped to the bounds; s is what is left. Where the loss has gone
    up, the next step begins at the best image again, within half the length of the one that failed, whose s and y count
    nevertheless. A pair counts if its curvature is positive. An image whose loss or gradient is not finite is gone back
    from likewise, but tells nothing about the curvature.

    Nothing is searched for and nothing branches, so lanes cost what one costs each. `update` wants the keyword `value`,
    the loss at `params`, as `make_transfer` gives it. The loss of the image after the last step has not been looked at:
    a transfer's picture is the best one before it, `LbfgsState.accepted`.

    Args:
      memory_size: pairs that are kept, two images each.
      bounds: (low, high) of pixels; None: none.
      first_step: root mean square of the first step, which goes down the smoothed gradient, in units of pixel values.
      max_step: largest root mean square of a step.

    Returns:
      An optax transformation, whose state is a `LbfgsState`.

    Raises:
      ValueError: for a memory_size below 1.

    Example:
      >>> import jax.numpy as jnp, jaxstyle as js
      >>> transfer = js.make_transfer(js.make_objective(js.make_features()).loss, js.lbfgs(memory_size=5))
      >>> transfer.init(jnp.zeros((12, 16, 3))).optimizer.steps.shape
      (5, 12, 16, 3)
    """
    if memory_size < 1:
        raise ValueError(f"memory_size must be 1 or more, got {memory_size}")

    def init(image: jax.Array) -> LbfgsState:
        # Every leaf in memory of its own, so that the state can be donated.
        steps, changes = (jnp.zeros((memory_size, *image.shape), image.dtype) for _ in range(2))
        pixels, waves = first_curvature(image)
        infinite, radius = jnp.full((), jnp.inf, image.dtype), jnp.full((), first_step, image.dtype)
        stored, copy = jnp.zeros((), int), jnp.array(image, copy=True)
        return LbfgsState(steps, changes, stored, pixels, waves, copy, jnp.zeros_like(image), infinite, radius)

    def update(
        gradient: jax.Array, state: LbfgsState, image: jax.Array, *, value: jax.Array, **_: Any
    ) -> tuple[jax.Array, LbfgsState]:
        begun, finite = jnp.isfinite(state.value), jnp.isfinite(value) & jnp.isfinite(gradient).all()
        better = finite & (value <= state.value)
        gradient = jnp.where(finite, gradient, state.gradient)  # no change, so that no pair is stored
        step, change = image - state.image, gradient - state.gradient
        length = _rms(step)
        radius = jnp.where(better, jnp.maximum(state.radius, _GROWTH * length), _SHRINKAGE * length)
        radius = jnp.where(begun, jnp.minimum(radius, max_step), first_step)
        keep = partial(jnp.where, better)
        best = {"image": keep(image, state.image), "gradient": keep(gradient, state.gradient)}
        state = _remember(state, step, change, begun)
        state = state._replace(**best, value=keep(value, state.value), radius=radius)
        target = state.image + _next_step(state, bounds)
        return (target if bounds is None else jnp.clip(target, *bounds)) - image, state

    # The protocols of optax know neither arrays as all of `params` nor a keyword without a default.
    return optax.GradientTransformationExtraArgs(cast(Any, init), cast(Any, update))


def _remember(state: LbfgsState, step: jax.Array, change: jax.Array, begun: jax.Array) -> LbfgsState:
    """The state with one more pair, if it counts."""
    curved = _dot(step, change) > _CURVATURE * jnp.sqrt(_dot(step, step) * _dot(change, change))
    row, store = state.stored % len(state.steps), begun & curved
    steps, changes = (
        history.at[row].set(jnp.where(store, new, history[row]))
        for history, new in ((state.steps, step), (state.changes, change))
    )
    learnt = learn_curvature(state.pixels, state.waves, step, change, state.stored)
    pixels, waves = (jnp.where(store, *x) for x in zip(learnt, (state.pixels, state.waves), strict=True))
    stored = state.stored + store.astype(state.stored.dtype)
    return state._replace(steps=steps, changes=changes, stored=stored, pixels=pixels, waves=waves)


def _next_step(state: LbfgsState, bounds: tuple[float, float] | None) -> jax.Array:
    image, gradient = state.image, state.gradient
    free = jnp.ones_like(image, bool)
    if bounds is not None:
        free = ~(((image <= bounds[0]) & (gradient > 0)) | ((image >= bounds[1]) & (gradient < 0)))
    gradient = jnp.where(free, gradient, 0)
    direction = -_precondition(state, gradient, free)
    # The first step, and whatever rounding may spoil, goes down the gradient, as far as allowed.
    simple = -jnp.where(free, apply_curvature(state.pixels, state.waves, gradient), 0)
    simple = simple * (state.radius / _rms(simple))
    direction = jnp.where((state.stored > 0) & (_dot(direction, gradient) < 0), direction, simple)
    return direction * jnp.minimum(1, state.radius / _rms(direction))


def _precondition(state: LbfgsState, gradient: jax.Array, free: jax.Array) -> jax.Array:
    """The inverse Hessian over free pixels times the gradient (h, w, 3), which is 0 elsewhere.

    With S and Y the history from the oldest on, an image a row, R the upper triangle of SY', D its diagonal and B the
    first guess of the inverse Hessian: the two-loop recursion is p = R^-1 S g, r = B (g - Y'p) and
    r + S' R^-T (D p - Y r). A pair of no curvature within the free pixels is left out.
    """
    steps, changes = state.steps, state.changes
    guess_of = partial(apply_curvature, state.pixels, state.waves)
    # Oldest first, in the small arrays only; histories are not masked where what they meet is.
    order = (state.stored + jnp.arange(len(steps))) % len(steps)
    mask = free.astype(gradient.dtype)[None]
    sy = _dot(steps, changes * mask)[order][:, order]
    d = jnp.diagonal(sy)
    # By products with the mask, which XLA's CPU backend vectorises here; selections it doesn't.
    ss, yy = ((jnp.square(x) * mask).sum((1, 2, 3))[order] for x in (steps, changes))
    used = d > _CURVATURE * jnp.sqrt(ss * yy)
    d = jnp.where(used, d, 0)
    r = jnp.where(used[:, None] & used, jnp.triu(sy), 0) + jnp.diag(jnp.where(used, 0, 1).astype(sy.dtype))
    p = solve_triangular(r, jnp.where(used, _dot(steps, gradient)[order], 0))
    place = jnp.argsort(order)
    rest = gradient - jnp.where(free, _combine(p[place], changes), 0)
    last = jnp.max(jnp.where(used, jnp.arange(len(used)), 0))
    y = jnp.where(free, changes[order[last]], 0)
    rest, smooth = (jnp.where(free, guess_of(x), 0) for x in (rest, y))
    # Not 0 / 0 before there is a pair: its derivative is NaN even where it isn't taken.
    scale = _BOLDNESS * d[last] / jnp.where(used.any(), _dot(y, smooth), 1)
    guess = scale * rest
    q = solve_triangular(r, jnp.where(used, d * p - _dot(changes, guess)[order], 0), trans=1)
    return guess + jnp.where(free, _combine(q[place], steps), 0)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """Inner products of images (..., h, w, 3), of each in x with each in y."""
    images = [tuple(range(x.ndim - 3, x.ndim)), tuple(range(y.ndim - 3, y.ndim))]
    return jnp.tensordot(x, y, images, precision=_PRECISION)


def _combine(factors: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.tensordot(factors, images, 1, precision=_PRECISION)


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)) + jnp.finfo(x.dtype).tiny)
