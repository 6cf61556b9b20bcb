"""Compiles the lanes of one size, for one device or shared out among all devices, in groups that fit into memory."""

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
from jaxstyle.app.system.kept_programs import compile_kept, jit_kept
from jaxstyle.app.system.memory import check_memory, release_memory
from jaxstyle.network.features import Params
from jaxstyle.objective.loss_weights import LossWeights
from jaxstyle.objective.objective import LayerLosses, Losses, Objective
from jaxstyle.optimise.loss_normalisation import scaled
from jaxstyle.optimise.pyramid import carry, mix
from jaxstyle.optimise.stopping import StoppingState, make_stopping
from jaxstyle.optimise.transfer import run_chunk
from jaxstyle.optimise.transfer_state import TransferState
from jaxstyle.parallel.lanes import lane_specs, make_lanes
from jaxstyle.parallel.stacked_targets import StackedTargets, match_lanes, parts_by_lane, targets_of_lane
from jaxstyle.parallel.weight_grid import lane_axes


def make_mesh(lanes: int) -> Mesh | None:
    """Make the mesh of the local devices that share so many lanes; None if one device computes them all."""
    devices = jax.local_devices()[:lanes]
    return None if len(devices) == 1 else Mesh(np.array(devices), ("lanes",))


class CompiledLanes:
    """Lanes of a batch at one size, on their devices.

    Args:
      job: the job that the lanes belong to.
      params: the network's parameters, prepared.
      batch: the lanes; their number is a multiple of the number of devices.
      group: number of lanes that a device computes at once.
      mesh: the devices, with an axis "lanes"; None for the default device.
      tolerance: improvement below which a lane has converged (see `make_stopping`), or None.
    """

    def __init__(
        self, job: Job, params: Params, batch: Batch, *, group: int, mesh: Mesh | None, tolerance: float | None = None
    ) -> None:
        self._job, self._mesh, self._group = job, mesh, group
        self._transfer = make_stopping(job.transfer, tolerance=tolerance)
        self._lanes = make_lanes(self._transfer, batch.weights, microbatch=group, mesh=mesh)
        self._devices = () if mesh is None else tuple(mesh.devices.flat)
        self._init = jit_kept(self._lanes.init, devices=self._devices)
        self._batch = batch
        shared: Any = PartitionSpec()
        specs = (shared, *lane_specs(lane_axes(batch.weights), self._by_lane))
        self._arguments = tuple(
            self._put(x, spec) for x, spec in zip((params, batch.targets, batch.weights), specs, strict=True)
        )
        evaluate = self._map_over_devices(partial(_evaluate_all, job.objective, group), specs)
        self._evaluate = jit_kept(evaluate, devices=self._devices)
        find_matches = self._map_over_devices(partial(_match_all, job.objective), specs)
        self._find_matches = jit_kept(find_matches, devices=self._devices)

    def start(self, limits: np.ndarray) -> StoppingState:
        """Make the state before the first step; a lane whose total is above its limit, (lanes,), has diverged."""
        state: Any = self._init(self._batch.starts)
        return self._with_rates(state._replace(limit=self._put(limits, self._by_lane)))

    def grow(self, state: StoppingState, shape: tuple[int, ...]) -> StoppingState:
        """Carry the state of a coarser size over to this one."""
        lanes = self._transfer._replace(init=jax.vmap(self._transfer.init))
        detail = self._batch.starts if self._job.settings.init == "content" else None
        grow = jit_kept(lambda state, detail: carry(lanes, state, shape, detail=detail), devices=self._devices)
        larger = grow(state, detail)
        if self._mesh is None:
            return larger
        return jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), larger, self._init(larger.image))

    def match(self, state: StoppingState, *, share: float | None) -> list[np.ndarray]:
        """Match lanes with their styles anew, and keep the matches: of `mix` of the content and of the lanes' images.

        Args:
          state: the state at this size.
          share: the content's share of the mix; None: each lane's alpha.

        Returns:
          The matches' leaves (lanes, ...), for `keep_matches`; none if the styles are not compared by matches.
        """
        targets = self._batch.targets
        if targets.matches is None:
            return []
        of_lanes = jnp.broadcast_to(self._batch.weights.alpha if share is None else share, (len(self._batch.starts),))
        images = mix(self._batch.contents[targets.content_index], jnp.asarray(jax.device_get(state.image)), of_lanes)
        found = jax.tree.leaves(jax.device_get(self._find_matches(self._put(images, self._by_lane), *self._arguments)))
        self.keep_matches(found)
        return found

    def keep_matches(self, leaves: Sequence[np.ndarray]) -> None:
        """Compare lanes by these matches, leaves (lanes, ...) of `match`; without leaves, nothing changes."""
        if not leaves:
            return
        params, targets, weights = self._arguments
        matches = jax.tree.unflatten(jax.tree.structure(targets.matches), leaves)
        self._arguments = (params, targets._replace(matches=self._put(matches, self._by_lane)), weights)

    def adopt(self, leaves: Sequence[Any]) -> StoppingState:
        """Make a state of these leaves, on the devices where it belongs."""
        template, structure = jax.tree.flatten(self._init(self._batch.starts))
        put = [jax.device_put(leaf, like.sharding) for leaf, like in zip(leaves, template, strict=True)]
        return jax.tree.unflatten(structure, put)

    def compile(self, state: StoppingState) -> Program:
        """Compile the program of a chunk of steps.

        Raises:
          OutOfMemoryError: if the program does not fit into memory.
        """
        chunk = partial(run_chunk, self._lanes, capacity=CAPACITY)
        compiled = compile_kept(chunk, state, *self._arguments, 1, donate_argnums=(0,), devices=self._devices)
        release_memory()
        check_memory(compiled)
        return lambda state, count: compiled(state, *self._arguments, count)

    def evaluate(self, images: np.ndarray) -> tuple[Losses, LayerLosses, np.ndarray]:
        """Evaluate images (lanes, h, w, 3).

        Returns:
          Their losses, their losses by layer, and their totals as optimisers see them, all with leaves (lanes,).
        """
        return jax.device_get(self._evaluate(self._put(images, self._by_lane), *self._arguments))

    @property
    def _by_lane(self) -> PartitionSpec:
        return PartitionSpec("lanes")

    def _map_over_devices(self, function: Callable[..., Any], specs: tuple[Any, Any, Any]) -> Callable[..., Any]:
        if self._mesh is None:
            return function
        by_lane = self._by_lane
        return jax.shard_map(function, mesh=self._mesh, in_specs=(by_lane, *specs), out_specs=by_lane, check_vma=False)

    def _put(self, tree: Any, spec: Any) -> Any:
        """Put the arrays of a tree on their devices; `spec` may be a prefix of the tree."""
        if self._mesh is None:
            return jax.tree.map(jax.device_put, tree)
        mesh = self._mesh
        shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), spec, is_leaf=lambda s: isinstance(s, PartitionSpec))
        return jax.device_put(tree, shardings)

    def _with_rates(self, state: StoppingState) -> StoppingState:
        """Give each lane its own learning rate, if the optimiser has one."""
        rates = self._put(np.array(self._batch.rates), self._by_lane)  # a copy, because the state is donated

        def with_rates(part: Any) -> Any:
            hyperparams = getattr(getattr(part, "optimizer", None), "hyperparams", {})
            if "learning_rate" not in hyperparams:
                return part
            return part._replace(optimizer=part.optimizer._replace(hyperparams={**hyperparams, "learning_rate": rates}))

        return jax.tree.map(with_rates, state, is_leaf=lambda part: isinstance(part, TransferState))


def _evaluate_all(
    objective: Objective,
    group: int,
    images: jax.Array,
    params: Params,
    targets: StackedTargets,
    weights: LossWeights,
) -> Any:
    def one(lane: Any) -> Any:
        image, weights, parts = lane
        own = targets_of_lane(targets, parts)
        losses = objective.loss(image, params, own, weights)[1]
        return losses, objective.terms(image, params, own, weights), scaled(losses.total, losses, weights)

    return lax.map(one, (images, weights, parts_by_lane(targets)), batch_size=group)


def _match_all(
    objective: Objective, images: jax.Array, params: Params, targets: StackedTargets, weights: LossWeights
) -> Any:
    return match_lanes(objective.match, images, params, targets).matches
