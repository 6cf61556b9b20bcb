"""Gradients of a converged transfer's result, by the implicit function theorem: its steps are not needed any more.

Images are float RGB in [0, 1], shape (h, w, 3), one image: vmap for more.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.scipy.sparse.linalg import cg

from jaxstyle.common.checks import check_shape
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Loss


class ImplicitGradient(NamedTuple):
    """What `implicit_gradient` finds for a function phi of the image; the scalars say how far to trust it.

    Attributes:
      targets: gradient of phi with respect to the targets, of their structure.
      weights: gradient of phi with respect to the weights; None where those are None.
      optimality: largest absolute derivative of the loss with respect to a free pixel; 0 at a minimum.
      remaining: change of phi, to first order, from this image to the minimum; small beside what phi is wanted for.
      residual: ||H v - c|| / ||c|| of the linear system; not small where it was not solved.
    """

    targets: Any
    weights: LossWeights
    optimality: jax.Array
    remaining: jax.Array
    residual: jax.Array


export.register_namedtuple_serialization(ImplicitGradient, serialized_name="jaxstyle.ImplicitGradient")


def implicit_gradient(
    loss: Loss,
    image: jax.typing.ArrayLike,
    cotangent: jax.typing.ArrayLike,
    params: Params,
    targets: Any,
    weights: LossWeights,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    damping: float = 0.0,
    tolerance: float = 1e-5,
    num_iterations: int = 200,
) -> ImplicitGradient:
    """Gradient of phi(x) with respect to targets and weights t, where x(t) minimises loss(x, t) within bounds.

    At the minimum the loss has no gradient over the free pixels, those that are not at a bound which it pushes them
    against; the others stay there. Differentiating that condition gives, with c the gradient of phi, H the loss's
    Hessian, both over the free pixels,

        d phi / dt = -(d^2 loss / dt dx) v,    H v = c

    (Blondel et al., arXiv 2105.15183). Conjugate gradients solve for v; each iteration costs about two gradients of the
    loss, and memory doesn't grow with their number. How the image was found doesn't matter, nor where from.

    It holds where the image is a minimum (see `ImplicitGradient.optimality` and `remaining`), H over the free pixels is
    positive definite, and no pixel at a bound has a gradient of 0. `damping` > 0 is for a nearly flat minimum: the
    result is then that of a loss with damping / 2 * ||x - image||^2 added, which is smaller. With ReLU or max pooling
    the loss is only piecewise smooth, and H that of one piece; a minimum on the edge of two pieces has a gradient on
    each side of it, and no H. Average pooling and layers before their ReLU (conv1_1) avoid that in part. For a transfer
    that ends before it has converged, see `run_checkpointed`.

    Args:
      loss: `Objective.loss`, or any function (image, params, targets, weights) -> (scalar, anything), differentiable
        twice in reverse mode.
      image: (h, w, 3) the converged image.
      cotangent: (h, w, 3) gradient of phi at the image, such as `jax.grad(phi)(image)`.
      params: the network's parameters, as `prepare` leaves them or not.
      targets: from `Objective.targets`, the same as the transfer's.
      weights: of the loss, the same as the transfer's.
      bounds: those of `make_transfer`.
      damping: >= 0, added to the diagonal of H.
      tolerance: of the residual, at which iterations end.
      num_iterations: the most to make.

    Returns:
      Gradients with respect to targets and weights, and how far to trust them.

    Raises:
      ValueError: for a cotangent of another shape than the image's, or bounds that are not (low, high).

    Example:
      >>> found = implicit_gradient(loss, image, jax.grad(phi)(image), params, targets, weights)  # doctest: +SKIP
      >>> found.weights.beta  # d phi / d beta  # doctest: +SKIP
      >>> _, pull = jax.vjp(lambda x: objective.targets(params, content, x), style)  # doctest: +SKIP
      >>> pull(found.targets)  # gradient of phi with respect to the style image  # doctest: +SKIP
    """
    image, cotangent = as_image(image), jnp.asarray(cotangent)
    check_shape("image", image, ("h", "w", "3"))
    if cotangent.shape != image.shape:
        raise ValueError(f"cotangent must have the image's shape {image.shape}, got {cotangent.shape}")
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be None or (low, high) with low < high, got {bounds}")
    weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x, float)), weights)

    def gradient_of(image: jax.Array, targets: Any, weights: LossWeights) -> jax.Array:
        return jax.grad(lambda x: loss(x, params, targets, weights)[0])(image)

    # Of the gradient, which is a custom gradient with no forward mode: H is symmetric, so that its transpose does.
    gradient, pull = jax.vjp(gradient_of, image, targets, weights)
    free = jnp.ones(image.shape, bool)
    if bounds is not None:
        free = ~((image <= bounds[0]) & (gradient > 0) | (image >= bounds[1]) & (gradient < 0))
    gradient, wanted = (jnp.where(free, x, 0).astype(image.dtype) for x in (gradient, cotangent))

    def hessian(v: jax.Array) -> jax.Array:
        return jnp.where(free, pull(v)[0] + damping * v, 0)

    v, _ = cg(hessian, wanted, tol=tolerance, maxiter=num_iterations)
    size = jnp.linalg.norm(wanted)
    _, of_targets, of_weights = pull(-v)
    return ImplicitGradient(
        of_targets,
        of_weights,
        optimality=jnp.abs(gradient).max(),
        remaining=-jnp.vdot(v, gradient),
        residual=jnp.linalg.norm(hessian(v) - wanted) / jnp.where(size == 0, 1, size),
    )
