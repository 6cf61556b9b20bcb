"""Gradients of a converged transfer's result, by the implicit function theorem. They don't need the transfer's steps.

Images are float RGB in [0, 1], shape (h, w, 3). Functions take one image; `jax.vmap` takes more.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.scipy.sparse.linalg import cg

from jaxstyle.common.checks import check_bounds, check_shape
from jaxstyle.common.dtypes import as_float
from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Loss


class ImplicitGradient(NamedTuple):
    """The gradients of a function phi of the image, and three scalars that tell how far to trust them.

    Attributes:
      targets: gradient of phi with respect to the targets, with the same structure.
      weights: gradient of phi with respect to the weights; None for leaves that are None.
      optimality: largest absolute derivative of the loss with respect to a free pixel. It is 0 at a minimum.
      remaining: change of phi, to first order, from this image to the minimum. It should be small beside the changes of
        phi that matter.
      residual: ||H v - c|| / ||c|| of the linear system. It is small if the system was solved.
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
    """Differentiate phi(x) with respect to targets and weights t, where x(t) minimises loss(x, t) within bounds.

    Free pixels are all pixels but those that the loss pushes against a bound, where these stay. At the minimum, the
    loss has no gradient over the free pixels. Differentiating that condition gives

        d phi / dt = -(d^2 loss / dt dx) v,    H v = c

    where c is the gradient of phi and H the Hessian of the loss, both over the free pixels (Blondel et al., arXiv
    2105.15183). Conjugate gradients solve for v. Each iteration costs about two gradients of the loss, and memory
    doesn't grow with their number. It doesn't matter how the image was found, nor from where.

    The result holds if the image is a minimum (see `ImplicitGradient.optimality` and `remaining`), if H over the free
    pixels is positive definite, and if no pixel at a bound has a gradient of 0. `damping` > 0 helps at a nearly flat
    minimum. The result is then the gradient for a loss with damping / 2 * ||x - image||^2 added, which is smaller.

    With ReLU or maximum pooling, the loss is smooth only in pieces, and H is the Hessian of one piece. A minimum on the
    edge between two pieces has a gradient on each side, and no H. Average pooling and layers before their ReLU, such as
    conv1_1, avoid that in part. For a transfer that ends before it has converged, see `run_checkpointed`.

    Args:
      loss: `Objective.loss`, or any function (image, params, targets, weights) -> (scalar, anything) that can be
        differentiated twice in reverse mode.
      image: (h, w, 3) the converged image.
      cotangent: (h, w, 3) gradient of phi at the image, such as `jax.grad(phi)(image)`.
      params: the network's parameters, prepared or not.
      targets: the transfer's targets, from `Objective.targets`.
      weights: the transfer's LossWeights.
      bounds: the transfer's bounds, as in `make_transfer`.
      damping: >= 0, is added to the diagonal of H.
      tolerance: residual at which the iterations end.
      num_iterations: largest number of iterations.

    Returns:
      ImplicitGradient.

    Raises:
      ValueError: for a cotangent of another shape than the image's, or bounds that are not (low, high).

    Examples:
      >>> found = implicit_gradient(loss, image, jax.grad(phi)(image), params, targets, weights)  # doctest: +SKIP
      >>> found.weights.beta  # d phi / d beta  # doctest: +SKIP
      >>> _, pull = jax.vjp(lambda x: objective.targets(params, content, x), style)  # doctest: +SKIP
      >>> pull(found.targets)  # gradient of phi with respect to the style image  # doctest: +SKIP
    """
    image, cotangent = as_image(image), jnp.asarray(cotangent)
    check_shape("image", image, ("h", "w", "3"))
    if cotangent.shape != image.shape:
        raise ValueError(f"cotangent must have the image's shape {image.shape}, got {cotangent.shape}")
    check_bounds(bounds)
    weights = jax.tree.map(as_float, weights)

    def gradient_of(image: jax.Array, targets: Any, weights: LossWeights) -> jax.Array:
        return jax.grad(lambda x: loss(x, params, targets, weights)[0])(image)

    # This is a vjp because the network's custom gradient has no forward mode. H is symmetric, so its transpose will do.
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
