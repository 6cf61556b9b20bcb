"""Coarse to fine: a transfer runs on small images first, and its result starts the next larger size.

Large structures settle at small sizes, where a step costs little; the full size only adds detail (Gatys et al.,
"Controlling Perceptual Factors", arXiv 1611.07865, section 6; crowsonkb/style-transfer-pytorch).

Images are float RGB in [0, 1], shape (h, w, 3). All functions take leading axes, such as a lane axis. All sizes are
static, so that the functions compose with jit.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.pyramid_sizes import LEAST, Shape, scales, steps_of, style_shape
from jaxstyle.optimise.transfer import run
from jaxstyle.optimise.transfer_state import StateT, Transfer, TransferState

_IMAGES = "lanczos3"
_ORDERS = {"nu": 2, "nu_max": 2, "sum_of_squares": 2, "e_g": 2, "e_x": 0}  # powers of the gradient


def resize(image: Float[Array, "*lanes h w 3"], shape: Sequence[int]) -> Float[Array, "*lanes h_new w_new 3"]:
    """Resample images by Lanczos with antialiasing, and clip them to [0, 1].

    An image that already has the size is returned as it is.

    Args:
      image: (..., h, w, 3).
      shape: the new size (h', w'); further numbers are ignored.

    Returns:
      (..., h', w', 3).
    """
    if image.shape[-3:-1] == tuple(shape[:2]):
        return image
    return jnp.clip(_resample(image, shape, _IMAGES), 0, 1)


def mix(
    content: Float[Array, "h w 3"], picture: Float[Array, "*lanes h w 3"], alpha: Float[ArrayLike, "*lanes"]
) -> Float[Array, "*lanes h w 3"]:
    """Mix the content with a picture, to be matched with the style (NNST, Kolkin et al., arXiv 2203.13215).

    Args:
      content: (h, w, 3).
      picture: (..., h, w, 3) the picture so far, at the size of the content.
      alpha: (...,) the content's share, from 0 to 1; a larger one is as 1.

    Returns:
      (..., h, w, 3).
    """
    of_lanes = jnp.broadcast_to(jnp.asarray(alpha, picture.dtype), picture.shape[:-3])
    share = jnp.clip(of_lanes, 0, 1)[..., None, None, None]
    return share * jnp.broadcast_to(content, picture.shape) + (1 - share) * picture


def _resample(x: jax.Array, shape: Sequence[int], method: str) -> jax.Array:
    return jax.image.resize(x, (*x.shape[:-3], *shape[:2], x.shape[-1]), method)


def carry(
    transfer: Transfer,
    state: StateT,
    shape: Sequence[int],
    *,
    detail: Float[Array, "*lanes h_detail w_detail 3"] | None = None,
) -> StateT:
    """Move a state to another size, so that the transfer can go on there.

    The image is resampled. It lacks the detail that the coarser size could not hold, which shows most at low style
    weights; `detail`, such as the content image, gives that back.

    Leaves of the optimiser that have the image's shape are resampled too. This is done linearly, so that second moments
    stay >= 0. In an image of n pixels, the gradient of a mean over pixels is 1/n at each pixel. So these leaves are
    taken for sums of gradients and scaled by the ratio of the numbers of pixels; those that have the names of optax's
    sums of squared gradients ("nu", "nu_max", "sum_of_squares", "e_g") are scaled by its square, and "e_x", the squared
    steps of adadelta, is not scaled. adamax's "nu" can't be told from a sum of squares, and its steps at the larger
    size are too long at first: carry its image alone, by `transfer.init(resize(state.image, shape))`. Leaves that don't
    depend on the size, such as counts of steps, are kept. If any other leaf depends on the size, such as a history of
    gradients, it tells nothing about another size, and the whole optimiser starts afresh.

    An average starts anew. A transfer that has failed stays failed. A transfer that has converged goes on; the totals
    by which it tells that it has converged or diverged start anew.

    Args:
      transfer: the transfer that the state belongs to, from `make_transfer`, `make_averaging` or `make_stopping`; from
        `lanes.make_lanes` if the state has a lane axis.
      state: the state, with an image (..., h, w, 3).
      shape: the new size (h, w).
      detail: (..., H, W, 3) image whose band of frequencies between the two sizes is added; None: nothing is added.

    Returns:
      The state, with an image (..., *shape, 3).

    Raises:
      ValueError: if a part of the state is no `TransferState` and has no method `carried`.
    """
    before = state.image.shape
    if before[-3:-1] == tuple(shape[:2]):
        return state
    image = _resample(state.picture, shape, _IMAGES)
    if detail is not None:
        fine = resize(detail, shape).astype(image.dtype)
        image = image + (fine - _resample(_resample(fine, before[-3:-1], _IMAGES), shape, _IMAGES))
    return _carry_parts(state, transfer.init(jnp.clip(image, 0, 1)), before)


def _carry_parts(state: Any, fresh: Any, before: tuple[int, ...]) -> Any:
    """Fill the fresh state of another size with what is kept of `state`, whose images have the shape `before`."""
    if isinstance(state, TransferState):
        return fresh._replace(optimizer=_carry_optimizer(state.optimizer, fresh.optimizer, before, fresh.image.shape))
    if not hasattr(state, "carried"):
        raise ValueError(
            f"carry takes states of make_transfer, make_averaging and make_stopping, got {type(state).__name__}: "
            "give it a method carried(fresh, inner)"
        )
    return state.carried(fresh, partial(_carry_parts, before=before))


def _carry_optimizer(optimizer: Any, fresh: Any, before: tuple[int, ...], after: tuple[int, ...]) -> Any:
    ratio = math.prod(before[-3:-1]) / math.prod(after[-3:-1])

    def fits(old: jax.Array, new: jax.Array) -> bool:
        return old.shape == new.shape or (old.shape == before and new.shape == after)

    def move(path: tuple[Any, ...], old: jax.Array) -> jax.Array:
        if old.shape != before or not jnp.issubdtype(old.dtype, jnp.floating):
            return old
        orders = [_ORDERS[name] for key in path if (name := getattr(key, "name", getattr(key, "key", None))) in _ORDERS]
        return _resample(old, after[-3:-1], "linear") * ratio ** (orders[-1] if orders else 1)

    if not all(jax.tree.leaves(jax.tree.map(fits, optimizer, fresh))):
        return fresh
    return jax.tree_util.tree_map_with_path(move, optimizer)


def run_pyramid(
    transfer: Transfer,
    targets_of: Callable[[Params, Float[Array, "h w 3"], Float[Array, "h_style w_style 3"]], Any],
    params: Params,
    content: Float[Array, "h w 3"],
    style: Float[Array, "h_style w_style 3"],
    weights: LossWeights,
    *,
    shapes: Sequence[Shape] | None = None,
    num_steps: Sequence[int] | None = None,
    start: Float[Array, "*lanes h_start w_start 3"] | None = None,
    detail: bool | None = None,
    match: Callable[[Float[Array, "*lanes h w 3"], Params, Any], Any] | None = None,
) -> tuple[Any, list[Losses]]:
    """Run a transfer from coarse to fine, as the command does. Each size starts from the result of the size before.

    The style image is scaled by the same factor as the content, but to no fewer than `pyramid_sizes.LEAST` pixels a
    side, unless it has fewer or the content has at that size. A transfer that starts from the content image gets the
    content's detail at each larger size (see `carry`). A transfer that starts from another image doesn't, unless
    `detail` asks for it.

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`; or a transfer of lanes, from `make_lanes`.
      targets_of: a function (params, content, style) -> targets, such as `Objective.targets`.
      params: the network's parameters; `prepare` them first if there is more than one size.
      content: (h, w, 3) the content image at full size.
      style: (h', w', 3) the style image.
      weights: LossWeights.
      shapes: the sizes (h, w), from coarse to fine; None: `pyramid_sizes.scales` of the content's size.
      num_steps: number of steps at each size; None: `pyramid_sizes.steps_of` the sizes.
      start: (..., h, w, 3) image to start from, of any size, with a leading axis for lanes, as
        `jnp.broadcast_to(content, (lanes, *content.shape))`; None: the content, for a transfer without lanes.
      detail: whether each larger size gets the content's detail; None: where `start` is None.
      match: None, or a function (image, params, targets) -> targets that makes targets anew at each size: of the
        content at the first one, and then of `mix` of the content and of the picture so far, with the share
        `weights.alpha`. It is `Objective.match`; for lanes, `partial(match_lanes, objective.match)`.

    Returns:
      The last size's state, and a list of the histories of the sizes, which are Losses as `run` returns them.

    Raises:
      ValueError: if `num_steps` doesn't have one number for each size.

    Examples:
      >>> from functools import partial
      >>> import jax, jaxstyle as js, optax
      >>> from jaxstyle.optimise.pyramid import run_pyramid
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, **layers)
      >>> transfer = js.make_transfer(objective.loss, optax.adam(0.02))
      >>> runs = partial(run_pyramid, transfer, objective.targets, shapes=[(6, 8), (12, 16)], num_steps=[2, 3])
      >>> state, histories = jax.eval_shape(runs, params, content, style, js.LossWeights())  # or jax.jit(runs)(...)
      >>> state.image.shape, [history.total.shape for history in histories]
      ((12, 16, 3), [(2,), (3,)])
    """
    shapes = scales(content.shape) if shapes is None else shapes
    num_steps = steps_of(shapes) if num_steps is None else num_steps
    if len(shapes) != len(num_steps) or not shapes:
        raise ValueError(f"num_steps must be one number for each of {len(shapes)} sizes, got {len(num_steps)}")
    state = transfer.init(resize(content if start is None else start, shapes[0]))
    fine = content if (start is None if detail is None else detail) else None
    histories = []
    for shape, steps in zip(shapes, num_steps, strict=True):
        smaller = resize(content, shape)
        of_style = style_shape(style.shape, content.shape, shape, least=min(LEAST, *shape[:2]))
        targets = targets_of(params, smaller, resize(style, of_style))
        state = carry(transfer, state, shape, detail=fine)
        if match is not None:
            share = weights.alpha if histories else 1.0
            targets = match(mix(smaller, state.image, share), params, targets)
        state, history = run(transfer, state, params, targets, weights, num_steps=steps)
        histories.append(history)
    return state, histories
