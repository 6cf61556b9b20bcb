"""Gradients through all steps of a transfer, by a `run` with gradient checkpointing, which bounds their memory.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxstyle.common.checks import check_count
from jaxstyle.network.features import Params
from jaxstyle.network.vgg import prepare
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.transfer_state import StateT, Transfer, check_state


def run_checkpointed(
    transfer: Transfer,
    state: StateT,
    params: Params,
    targets: Any,
    weights: LossWeights,
    *,
    num_steps: int,
) -> tuple[StateT, Losses]:
    """Run a transfer like `run`, so that a function of the result can be differentiated through all steps.

    The function may read the final image or the losses. Reverse mode differentiates it with respect to anything that
    the arguments are made from: alpha, beta and layer weights; the starting image; the content and style image, through
    `Objective.targets`; or a learning rate, if the optimiser is made from it.

    Results and gradients are the same as with `run`. But `run` keeps every step's features for the gradient, while this
    keeps about 2 sqrt(num_steps) states and the features of one step. In return it computes each step three times, once
    forward and twice more on the way back (Chen et al., arXiv 1604.06174, with one level of segments whose steps are
    checkpointed too).

    It is the gradient of the optimisation as it runs, not of the minimum that it goes to. Some things limit its use:

    - Pixels at a bound pass no gradient on.
    - Adam hardly sees the loss's scale. It needs an eps_root above 0, or a pixel without gradient makes the whole
      gradient NaN.
    - Over many steps, the gradient may grow without limit if the steps are unstable (Metz et al., arXiv 1810.10180).
      Few steps with a small learning rate give the most useful gradients.
    - ReLU and pooling make the result a rough function of beta. At 32 px in float64, the gradient equals the difference
      quotient over 1e-6 of log beta to 8 digits. It equals the quotient over a larger difference of log beta to 0.1 to
      2 % after 3 steps of Adam, and only to a factor of 2 to 3 after 30 steps.

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`.
      state: from `transfer.init`.
      params: the network's parameters.
      targets: from `Objective.targets`.
      weights: LossWeights.
      num_steps: number of steps.

    Returns:
      The last state, and the history: Losses with leaves (num_steps,). Entry i belongs to the image before step i.

    Raises:
      ValueError: for a negative num_steps.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxstyle as js, optax
      >>> from jaxstyle.hypergradient.run_checkpointed import run_checkpointed
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features, params = js.make_features(("relu1_1",)), js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 12, 16, 3))
      >>> objective = js.make_objective(features, **layers)
      >>> targets = objective.targets(params, content, style)
      >>> transfer = js.make_transfer(objective.loss, optax.adam(0.02, eps_root=1e-8))
      >>> start = transfer.init(content)
      >>> def distance(beta):
      ...     state, _ = run_checkpointed(transfer, start, params, targets, js.LossWeights(1.0, beta), num_steps=3)
      ...     return jnp.square(js.metrics.ssim(state.image, content) - 0.6)
      >>> jax.eval_shape(jax.grad(distance), 1.0).shape  # or jax.grad(distance)(1.0)
      ()
    """
    check_count("num_steps", num_steps, 0)
    check_state(state)
    params = prepare(params)

    # Inside a scan, the compiler can't merge the second computation with the first, so no barrier is needed.
    step = jax.checkpoint(transfer.step, prevent_cse=False)

    def body(state: StateT, _: None) -> tuple[StateT, Losses]:
        return step(state, params, targets, weights)

    def segment(state: StateT, _: None) -> tuple[StateT, Losses]:
        return lax.scan(body, state, length=length)

    length = max(1, math.isqrt(num_steps))
    count = num_steps // length
    state, history = lax.scan(jax.checkpoint(segment, prevent_cse=False), state, length=count)
    history = jax.tree.map(lambda x: x.reshape(count * length, *x.shape[2:]), history)
    if count * length == num_steps:
        return state, history
    state, rest = lax.scan(body, state, length=num_steps - count * length)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), history, rest)
