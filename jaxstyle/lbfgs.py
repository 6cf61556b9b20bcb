"""L-BFGS for pictures: one evaluation of loss and gradient a step, for every lane alike, and bounds on the pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax


class LbfgsState(NamedTuple):
    """State of `lbfgs` for an image of n = h * w * 3 numbers.

    Attributes:
      steps: (memory_size, n) differences of images, in the order of `count` modulo memory_size; unused rows are 0.
      changes: (memory_size, n) differences of their gradients.
      count: () pairs of the two that have been stored so far.
      image: (h, w, 3) the best image.
      gradient: (h, w, 3) its gradient.
      value: () its loss; infinite before the first step.
      radius: () largest root-mean-square of the next step.
    """

    steps: jax.Array
    changes: jax.Array
    count: jax.Array
    image: jax.Array
    gradient: jax.Array
    value: jax.Array
    radius: jax.Array


def lbfgs(
    learning_rate: float = 1.0,
    *,
    memory_size: int = 20,
    first_step: float = 0.01,
    max_step: float = 0.1,
    tolerance: float = 0.0,
    bounds=(0.0, 1.0),
    masked=True,
    curvature=1e-4,
    grow=2.0,
    shrink=0.5,
    precond=None,
) -> optax.GradientTransformationExtraArgs:
    def init(image: jax.Array) -> LbfgsState:
        empty = jnp.zeros((memory_size, image.size), image.dtype)
        scalar = lambda x: jnp.asarray(x, image.dtype)
        return LbfgsState(
            empty, empty, jnp.zeros((), jnp.int32), image, jnp.zeros_like(image), scalar(jnp.inf), scalar(first_step)
        )

    def update(gradient, state, image, *, value, **_):
        first = jnp.isinf(state.value)
        better = first | (value <= state.value + tolerance * jnp.abs(state.value))
        step, change = image - state.image, gradient - state.gradient
        product = _dot(step, change)
        store = ~first & (product > curvature * jnp.sqrt(_dot(step, step) * _dot(change, change)))
        row = state.count % memory_size
        put = lambda history, x: history.at[row].set(jnp.where(store, x.ravel(), history[row]))
        steps, changes = put(state.steps, step), put(state.changes, change)
        count = state.count + store
        length = _rms(step)
        radius = jnp.where(better, jnp.minimum(jnp.maximum(state.radius, grow * length), max_step), shrink * length)
        radius = jnp.where(first, first_step, radius)
        keep = lambda new, old: jnp.where(better, new, old)
        point, slope, best = keep(image, state.image), keep(gradient, state.gradient), keep(value, state.value)
        free = jnp.ones_like(point)
        if masked and bounds is not None:
            low, high = bounds
            free = jnp.where(((point <= low) & (slope > 0)) | ((point >= high) & (slope < 0)), 0.0, 1.0)
        g = (slope * free).ravel()
        d = -_inverse_hessian_product(steps, changes, count, g, free.ravel(), precond, point.shape)
        d = jnp.where(count > 0, learning_rate * d, -g * (first_step / _rms(g)))
        d = jnp.where(jnp.vdot(d, g) < 0, d, -g * (radius / _rms(g)))
        d = d * jnp.minimum(1, radius / _rms(d))
        target = point + d.reshape(point.shape)
        if bounds is not None:
            target = jnp.clip(target, *bounds)
        return target - image, LbfgsState(steps, changes, count, point, slope, best, radius)

    return optax.GradientTransformationExtraArgs(init, update)


def _dot(x, y):
    return jnp.vdot(x, y, precision=lax.Precision.HIGHEST)


def _rms(x):
    return jnp.sqrt(jnp.mean(jnp.square(x)) + 1e-30)


def _inverse_hessian_product(steps, changes, count, g, free, precond, shape):
    m = len(steps)
    P = (lambda x: x) if precond is None else (lambda x: free * precond(x.reshape(-1, *shape)).reshape(x.shape))
    s, y = steps * free, changes * free
    z = P(y)
    pg = P(g)
    mm = lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
    sy, yy = mm(s, y.T), mm(y, z.T)
    order = (jnp.arange(m) + count) % m  # oldest first, once the history is full
    sy, yy = sy[order][:, order], yy[order][:, order]
    sg, yg = mm(s, g)[order], mm(z, g)[order]
    diag = jnp.diagonal(sy)
    used = diag > 1e-8 * jnp.sqrt(jnp.sum(s[order] ** 2, 1) * jnp.sum(y[order] ** 2, 1))
    both = used[:, None] & used
    upper = jnp.where(both, jnp.triu(sy), 0) + jnp.diag(jnp.where(used, 0, 1.0).astype(g.dtype))
    yy = jnp.where(both, yy, 0)
    diag = jnp.where(used, diag, 0)
    sg, yg = jnp.where(used, sg, 0), jnp.where(used, yg, 0)
    last = jnp.max(jnp.where(used, jnp.arange(m), -1))
    gamma = jnp.where(last >= 0, diag[last] / jnp.where(yy[last, last] > 0, yy[last, last], 1), 1)
    solve = lambda b, t: jax.scipy.linalg.solve_triangular(upper, b, trans=t)
    p = solve(sg, 0)
    q = solve(diag * p + gamma * mm(yy, p) - gamma * yg, 1)
    back = jnp.zeros_like(order).at[order].set(jnp.arange(m))
    return gamma * pg + mm(q[back], s) - gamma * mm(p[back], z)
