"""Transfers whose result is differentiated: `run` again, in memory that a gradient through all steps can afford.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more.
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
    """`run`, for gradients of a function of the final image (or of the losses) by reverse mode through all steps.

    With respect to whatever the arguments are made of: alpha, beta and layer weights, the starting image, content and
    style image (through `Objective.targets`), a learning rate out of which the optimiser is built. Results are those of
    `run`; the gradient is, too, but `run` keeps every step's features for it, and this about 2 sqrt(num_steps) states
    and the features of one step. For that each step is computed three times: once forward, twice more on the way back
    (Chen et al., arXiv 1604.06174, one level of segments, each step its own last level).

    It is the gradient of the optimisation as it runs, not of the minimum that it goes to. Pixels at a bound pass
    nothing on, and Adam hardly sees the loss's scale. It wants an eps_root above 0, or a pixel without gradient makes
    all of it NaN. Over many steps the gradient may grow without limit where the steps are unstable (Metz et al., arXiv
    1810.10180): few steps, of a small learning rate, give the most useful ones. The network's kinks (ReLU, pooling)
    make results a rough function of beta, too: at 32 px in float64 the gradient equals the difference quotient over
    1e-6 of log beta to 8 digits, but that over 0.1 to 2 % after 3 steps of Adam, and only to a factor of 2 to 3 after
    30.

    Args:
      transfer: from `make_transfer`, `make_averaging` or `make_stopping`.
      state: from `transfer.init`.
      params: the network's parameters.
      targets: from `Objective.targets`.
      weights: of the loss.
      num_steps: steps to take.

    Returns:
      The state, and Losses with leaves (num_steps,): row i is of the image before step i.

    Raises:
      ValueError: for a negative num_steps.

    Example:
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

    # Inside a scan nothing can be merged with what is computed again, so that it needs no barrier against that.
    step = jax.checkpoint(transfer.step, prevent_cse=False)

    def body(state: StateT, _: None) -> tuple[StateT, Losses]:
        return step(state, params, targets, weights)

    def segment(state: StateT, _: None) -> tuple[StateT, Losses]:
        return lax.scan(body, state, length=length)

    length = max(1, math.isqrt(num_steps))
    count = num_steps // length
    state, rows = lax.scan(jax.checkpoint(segment, prevent_cse=False), state, length=count)
    rows = jax.tree.map(lambda x: x.reshape(count * length, *x.shape[2:]), rows)
    if count * length == num_steps:
        return state, rows
    state, rest = lax.scan(body, state, length=num_steps - count * length)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), rows, rest)
