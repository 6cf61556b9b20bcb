"""Runs the lanes of one shape: through their stages in chunks of steps, with checkpoints, to their outcome."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jaxstyle.app.checkpoints.checkpoints import Checkpoints
from jaxstyle.app.checkpoints.saved_file import Saved
from jaxstyle.app.execution.batches import Batch, pad, select
from jaxstyle.app.execution.chunk_loop import take_steps
from jaxstyle.app.execution.compiled_lanes import CompiledLanes, make_mesh
from jaxstyle.app.execution.job import Job
from jaxstyle.app.execution.lanes_so_far import LanesSoFar
from jaxstyle.app.execution.outcome import Outcome, to_arrays
from jaxstyle.app.execution.progress import Counts, Progress
from jaxstyle.app.pictures.at_scale import at_scale
from jaxstyle.app.settings.stages import Stage
from jaxstyle.app.system import signals
from jaxstyle.network.features import Params
from jaxstyle.objective.objective import LayerLosses, Losses
from jaxstyle.optimise.stopping import CONVERGED, WINDOW, StoppingState
from jaxstyle.optimise.transfer_state import offered

# A lane has diverged if its total is so many times that of an all-grey picture, or of the start.
_DIVERGENCE = 100.0

SnapshotWriter = Callable[[int, Sequence[int], np.ndarray], None]
"""Writes pictures of lanes on their way: takes the number of steps, lane numbers, images (lanes, h, w, 3)."""


class Viewer(NamedTuple):
    """Shows pictures of lanes while they take steps.

    Attributes:
      due: says whether the pictures are wanted after this chunk.
      show: takes the number of steps done and that of all, lane numbers, images (lanes, h, w, 3), which the next chunk
        may overwrite, and the losses of each lane before every step so far, Losses with leaves (steps, lanes).
    """

    due: Callable[[], bool]
    show: Callable[[int, int, Sequence[int], np.ndarray, Losses], None]


class LanesOfShape(NamedTuple):
    """Lanes whose images have one shape, with all that is needed to run them.

    Attributes:
      job: the job that the lanes belong to.
      numbers: their numbers in the job.
      stages: the sizes that the lanes go through.
      params: the network's parameters, prepared.
      make_batch: makes the batch of (job, params, numbers) at the size of the job's pictures.
      checkpoint_name: name of the lanes' series of checkpoints.
      checkpoints: where checkpoints go; with None there are none, and a signal ends the process at once.
      save_every: number of steps between snapshots; None for no snapshots.
      write_snapshot: writes a snapshot, if snapshots are wanted.
      viewer: shows the pictures meanwhile, if anybody looks.
    """

    job: Job
    numbers: list[int]
    stages: list[Stage]
    params: Params
    make_batch: Callable[[Job, Params, list[int]], Batch]
    checkpoint_name: str
    checkpoints: Checkpoints | None
    save_every: int | None
    write_snapshot: SnapshotWriter | None
    viewer: Viewer | None = None

    def steps(self) -> int:
        """Count the steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def work(self, steps: int | None = None) -> float:
        """Return lane-steps times pixels of the first `steps` steps, or of all."""
        rest, pixels = self.steps() if steps is None else steps, 0
        for stage in self.stages:
            pixels += min(rest, stage.steps) * math.prod(stage.shape)
            rest -= min(rest, stage.steps)
        return float(pixels * len(self.numbers))


def run_lanes(lanes: LanesOfShape, group: int, saved: Saved | None, progress: Progress) -> Outcome:
    """Run lanes of one shape to their end.

    Args:
      lanes: the lanes.
      group: number of lanes that a device computes at once.
      saved: what a checkpoint holds of the lanes, if they go on from one.
      progress: is told about every chunk.

    Raises:
      OutOfMemoryError: if the group does not fit into memory.
      StoppedError: after a signal.
      BaseException: what a watcher of the progress raised.
    """
    return _LanesRunner(lanes, group, progress).run(saved)


