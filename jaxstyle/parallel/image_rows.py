"""One large image over many devices, each of which holds and computes a strip of the image's rows.

The library's functions are the same as on one device. The shardings made here tell XLA's partitioner how to divide
them. Neighbouring devices exchange the few rows that a convolution reads beyond its strip, and Gram matrices, losses
and L-BFGS's products are summed over all devices. Only L-BFGS's first guess, which filters the whole image, is computed
by every device on the whole image. Images are float RGB in [0, 1], shape (h, w, 3).
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float

from jaxstyle.common.images import one_image
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.transfer_state import StateT, Transfer
from jaxstyle.parallel.lanes import with_plain_axes

AXIS = "rows"
"""Name of the mesh axis along which the rows of an image are divided."""


def split_rows(image: Float[ArrayLike, "h w 3"], mesh: Mesh) -> Float[Array, "h w 3"]:
    """Divide an image among the devices of a mesh. Each device gets a strip with the same number of rows.

    If a jitted function computes something from the image, such as features, targets, losses or gradients, the devices
    share that work too. Give `make_features` backend="xla" on CPU: Winograd's algorithm would gather the strips.

    Args:
      image: (h, w, 3). h must be a multiple of the number of devices. If it is a multiple of 16 times that number (8
        times without relu5_1), strips are even in all layers, and no device waits for another.
      mesh: devices with the axis "rows", such as `jax.make_mesh((8,), ("rows",))`.

    Returns:
      The image (h, w, 3) in strips.

    Raises:
      ValueError: for an image that is not floating-point or not (h, w, 3), a mesh without the axis "rows", or a height
        that is no multiple of the number of devices.
    """
    image = one_image(image)
    return jax.device_put(image, row_shardings(image, image.shape, mesh))


def shard_rows(transfer: Transfer, mesh: Mesh) -> Transfer:
    """Make a transfer of one image whose rows are divided among devices, so that it may be too large for one device.

    Images and optimiser state stay in strips. The optimisation is the same as on one device, to rounding. Run it under
    jit, with targets made from `split_rows` of the content image.

    Args:
      transfer: from `make_transfer`, with a loss whose features have backend="xla".
      mesh: as in `split_rows`.

    Returns:
      A transfer whose state has the same type.

    Raises:
      ValueError: from `init`, for what `split_rows` refuses.

    Examples:
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
    """Choose a sharding for each array of a tree.

    Arrays whose last axes are an image's are divided into strips. Every device holds the whole of the others.

    Args:
      tree: a pytree of arrays, or of their shapes.
      shape: the images' shape (h, w, 3).
      mesh: as in `split_rows`.

    Returns:
      A pytree of shardings.

    Raises:
      ValueError: for a mesh without the axis "rows", or a height that is no multiple of the number of devices.
    """
    if AXIS not in mesh.axis_names:
        raise ValueError(f"the mesh must have an axis {AXIS!r}, got {', '.join(map(repr, mesh.axis_names))}")
    mesh = with_plain_axes(mesh)
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
