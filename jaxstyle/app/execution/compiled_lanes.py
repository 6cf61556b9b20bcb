"""The compiled program of lanes of one size: on one device or shared out among all of them, in groups that fit."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle.app.execution.batches import Batch
from jaxstyle.app.execution.chunk_loop import CAPACITY, Program
from jaxstyle.app.execution.job import Job
from jaxstyle.app.system.memory import check_memory, release_memory
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import LayerLosses, Losses
from jaxstyle.optimise.pyramid import carry
from jaxstyle.optimise.scaling import scaled
from jaxstyle.optimise.state import TransferState
from jaxstyle.optimise.stopping import StoppingState, make_stopping
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.parallel.lanes import lane_specs, make_lanes
from jaxstyle.parallel.stacked_targets import StackedTargets, targets_of_lane
from jaxstyle.parallel.weight_grid import lane_axes


def make_mesh(lanes: int) -> Mesh | None:
    """The devices of this process that share so many lanes; None for one of them."""
    devices = jax.local_devices()[:lanes]
    return None if len(devices) == 1 else Mesh(np.array(devices), ("lanes",))


class Lanes:
    """Lanes of a batch at one size, on their devices.

    Args:
      job: what the lanes have in common.
      params: the network's parameters, prepared.
      batch: the lanes; their number divides by that of the devices.
      group: lanes computed at once on a device.
      mesh: the devices; None: the default one.
      tolerance: of their convergence, or None.
    """

    def __init__(
        self, job: Job, params: Params, batch: Batch, *, group: int, mesh: Mesh | None, tolerance: float | None = None
    ) -> None:
        self._job, self._mesh, self._group = job, mesh, group
        self._transfer = make_stopping(job.transfer, tolerance=tolerance)
        self._lanes = make_lanes(self._transfer, batch.weights, microbatch=group, mesh=mesh)
        self._init = jax.jit(self._lanes.init)
        self._batch = batch
        shared: Any = PartitionSpec()
        specs = (shared, *lane_specs(lane_axes(batch.weights), self._by_lane))
        self._arguments = tuple(
            self._put(x, spec) for x, spec in zip((params, batch.targets, batch.weights), specs, strict=True)
        )
        self._evaluate = jax.jit(self._map_over_devices(self._evaluate_all, specs))

    def start(self, limits: np.ndarray) -> StoppingState:
        """The state before the first step; a lane's total above its limit, (lanes,), means that it diverges."""
        state: Any = self._init(self._batch.starts)
        return self._with_rates(state._replace(limit=self._put(limits, self._by_lane)))

    def grow(self, state: StoppingState, shape: tuple[int, ...]) -> StoppingState:
        """The state of a coarser size, carried over to this one."""
        lanes = self._transfer._replace(init=jax.vmap(self._transfer.init))
        detail = self._batch.starts if self._job.settings.init == "content" else None
        larger = jax.jit(lambda state, detail: carry(lanes, state, shape, detail=detail))(state, detail)
        return jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), larger, self._init(larger.image))

    def adopt(self, leaves: Sequence[Any]) -> StoppingState:
        """The state whose leaves these arrays are, on its devices."""
        template, structure = jax.tree.flatten(self._init(self._batch.starts))
        put = [jax.device_put(leaf, like.sharding) for leaf, like in zip(leaves, template, strict=True)]
        return jax.tree.unflatten(structure, put)

    def compile(self, state: StoppingState) -> Program:
        """The program of a chunk of steps, compiled.

        Raises:
          OutOfMemoryError: if it does not fit.
        """
        chunk = jax.jit(partial(run_chunk, self._lanes, capacity=CAPACITY), donate_argnums=0)
        compiled = chunk.lower(state, *self._arguments, 1).compile()
        release_memory()
        check_memory(compiled)
        return lambda state, count: compiled(state, *self._arguments, count)

    def evaluate(self, images: np.ndarray) -> tuple[Losses, LayerLosses, np.ndarray]:
        """Of images (lanes, h, w, 3): losses, losses by layer, and totals as optimisers see them, leaves (lanes,)."""
        return jax.device_get(self._evaluate(self._put(images, self._by_lane), *self._arguments))

    def _evaluate_all(self, images: jax.Array, params: Params, targets: StackedTargets, weights: LossWeights) -> Any:
        def one(lane: Any) -> Any:
            image, weights, content, style = lane
            own = targets_of_lane(targets, (content, style))
            losses = self._job.objective.loss(image, params, own, weights)[1]
            return losses, self._job.objective.terms(image, params, own, weights), scaled(losses.total, losses, weights)

        lanes = (images, weights, targets.content_index, targets.style_index)
        return lax.map(one, lanes, batch_size=self._group)

    @property
    def _by_lane(self) -> PartitionSpec:
        return PartitionSpec("lanes")

    def _map_over_devices(self, function: Callable[..., Any], specs: tuple[Any, Any, Any]) -> Callable[..., Any]:
        if self._mesh is None:
            return function
        by_lane = self._by_lane
        return jax.shard_map(function, mesh=self._mesh, in_specs=(by_lane, *specs), out_specs=by_lane, check_vma=False)

    def _put(self, tree: Any, spec: Any) -> Any:
        """The arrays of a tree on their devices; `spec` may be a prefix of the tree."""
        if self._mesh is None:
            return jax.tree.map(jnp.asarray, tree)
        mesh = self._mesh
        shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), spec, is_leaf=lambda s: isinstance(s, PartitionSpec))
        return jax.device_put(tree, shardings)

    def _with_rates(self, state: StoppingState) -> StoppingState:
        """With each lane's own learning rate, if the optimiser has one."""
        rates = self._put(self._batch.rates, self._by_lane)

        def with_rates(part: Any) -> Any:
            hyperparams = getattr(getattr(part, "optimizer", None), "hyperparams", {})
            if "learning_rate" not in hyperparams:
                return part
            return part._replace(optimizer=part.optimizer._replace(hyperparams={**hyperparams, "learning_rate": rates}))

        return jax.tree.map(with_rates, state, is_leaf=lambda part: isinstance(part, TransferState))
