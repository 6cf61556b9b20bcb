"""One style transfer, which optimises the pixels of one image: the pure functions `init` and `step`, and their loop.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more, and `lanes.make_lanes`
makes a transfer of many lanes.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import ArrayLike, Float, Int

from jaxstyle.common.checks import check_bounds, check_count, check_function, reverse_mode_only
from jaxstyle.common.dtypes import widen
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.network.vgg import prepare
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Loss, Losses
from jaxstyle.objective.targets import Targets
from jaxstyle.optimise.check_optimizer import check_hyperparameters, check_optimizer
from jaxstyle.optimise.loss_normalisation import check_weights, scaled
from jaxstyle.optimise.transfer_state import StateT, Transfer, TransferState, check_state, offered


def make_transfer(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
) -> Transfer:
    """Make a transfer that minimises `loss` over the pixels of an image.

    The optimiser sees the loss divided by a power of two, which brings the largest of alpha, beta and tv between 1 and
    2, so that only their ratios matter to it. The returned Losses are not divided. `init` copies the image and converts
    half precision to float32. Every array of the state has its own memory, which may be donated.

    If the loss, gradient or update of a step is not finite, the step returns a NaN total and leaves the state as it
    was. But an optimiser with an `accepted` image (see `State`), such as `lbfgs.lbfgs`, goes back by itself: it gets an
    infinite value and a gradient of 0 for that step.

    Args:
      loss: `Objective.loss`, or any function (image, params, targets, weights) -> (scalar, Losses).
      optimizer: any optax transformation of one image. Line searches such as `optax.lbfgs()` get the keywords value,
        grad and value_fn.
      bounds: (low, high) to which pixels are clipped after each step; the paper does not clip. None: no clipping.
        `optax.lbfgs` needs None, since clipping spoils its model of the curvature.

    Returns:
      Transfer.

    Raises:
      ValueError: for an optimizer that is no optax transformation or can't work on one image, and for bounds that are
        not (low, high); from `init`, for an image that is not floating-point; from `step`, for weights that are all 0
        (if values are known), and for updates of another shape than the image's.

    Examples:
      >>> import jax, jaxstyle as js, optax
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, **layers)
      >>> targets = objective.targets(params, content, style)
      >>> transfer = js.make_transfer(objective.loss, optax.adam(0.02))
      >>> step = jax.jit(transfer.step)
      >>> state, losses = step(transfer.init(content), params, targets, js.LossWeights(beta=10.0))
      >>> state.image.shape, float(losses.content)  # the losses belong to the image before the step
      ((12, 16, 3), 0.0)
    """
    check_bounds(bounds)
    check_function("loss", loss, "Objective.loss")
    transformation = check_optimizer(optimizer)

    def init(image: Float[ArrayLike, "h w 3"]) -> TransferState:
        image = jnp.array(widen(as_image(image)), copy=True)
        check_hyperparameters(transformation, image)
        return TransferState(image, jax.tree.map(partial(jnp.array, copy=True), transformation.init(image)))

    def step(
        state: TransferState, params: Params, targets: Targets, weights: LossWeights
    ) -> tuple[TransferState, Losses]:
        check_weights(weights)

        def objective(image: jax.Array) -> tuple[jax.Array, Losses]:
            value, losses = loss(image, params, targets, weights)
            return scaled(value, losses, weights), losses

        (value, losses), gradient = jax.value_and_grad(objective, has_aux=True)(state.image)
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all()
        goes_back = offered(state.optimizer, "accepted") is not None
        if goes_back:
            value, gradient = jnp.where(finite, value, jnp.inf), jnp.where(finite, gradient, 0)
        # Optax relies on promotions that the caller's program may forbid for its own code.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            updates, after = transformation.update(
                gradient,
                state.optimizer,
                state.image,
                value=value,
                grad=gradient,
                value_fn=lambda image: objective(image)[0],
            )
        image = _move(state.image, updates)
        moves = jnp.isfinite(image).all()
        if bounds is not None:
            image = jnp.clip(image, *bounds)
        taken = moves if goes_back else finite & moves
        state = jax.tree.map(partial(jnp.where, taken), TransferState(image, after), state)
        return state, losses._replace(total=jnp.where(finite & moves, losses.total, jnp.nan))

    def losses_of(image: jax.Array, params: Params, targets: Targets, weights: LossWeights) -> Losses:
        return loss(image, params, targets, weights)[1]

    return Transfer(init, step, losses_of)


def _move(image: jax.Array, updates: Any) -> jax.Array:
    if jnp.shape(updates) != image.shape:
        raise ValueError(
            f"optimizer gives updates of shape {jnp.shape(updates)} for an image of shape {image.shape}: "
            "take one that works on a single array"
        )
    return cast(jax.Array, optax.apply_updates(image, updates))


def run(
    transfer: Transfer,
    state: StateT,
    params: Params,
    targets: Any,
    weights: LossWeights,
    *,
    num_steps: int,
) -> tuple[StateT, Losses]:
    """Take `num_steps` steps in one `lax.scan`. The parameters are prepared before it (see `prepare`).

    Args:
      transfer: from `make_transfer`, `make_averaging`, `make_stopping`, `make_lanes` or `shard_rows`.
      state: from `transfer.init`, or the state of another run to go on from.
      params: the network's parameters.
      targets: from `Objective.targets`.
      weights: LossWeights.
      num_steps: number of steps.

    Returns:
      The last state, and the history: Losses with leaves (num_steps,). Entry i belongs to the image before step i.

    Raises:
      ValueError: for a negative num_steps, and for what `Transfer.step` refuses.

    Examples:
      >>> import jax, jaxstyle as js, optax
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, **layers)
      >>> targets = objective.targets(params, content, style)
      >>> transfer = js.make_transfer(objective.loss, optax.adam(0.02))
      >>> state, losses = js.run(transfer, transfer.init(content), params, targets, js.LossWeights(), num_steps=4)
      >>> state.image.shape, losses.total.shape
      ((12, 16, 3), (4,))
    """
    check_count("num_steps", num_steps, 0)
    check_state(state)
    params = prepare(params)

    def body(state: StateT, _: None) -> tuple[StateT, Losses]:
        return transfer.step(state, params, targets, weights)

    with reverse_mode_only():
        return lax.scan(body, state, length=num_steps)


def run_chunk(
    transfer: Transfer,
    state: StateT,
    params: Params,
    targets: Any,
    weights: LossWeights,
    count: Int[ArrayLike, ""],
    *,
    capacity: int,
) -> tuple[StateT, Losses]:
    """Take `count` <= `capacity` steps. As `count` is an array, one compilation serves chunks of every length.

    This is for a caller that looks at the losses between chunks. The caller prepares `params` (see `prepare`). The
    result has no gradient; use `run` for that.

    Args:
      transfer: as in `run`.
      state: as in `run`.
      params: the network's parameters, prepared.
      targets: from `Objective.targets`.
      weights: LossWeights.
      count: number of steps, a scalar.
      capacity: largest number of steps. If `count` is larger, only `capacity` steps are taken.

    Returns:
      The last state, and the history: Losses with leaves (capacity, ...), whose first `count` entries are set.
    """
    step = jax.jit(transfer.step, inline=True)  # so that it is traced once, for its shapes and its steps

    def body(i: jax.Array, carry: tuple[StateT, Losses]) -> tuple[StateT, Losses]:
        state, history = carry
        state, losses = step(state, params, targets, weights)
        return state, jax.tree.map(lambda values, x: values.at[i].set(x), history, losses)

    shapes = jax.eval_shape(step, state, params, targets, weights)[1]
    history = jax.tree.map(lambda s: jnp.zeros((capacity, *s.shape), s.dtype), shapes)
    return lax.fori_loop(0, jnp.minimum(count, capacity), body, (state, history))
