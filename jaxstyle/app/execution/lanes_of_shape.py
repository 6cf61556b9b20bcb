"""The course of the lanes of one shape: through their stages in chunks, with checkpoints, to their outcome."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxstyle.app.execution.batches import Batch, pad, select
from jaxstyle.app.execution.checkpoint import Checkpoints, Saved
from jaxstyle.app.execution.chunk_loop import take_steps
from jaxstyle.app.execution.compiled_lanes import Lanes, make_mesh
from jaxstyle.app.execution.job import Job
from jaxstyle.app.execution.outcome import Outcome, pack
from jaxstyle.app.execution.progress import Counts, Progress
from jaxstyle.app.pictures.at_scale import at_scale
from jaxstyle.app.settings.stages import Stage, smallest_side
from jaxstyle.app.system import signals
from jaxstyle.network.features import Params
from jaxstyle.objective.objective import LayerLosses, Losses
from jaxstyle.optimise.stopping import CONVERGED, DIVERGED, NOT_FINITE, RUNNING, WINDOW, StoppingState

_DIVERGENCE = 100.0  # times the total of a picture that is all grey, or of the start

Snapshot = Callable[[int, Sequence[int], np.ndarray], None]
"""Is given the number of steps, numbers of lanes, and their images (lanes, h, w, 3)."""


class Part(NamedTuple):
    """Lanes of one shape, and all that their course needs.

    Attributes:
      job: what they belong to.
      lanes: their numbers in it.
      stages: the sizes they go through.
      params: the network's parameters, prepared.
      make_batch: of (job, params, lanes), their batch at the size of the job's pictures.
      name: of their checkpoints.
      checkpoints: where they go; None: nowhere, and a signal ends the process at once.
      save_every: steps between snapshots; None: none are made.
      snapshot: makes one.
    """

    job: Job
    lanes: list[int]
    stages: list[Stage]
    params: Params
    make_batch: Callable[[Job, Params, list[int]], Batch]
    name: str
    checkpoints: Checkpoints | None
    save_every: int | None
    snapshot: Snapshot | None

    def steps(self) -> int:
        """Steps through all stages."""
        return sum(stage.steps for stage in self.stages)

    def work(self, steps: int | None = None) -> float:
        """Lane-steps times pixels of the first `steps`, or of all."""
        rest, pixels = self.steps() if steps is None else steps, 0
        for stage in self.stages:
            pixels += min(rest, stage.steps) * math.prod(stage.shape)
            rest -= min(rest, stage.steps)
        return float(pixels * len(self.lanes))


def run_part(part: Part, group: int, saved: Saved | None, progress: Progress) -> Outcome:
    """Take all lanes to their end, `group` of them at once on a device, from what was saved of them on.

    Raises:
      OutOfMemoryError: if they don't fit.
      StoppedError: after a signal.
      BaseException: what a watcher of the progress raised.
    """
    return _Course(part, group, progress).run(saved)


class _Course:
    """Lanes on their way. Those at work are called members, by their places in the part.

    Of the others, which came to their end early, `images`, `status` and `steps` hold how.
    """

    def __init__(self, part: Part, group: int, progress: Progress) -> None:
        self.part, self.group, self.progress = part, group, progress
        self.tolerance = part.job.settings.tolerance
        self.shape = part.stages[-1].shape
        self.mesh = make_mesh(len(part.lanes))
        self.devices = 1 if self.mesh is None else self.mesh.size
        self.batch = part.make_batch(part.job, part.params, part.lanes)
        self.stage = self.step = 0
        self.members = np.arange(len(part.lanes))
        self.everyone = self._pad(self.members)
        self.whole = self._build(self.batch, self.everyone, self.tolerance, self.group)
        self.images = np.zeros((len(part.lanes), *self.shape, 3), np.float32)
        self.status, self.steps = (np.zeros(len(part.lanes), np.int32) for _ in range(2))
        self.rows: list[Losses] = []

    def run(self, saved: Saved | None) -> Outcome:
        leaves = None if saved is None else self._restore(saved)
        state: StoppingState | None = None
        for number in range(self.stage, len(self.part.stages)):
            self.stage = number
            lanes = self._lanes_of_stage()
            if leaves is not None:
                state = lanes.adopt([leaf[self._pad(np.arange(len(leaf)))] for leaf in leaves])
            elif state is None:
                state = lanes.start(self._limits())
            else:
                state = lanes.grow(state, self.part.stages[number].shape)
            leaves = None
            state = self._take_stage(lanes, state)
        assert state is not None
        with self._deferred():
            outcome = self._finish(state)
            if self.part.checkpoints:
                saved = Saved({"finished": True, "group": self.group}, pack(outcome))
                if not self.part.checkpoints.save(self.part.name, saved, wait=True):
                    self.part.checkpoints.complete = False
        return outcome

    def _build(self, batch: Batch, index: np.ndarray, tolerance: float | None, group: int) -> Lanes:
        group = min(group, len(index) // self.devices)
        chosen = select(batch, index)
        return Lanes(self.part.job, self.part.params, chosen, group=group, mesh=self.mesh, tolerance=tolerance)

    def _pad(self, members: np.ndarray) -> np.ndarray:
        """The members, the last one repeated, as many as devices share out; in few numbers where lanes stop early."""
        count = -(-len(members) // self.devices)
        if self.tolerance is not None and len(members) < len(self.part.lanes):
            count = min(1 << (count - 1).bit_length(), -(-len(self.part.lanes) // self.devices))
        return pad(members, count * self.devices)

    def _lanes_of_stage(self) -> Lanes:
        index = self._pad(self.members)
        if self._last():
            all_of_them = np.array_equal(index, self.everyone)
            return self.whole if all_of_them else self._build(self.batch, index, self.tolerance, self.group)
        part, shape = self.part, self.part.stages[self.stage].shape
        smaller = at_scale(part.job.pictures, self.shape, shape, least=smallest_side(part.job.settings))
        batch = part.make_batch(part.job._replace(pictures=smaller), part.params, part.lanes)
        # Of small images more at once take the same memory, and read the kernels once for all of them.
        return self._build(batch, index, None, self.group * (math.prod(self.shape) // math.prod(shape)))

    def _last(self) -> bool:
        return self.stage == len(self.part.stages) - 1

    def _limits(self) -> np.ndarray:
        """Totals above which lanes diverge; where that is not known, none."""
        grey = np.full((len(self.everyone), *self.shape, 3), 0.5, np.float32)
        return np.nan_to_num(_DIVERGENCE * self.whole.evaluate(grey)[2], nan=np.inf)

    def _take_stage(self, lanes: Lanes, state: StoppingState) -> StoppingState:
        end = sum(stage.steps for stage in self.part.stages[: self.stage + 1])
        compacting = self.tolerance is not None and self._last()
        strides = [n for n in (WINDOW if compacting else None, self.part.save_every) if n]
        while self.step < end:
            if compacting:
                lanes, state = self._compact(lanes, state)
                if not len(self.members):
                    break
            program = lanes.compile(state)
            with self._deferred():
                state, self.step = take_steps(
                    program,
                    state,
                    start=self.step,
                    steps=end,
                    strides=strides,
                    report=self._report,
                    wanted=lambda step: self._wanted(step, strides),
                    rest=partial(self._rest, end=end, compacting=compacting),
                )
        return state

    def _deferred(self) -> contextlib.AbstractContextManager[None]:
        """Signals wait for the end of the chunk, if there is where to save what it made."""
        return signals.deferred() if self.part.checkpoints else contextlib.nullcontext()

    def _report(self, steps: int, losses: Losses) -> None:
        def of_all(rows: np.ndarray) -> np.ndarray:
            full = np.full((steps, len(self.part.lanes)), np.nan, rows.dtype)
            full[:, self.members] = rows[:, : len(self.members)]
            return full

        full = jax.tree.map(of_all, losses)
        self.rows.append(full)
        last = jax.tree.map(lambda rows: rows[-1], full)
        # Not NaN: a total that is too large for float32 is no failure.
        count, active = len(self.part.lanes), int((~np.isnan(last.total)).sum())
        converged = int((self.status == CONVERGED).sum())
        failed = count - active - converged if self.tolerance is None else int((self.status > CONVERGED).sum())
        height, width = self.part.stages[self.stage].shape
        counts = Counts(active, converged, failed)
        before_last = sum(len(rows.total) for rows in self.rows) - 1
        work = steps * count * height * width
        self.progress.advance(steps, work, counts, self.part.lanes, last, before_last)

    def _wanted(self, step: int, strides: list[int]) -> bool:
        if self.progress.error is not None or any(step % stride == 0 for stride in strides):
            return True
        return self.part.checkpoints is not None and (signals.pending() or self.part.checkpoints.due())

    def _rest(self, step: int, state: StoppingState, *, end: int, compacting: bool) -> bool:
        """Look at a state between two chunks; True if lanes have stopped without which it goes on quicker."""
        self.step = step
        self._note(state)
        part = self.part
        if part.snapshot and part.save_every and step % part.save_every == 0:
            part.snapshot(step, [part.lanes[i] for i in self.members], np.asarray(state.picture)[: len(self.members)])
        error = self.progress.error
        if part.checkpoints:
            stopping, stage_done = signals.pending(), step == end and not self._last()
            last = stopping or error is not None
            if last or stage_done or part.checkpoints.due():
                part.checkpoints.save(part.name, self._save(state), wait=last)
            if stopping:
                raise signals.stopped(self.progress.describe_steps())
        if error is not None:
            error.add_note(f"stopped {self.progress.describe_steps()}{signals.advice()}")
            raise error
        return compacting and self._shrinks(len(state.steps))

    def _note(self, state: StoppingState) -> None:
        count = len(self.members)
        self.status[self.members] = np.asarray(state.status)[:count]
        self.steps[self.members] = np.asarray(state.steps)[:count]

    def _shrinks(self, size: int) -> bool:
        """Whether lanes at work would be fewer without those that have stopped; only every so many steps."""
        active = self.members[self.status[self.members] == RUNNING]
        return self.step % WINDOW == 0 and (not len(active) or len(self._pad(active)) < size)

    def _compact(self, lanes: Lanes, state: StoppingState) -> tuple[Lanes, StoppingState]:
        """Go on with the lanes that haven't stopped."""
        self._note(state)
        if not self._shrinks(len(state.steps)):
            return lanes, state
        active = self.status[self.members] == RUNNING
        self.images[self.members[~active]] = np.asarray(state.picture)[: len(active)][~active]
        self.members = self.members[active]
        if not len(self.members):
            return lanes, state
        index = self._pad(np.flatnonzero(active))
        lanes = self._lanes_of_stage()
        return lanes, lanes.adopt([leaf[index] for leaf in jax.tree.leaves(state)])

    def _save(self, state: StoppingState) -> Saved:
        """All that is needed to go on, copied from the devices."""
        ended = np.setdiff1d(np.arange(len(self.part.lanes)), self.members)
        arrays = {"members": self.members, "ended": self.images[ended]}
        arrays |= {"status": self.status.copy(), "steps": self.steps.copy()}
        for name in Losses._fields:
            arrays[f"rows/{name}"] = np.concatenate([getattr(rows, name) for rows in self.rows])
        for i, leaf in enumerate(jax.tree.leaves(state)):
            # On a CPU, what NumPy shows is the memory that the next chunk overwrites.
            arrays[f"state/{i:04d}"] = np.array(leaf)[: len(self.members)]
        return Saved({"finished": False, "group": self.group, "stage": self.stage, "step": self.step}, arrays)

    def _restore(self, saved: Saved) -> list[np.ndarray]:
        """Take over what `_save` saved; returns the leaves of the state."""
        self.stage, self.step = saved.about["stage"], saved.about["step"]
        arrays = saved.arrays
        self.members = arrays["members"]
        self.images[np.setdiff1d(np.arange(len(self.part.lanes)), self.members)] = arrays["ended"]
        self.status, self.steps = arrays["status"], arrays["steps"]
        rows: Any = {name: arrays[f"rows/{name}"] for name in Losses._fields}
        self.rows = [Losses(**rows)]
        return [arrays[name] for name in sorted(arrays) if name.startswith("state/")]

    def _finish(self, state: StoppingState) -> Outcome:
        count = len(self.members)
        self.images[self.members] = np.clip(np.asarray(state.picture)[:count], 0, 1)  # a start may be outside
        self._note(state)
        final, layers, totals = self._evaluate()
        history = self._history(final)
        totals, limits = totals[self.members], np.asarray(state.limit)[:count]
        late = (self.status[self.members] == RUNNING) & ~(totals <= limits)  # the last step went wrong
        if late.any():
            self.images[self.members[late]] = np.asarray(state.good)[:count][late] / np.float32(255)
            self.status[self.members[late]] = np.where(np.isfinite(totals[late]), DIVERGED, NOT_FINITE)
            final, layers, _ = self._evaluate()
        retries = np.zeros_like(self.steps)
        return Outcome(list(self.images), history, final, layers, self.steps, self.status, retries)

    def _evaluate(self) -> tuple[Losses, LayerLosses, np.ndarray]:
        found = self.whole.evaluate(self.images[self.everyone])
        return jax.tree.map(lambda x: x[: len(self.part.lanes)], found)

    def _history(self, final: Losses) -> Losses:
        """Losses with leaves (lanes, steps + 1), those of the last images at the step that made them."""
        columns = self.part.steps() + 1
        ended_well = np.flatnonzero(self.status <= CONVERGED)

        def of_all(last: np.ndarray, *parts: np.ndarray) -> np.ndarray:
            rows = np.concatenate(parts).T
            rows = np.pad(rows, ((0, 0), (0, columns - rows.shape[1])), constant_values=np.nan)
            rows[ended_well, self.steps[ended_well]] = last[ended_well]
            return rows

        return jax.tree.map(of_all, final, *self.rows)
