"""L-BFGS for pictures: pixels stay within bounds, and a step costs one evaluation of loss and gradient in every lane.

A line search evaluates the loss until it is satisfied, so under vmap all lanes wait for the slowest. Here each step is
one evaluation. If a step raised the loss, the next step goes back to the image before it, and tries a shorter step from
there.
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

from jaxstyle.common.checks import check_bounds, known
from jaxstyle.optimise.lbfgs_curvature import Pixels, Waves, apply_curvature, first_curvature, learn_curvature

_BOLDNESS = 2.0  # factor of the first guess, which moves too little if it is scaled by the last pair alone
_CURVATURE = 1e-4  # cosine of step and change of gradient above which a pair says something about the curvature
_GROWTH = 2.0  # after a step that lowered the loss, the radius is at least this times the step
_PRECISION = lax.Precision.HIGHEST  # by default, TPUs and recent GPUs round operands
_SHRINKAGE = 0.5  # after a step that did not lower the loss, the radius is this times the step


class LbfgsState(NamedTuple):
    """State of `lbfgs`, which takes the memory of 2 * memory_size + 4 images.

    Attributes:
      steps: (memory_size, h, w, 3) differences of images. A new one overwrites the oldest in its place; unused ones
        are 0.
      changes: (memory_size, h, w, 3) differences of the gradients of these images, in the same order.
      stored: () number of pairs that have been stored.
      pixels: (2, h, w, 3) what the first guess of the inverse Hessian knows about pixels, see `lbfgs_curvature`.
      waves: (2, bands, 3) what it knows about spatial frequencies and colours.
      image: (h, w, 3) the best image so far.
      gradient: (h, w, 3) gradient of the loss at that image.
      value: () loss of that image; infinite before the first step.
      radius: () largest root mean square of the next step.
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
        """(h, w, 3) the best image so far. Before the first step, it is the starting image."""
        return self.image


export.register_namedtuple_serialization(LbfgsState, serialized_name="jaxstyle.LbfgsState")


def lbfgs(
    memory_size: int = 5,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    first_step: float = 0.01,
    max_step: float = 0.1,
) -> optax.GradientTransformationExtraArgs:
    """Make the optimiser. `make_transfer` takes it, with the same bounds.

    The direction is that of L-BFGS (Nocedal 1980), computed from pairs of the last steps s and changes of gradient y.
    It is computed over the free pixels only, which are all but those that the gradient pushes against a bound
    (Bertsekas 1982).

    Where the pairs say nothing about the curvature, plain L-BFGS takes all directions to be alike. Here a first guess
    of the inverse Hessian by pixel, spatial frequency and colour is learnt from all pairs so far (see
    `lbfgs_curvature`). It matters more than the number of pairs.

    A step is at most as long as a radius and is clipped to the bounds; s is the clipped step. If the loss went up, the
    next step begins at the best image again, with a radius of half the failed step. The failed step's s and y are
    stored all the same. A pair is stored only if its curvature is positive. From an image whose loss or gradient is not
    finite, the optimiser goes back in the same way, but stores no pair.

    There is no search and no branch, so a lane costs as much among many as it does alone. `update` needs the keyword
    `value`, which is the loss at `params`; `make_transfer` passes it. The loss of the image after the last step is not
    known. So a transfer's picture is the best image before it, `LbfgsState.accepted`.

    Args:
      memory_size: number of pairs that are kept. A pair takes two images.
      bounds: (low, high) of pixel values; None: no bounds.
      first_step: root mean square of the first step, in units of pixel values, but no more than max_step. It goes down
        the smoothed gradient.
      max_step: largest root mean square of a step.

    Returns:
      An optax transformation whose state is an `LbfgsState`.

    Raises:
      ValueError: for a memory_size below 1, a step that is not above 0, and bounds that are not low < high.

    Examples:
      >>> import jax.numpy as jnp, jaxstyle as js
      >>> transfer = js.make_transfer(js.make_objective(js.make_features()).loss, js.lbfgs(memory_size=5))
      >>> transfer.init(jnp.zeros((12, 16, 3))).optimizer.steps.shape
      (5, 12, 16, 3)
    """
    if memory_size < 1:
        raise ValueError(f"memory_size must be 1 or more, got {memory_size}")
    for name, step in (("first_step", first_step), ("max_step", max_step)):
        value = known(step)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, got {step}")
    check_bounds(bounds)

    def first_radius(dtype: Any) -> jax.Array:
        return jnp.minimum(jnp.asarray(first_step, dtype), jnp.asarray(max_step, dtype))

    def init(image: jax.Array) -> LbfgsState:
        # Every leaf has its own memory, so that the state can be donated.
        steps, changes = (jnp.zeros((memory_size, *image.shape), image.dtype) for _ in range(2))
        pixels, waves = first_curvature(image)
        infinite, radius = jnp.full((), jnp.inf, image.dtype), first_radius(image.dtype)
        stored, copy = jnp.zeros((), int), jnp.array(image, copy=True)
        return LbfgsState(steps, changes, stored, pixels, waves, copy, jnp.zeros_like(image), infinite, radius)

    def update(
        gradient: jax.Array, state: LbfgsState, image: jax.Array, *, value: jax.Array, **_: Any
    ) -> tuple[jax.Array, LbfgsState]:
        begun, finite = jnp.isfinite(state.value), jnp.isfinite(value) & jnp.isfinite(gradient).all()
        better = finite & (value <= state.value)
        gradient = jnp.where(finite, gradient, state.gradient)  # the change is then 0, so that no pair is stored
        step, change = image - state.image, gradient - state.gradient
        length = _rms(step)
        radius = jnp.where(better, jnp.maximum(state.radius, _GROWTH * length), _SHRINKAGE * length)
        radius = jnp.where(begun, jnp.minimum(radius, max_step), first_radius(image.dtype))
        keep = partial(jnp.where, better)
        best = {"image": keep(image, state.image), "gradient": keep(gradient, state.gradient)}
        state = _remember(state, step, change, begun)
        state = state._replace(**best, value=keep(value, state.value), radius=radius)
        target = state.image + _next_step(state, bounds)
        return (target if bounds is None else jnp.clip(target, *bounds)) - image, state

    # The protocols of optax allow neither a single array as `params` nor a keyword without a default.
    return optax.GradientTransformationExtraArgs(cast(Any, init), cast(Any, update))


