"""One large image over many devices, each of which holds and computes a strip of its rows.

The functions of the library are those of one device: XLA's partitioner cuts them up by the shardings that are given
here, has neighbours exchange the few rows that a convolution reads beyond its strip, and sums Gram matrices, losses and
L-BFGS's products over all devices. Only L-BFGS's first guess, a filter of the whole image, is computed by all of them
on all of it. Images are float RGB in [0, 1], shape (h, w, 3).
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.common.images import as_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.transfer_state import StateT, Transfer

AXIS = "rows"
"""Name of the mesh axis that the rows of an image are shared out along."""


def split_rows(image: Float[ArrayLike, "h w 3"], mesh: Mesh) -> Float[Array, "h w 3"]:
    """Put an image on the devices of a mesh, to each a strip of equally many of its rows.

    What a jitted function computes of it, such as features, targets, losses and gradients, is then shared out likewise.
    Give `make_features` backend="xla" on CPU: Winograd's algorithm would gather the strips.

    Args:
      image: (h, w, 3), h a multiple of the number of devices; strips are even in all layers, and no device waits for
        another, if it is one of 16 times that (of 8 times without relu5_1).
      mesh: devices with the axis "rows", as of `jax.make_mesh((8,), ("rows",))`.

    Returns:
      (h, w, 3), the image in strips.

    Raises:
      ValueError: for an image that is not floating-point or not (h, w, 3), a mesh without that axis, or a height that
        does not divide.
    """
    image = as_image(image)
    if image.ndim != 3:
        raise ValueError(f"image must have shape (h, w, 3), got {image.shape}")
    return jax.device_put(image, row_shardings(image, image.shape, mesh))


def shard_rows(transfer: Transfer, mesh: Mesh) -> Transfer:
    """The transfer of one image whose rows the devices of a mesh share: so that it can be larger than fits into one.

    Its images and optimiser state stay in strips. It is the same optimisation as on one device, to rounding; run it
    under jit, with targets made of `split_rows` of the content image.

    Args:
      transfer: from `make_transfer`, of a loss whose features have backend="xla".
      mesh: as of `split_rows`.

    Returns:
      A transfer of the same state.

    Raises:
      ValueError: from `init`, as `split_rows` does.

    Example:
      >>> from functools import partial
      >>> import jax, jaxstyle as js, optax
      >>> layers = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
      >>> features = js.make_features(("relu1_1",), backend="xla")
      >>> params = js.load_params("random:0")
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
      >>> mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> content = js.split_rows(content, mesh)
      >>> objective = js.make_objective(features, **layers)
      >>> targets = jax.jit(objective.targets)(params, content, style)
      >>> transfer = js.shard_rows(js.make_transfer(objective.loss, optax.adam(0.02)), mesh)
      >>> run = jax.jit(partial(js.run, transfer, num_steps=2))
      >>> state, losses = jax.eval_shape(run, transfer.init(content), params, targets, js.LossWeights())  # or run(...)
      >>> state.image.shape, losses.total.shape
      ((16, 16, 3), (2,))
    """

    def init(image: Float[ArrayLike, "h w 3"]) -> Any:
        image = split_rows(image, mesh)
        shardings = row_shardings(jax.eval_shape(transfer.init, image), image.shape, mesh)
        return jax.jit(transfer.init, out_shardings=shardings)(image)

    def step(state: StateT, params: Params, targets: Any, weights: LossWeights) -> tuple[StateT, Losses]:
        shardings = row_shardings(state, state.image.shape, mesh)
        state, losses = transfer.step(lax.with_sharding_constraint(state, shardings), params, targets, weights)
        return lax.with_sharding_constraint(state, shardings), losses

    def losses_of(image: Float[Array, "h w 3"], params: Params, targets: Any, weights: LossWeights) -> Losses:
        image = lax.with_sharding_constraint(image, row_shardings(image, image.shape, mesh))
        return transfer.losses(image, params, targets, weights)

    return Transfer(init, step, losses_of)


def row_shardings(tree: Any, shape: tuple[int, ...], mesh: Mesh) -> Any:
    """How the arrays of a tree are shared out: in strips if they hold images, behind other axes or not; else on all.

    Args:
      tree: a pytree of arrays, or of their shapes.
      shape: (h, w, 3) of the images.
      mesh: as of `split_rows`.

    Returns:
      A sharding for each array.

    Raises:
      ValueError: for a mesh without the axis "rows", or a height that does not divide.
    """
    if AXIS not in mesh.axis_names:
        raise ValueError(f"the mesh must have an axis {AXIS!r}, got {', '.join(map(repr, mesh.axis_names))}")
    # Of axes whose type leaves the partitioning to XLA.
    mesh = Mesh(mesh.devices, mesh.axis_names)
    count = mesh.shape[AXIS]
    if shape[0] % count:
        below = shape[0] // count * count
        near = f"{below} or {below + count}" if below else f"{count}"
        raise ValueError(f"{shape[0]} rows do not divide by {count} devices: take a height of {near}")

    def sharding(x: Any) -> NamedSharding:
        before = x.ndim - len(shape)
        if x.shape[max(before, 0) :] == shape:
            return NamedSharding(mesh, PartitionSpec(*[None] * before, AXIS))
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree.map(sharding, tree)