class _LanesRunner:
    """Runs lanes of one shape on all devices of this process."""

    def __init__(self, lanes: LanesOfShape, group: int, progress: Progress) -> None:
        self.lanes, self.group, self.progress = lanes, group, progress
        self.tolerance = lanes.job.settings.tolerance
        self.shape = lanes.stages[-1].shape
        self.mesh = make_mesh(len(lanes.numbers))
        self.devices = 1 if self.mesh is None else self.mesh.size
        self.batch = lanes.make_batch(lanes.job, lanes.params, lanes.numbers)
        self.so_far = LanesSoFar(len(lanes.numbers), self.shape)
        self.everyone = self._pad(self.so_far.computed)
        self.full_size = self._build(self.batch, self.everyone, self.tolerance, self.group)

    def run(self, saved: Saved | None) -> Outcome:
        leaves = None if saved is None else self.so_far.restore(saved)
        state: StoppingState | None = None
        for stage in range(self.so_far.stage, len(self.lanes.stages)):
            self.so_far.stage = stage
            compiled = self._lanes_of_stage()
            if leaves is not None:
                compiled.keep_matches(self._matches())
                state = compiled.adopt([leaf[self._pad(np.arange(len(leaf)))] for leaf in leaves])
            else:
                # As NNST has it, the content alone is matched at the first size. A texture has none.
                share = 1.0 if state is None and self.lanes.job.settings.content is not None else None
                state = self._start(compiled) if state is None else compiled.grow(state, self.lanes.stages[stage].shape)
                found = compiled.match(state, share=share)
                self.so_far.matches = [leaf[: len(self.lanes.numbers)] for leaf in found]
            leaves = None
            state = self._take_stage(compiled, state)
        assert state is not None
        with self._signals_deferred():
            outcome = self._finish(state)
            if self.lanes.checkpoints:
                saved = Saved({"finished": True, "group": self.group}, to_arrays(outcome))
                if not self.lanes.checkpoints.save(self.lanes.checkpoint_name, saved, wait=True):
                    self.lanes.checkpoints.complete = False
        return outcome

    def _build(self, batch: Batch, index: np.ndarray, tolerance: float | None, group: int) -> CompiledLanes:
        group = min(group, len(index) // self.devices)
        chosen = select(batch, index)
        job, params = self.lanes.job, self.lanes.params
        return CompiledLanes(job, params, chosen, group=group, mesh=self.mesh, tolerance=tolerance)

    def _pad(self, index: np.ndarray) -> np.ndarray:
        """Repeat the last lane until the devices share the lanes evenly.

        Where lanes stop early, the number for each device is a power of two, so that few programs are compiled.
        """
        everyone = len(self.lanes.numbers)
        count = -(-len(index) // self.devices)
        if self.tolerance is not None and len(index) < everyone:
            count = min(1 << (count - 1).bit_length(), -(-everyone // self.devices))
        return pad(index, count * self.devices)

    def _lanes_of_stage(self) -> CompiledLanes:
        """Make the computed lanes at the size of the present stage."""
        index = self._pad(self.so_far.computed)
        if self._is_last_stage():
            if np.array_equal(index, self.everyone):
                return self.full_size
            return self._build(self.batch, index, self.tolerance, self.group)
        lanes, shape = self.lanes, self.lanes.stages[self.so_far.stage].shape
        smaller = at_scale(lanes.job.pictures, self.shape, shape, least=lanes.job.network.smallest_side)
        batch = lanes.make_batch(lanes.job._replace(pictures=smaller), lanes.params, lanes.numbers)
        # More small images at once take the same memory, and read the kernels once for all of them.
        return self._build(batch, index, None, self.group * (math.prod(self.shape) // math.prod(shape)))

    def _matches(self) -> list[np.ndarray]:
        """Return the matches of the computed lanes, for `CompiledLanes.keep_matches`."""
        index = self._pad(self.so_far.computed)
        return [leaf[index] for leaf in self.so_far.matches]

    def _is_last_stage(self) -> bool:
        return self.so_far.stage == len(self.lanes.stages) - 1

    def _start(self, compiled: CompiledLanes) -> StoppingState:
        """Start the lanes, and limit their totals: to infinity where the grey picture has no total."""
        state = compiled.start(np.full(len(self.everyone), np.inf, np.float32))
        if offered(state, "accepted") is not None:
            return state  # the optimiser goes back to its best image, so that no lane diverges
        grey = np.full((len(self.everyone), *self.shape, 3), 0.5, np.float32)
        return compiled.start(np.nan_to_num(_DIVERGENCE * self.full_size.evaluate(grey)[2], nan=np.inf))

    def _take_stage(self, compiled: CompiledLanes, state: StoppingState) -> StoppingState:
        end = sum(stage.steps for stage in self.lanes.stages[: self.so_far.stage + 1])
        compacting = self.tolerance is not None and self._is_last_stage()
        strides = [n for n in (WINDOW if compacting else None, self.lanes.save_every) if n]
        while self.so_far.step < end:
            if compacting:
                compiled, state = self._compact(compiled, state)
                if not len(self.so_far.computed):
                    break
            program = compiled.compile(state)
            with self._signals_deferred():
                state, self.so_far.step = take_steps(
                    program,
                    state,
                    start=self.so_far.step,
                    steps=end,
                    strides=strides,
                    report=self._report,
                    wants_state=lambda step: self._wants_state(step, strides),
                    show_state=partial(self._see_state, end=end, compacting=compacting),
                )
        return state

    def _signals_deferred(self) -> contextlib.AbstractContextManager[None]:
        """Have signals wait for the end of the chunk, if there are checkpoints that can save it."""
        return signals.deferred() if self.lanes.checkpoints else contextlib.nullcontext()

    def _report(self, steps: int, losses: Losses) -> None:
        """Add a chunk's losses to the history, and tell the progress."""
        last = self.so_far.add_losses(losses)
        # Infinity counts as active: a total that is too large for float32 is no failure.
        count, active = len(self.lanes.numbers), int((~np.isnan(last.total)).sum())
        status = self.so_far.status
        converged = int((status == CONVERGED).sum())
        failed = count - active - converged if self.tolerance is None else int((status > CONVERGED).sum())
        counts = Counts(active, converged, failed)
        work = steps * count * math.prod(self.lanes.stages[self.so_far.stage].shape)
        self.progress.advance(steps, work, counts, self.lanes.numbers, last, self.so_far.history_steps - 1)

    def _wants_state(self, step: int, strides: list[int]) -> bool:
        if self.progress.error is not None or any(step % stride == 0 for stride in strides):
            return True
        if self.lanes.viewer and self.lanes.viewer.due():
            return True
        return self.lanes.checkpoints is not None and (signals.pending() or self.lanes.checkpoints.due())

    def _see_state(self, step: int, state: StoppingState, *, end: int, compacting: bool) -> bool:
        """Save what is due of a state between two chunks.

        Returns:
          True to end the loop, so that lanes that have stopped are left out.
        """
        self.so_far.step = step
        self.so_far.note_status(state)
        lanes, computed = self.lanes, self.so_far.computed
        if lanes.write_snapshot and lanes.save_every and step % lanes.save_every == 0:
            numbers = [lanes.numbers[i] for i in computed]
            lanes.write_snapshot(step, numbers, np.asarray(state.picture)[: len(computed)])
        if lanes.viewer and lanes.viewer.due():
            lanes.viewer.show(step, lanes.steps(), lanes.numbers, self.so_far.pictures(state), self.so_far.losses())
        error = self.progress.error
        if lanes.checkpoints:
            stopping, stage_done = signals.pending(), step == end and not self._is_last_stage()
            last = stopping or error is not None
            if last or stage_done or lanes.checkpoints.due():
                lanes.checkpoints.save(lanes.checkpoint_name, self.so_far.save(state, self.group), wait=last)
            if stopping:
                raise signals.stopped(self.progress.describe_steps())
        if error is not None:
            error.add_note(f"stopped {self.progress.describe_steps()}{signals.advice()}")
            raise error
        return compacting and self._would_shrink(state)

    def _would_shrink(self, state: StoppingState) -> bool:
        """Return whether fewer lanes would be computed without those that have stopped; every WINDOW steps at most."""
        running = self.so_far.running
        return self.so_far.step % WINDOW == 0 and (not len(running) or len(self._pad(running)) < len(state.steps))

    def _compact(self, compiled: CompiledLanes, state: StoppingState) -> tuple[CompiledLanes, StoppingState]:
        """Leave out the lanes that have stopped, where that makes the batch smaller."""
        self.so_far.note_status(state)
        if not self._would_shrink(state):
            return compiled, state
        going_on = self.so_far.leave_out_stopped(state)
        if not len(going_on):
            return compiled, state
        index = self._pad(going_on)
        compiled = self._lanes_of_stage()
        compiled.keep_matches(self._matches())
        return compiled, compiled.adopt([leaf[index] for leaf in jax.tree.leaves(state)])

    def _finish(self, state: StoppingState) -> Outcome:
        """Make the outcome; a lane whose last step went wrong gets the image before that step."""
        so_far = self.so_far
        self.full_size.keep_matches([leaf[self.everyone] for leaf in so_far.matches])
        so_far.take_pictures(state)
        final, layers, totals = self._evaluate()
        history = so_far.complete_history(final, self.lanes.steps())
        if so_far.undo_failed_steps(state, totals):
            final, layers, _ = self._evaluate()
        retries = np.zeros_like(so_far.steps)
        return Outcome(list(so_far.images), history, final, layers, so_far.steps, so_far.status, retries)

    def _evaluate(self) -> tuple[Losses, LayerLosses, np.ndarray]:
        found = self.full_size.evaluate(self.so_far.images[self.everyone])
        return jax.tree.map(lambda x: x[: len(self.lanes.numbers)], found)