def _remember(state: LbfgsState, step: jax.Array, change: jax.Array, begun: jax.Array) -> LbfgsState:
    """Store one more pair in the state, if its curvature is positive."""
    curved = _dot(step, change) > _CURVATURE * jnp.sqrt(_dot(step, step) * _dot(change, change))
    place, store = state.stored % len(state.steps), begun & curved
    steps, changes = (
        kept.at[place].set(jnp.where(store, new, kept[place]))
        for kept, new in ((state.steps, step), (state.changes, change))
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
    # The first step goes down the gradient by the whole radius. So does a step whose direction rounding has spoilt.
    simple = -jnp.where(free, apply_curvature(state.pixels, state.waves, gradient), 0)
    simple = simple * (state.radius / _rms(simple))
    direction = jnp.where((state.stored > 0) & (_dot(direction, gradient) < 0), direction, simple)
    return direction * jnp.minimum(1, state.radius / _rms(direction))


def _precondition(state: LbfgsState, gradient: jax.Array, free: jax.Array) -> jax.Array:
    """Multiply the inverse Hessian over the free pixels by the gradient (h, w, 3), which is 0 at all other pixels.

    The rows of the matrices S and Y are the stored steps and changes, the oldest first. R is the upper triangle of SY',
    D its diagonal and B the first guess of the inverse Hessian. Then the two-loop recursion is p = R^-1 S g,
    r = B (g - Y'p) and r + S' R^-T (D p - Y r). A pair without positive curvature within the free pixels is left out.
    """
    steps, changes = state.steps, state.changes
    guess_of = partial(apply_curvature, state.pixels, state.waves)
    # Only the small arrays are sorted, the oldest first. Steps and changes are not masked if the other factor is.
    order = (state.stored + jnp.arange(len(steps))) % len(steps)
    mask = free.astype(gradient.dtype)[None]
    sy = _dot(steps, changes * mask)[order][:, order]
    d = jnp.diagonal(sy)
    # These are products with the mask: XLA's CPU backend vectorises them here, but not selections.
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
    # This avoids 0 / 0 before there is a pair: its derivative would be NaN even where the result is not used.
    scale = _BOLDNESS * d[last] / jnp.where(used.any(), _dot(y, smooth), 1)
    guess = scale * rest
    q = solve_triangular(r, jnp.where(used, d * p - _dot(changes, guess)[order], 0), trans=1)
    return guess + jnp.where(free, _combine(q[place], steps), 0)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """Compute the inner product of each image (h, w, 3) in x with each image in y."""
    return _dot_of_sets(x, y) if x.ndim == y.ndim == 4 else _products(x, y)


@jax.custom_jvp
def _dot_of_sets(x: jax.Array, y: jax.Array) -> jax.Array:
    # A GPU gives a matrix of so few products to few of its cores: on an H200 they took 4.4 of a step's 12.9 ms.
    return lax.platform_dependent(x, y, cuda=_dot_by_sums, default=_products)


@_dot_of_sets.defjvp
def _(primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    # With a rule of its own, a backward pass keeps what one platform needs of x and y, and not what each does.
    (x, y), (dx, dy) = primals, tangents
    return _dot_of_sets(x, y), _products(dx, y) + _products(x, dy)


def _products(x: jax.Array, y: jax.Array) -> jax.Array:
    images = [tuple(range(x.ndim - 3, x.ndim)), tuple(range(y.ndim - 3, y.ndim))]
    return jnp.tensordot(x, y, images, precision=_PRECISION)


def _dot_by_sums(x: jax.Array, y: jax.Array) -> jax.Array:
    return (x[:, None] * y[None]).sum((2, 3, 4))


def _combine(factors: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.tensordot(factors, images, 1, precision=_PRECISION)


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)) + jnp.finfo(x.dtype).tiny)
