"""Notes on the host how far the lanes of one shape are, and saves that into checkpoints and restores it."""

from typing import Any

import jax
import numpy as np

from jaxstyle.app.checkpoints.saved_file import Saved
from jaxstyle.objective.objective import Losses
from jaxstyle.optimise.stopping import CONVERGED, DIVERGED, NOT_FINITE, RUNNING, StoppingState


class LanesSoFar:
    """How far the lanes of one shape are, as NumPy arrays.

    An index of a lane is its place among these lanes. A state holds the computed lanes in order, and may hold copies of
    the last one behind them.

    Attributes:
      stage: index of the stage that the lanes are in.
      step: number of steps that are done, over all stages.
      computed: (computed,) indices of the lanes that the devices still compute, some of which may have stopped.
      images: (lanes, h, w, 3) final images of the lanes that are no longer computed.
      status: (lanes,) values of `StoppingState.status`.
      steps: (lanes,) steps that each lane has taken.
      matches: leaves (lanes, ...) of the matches at the present stage; none if styles are not compared by matches.
    """

    def __init__(self, lanes: int, shape: tuple[int, int]) -> None:
        self.stage = self.step = 0
        self.computed = np.arange(lanes)
        self.images = np.zeros((lanes, *shape, 3), np.float32)
        self.status, self.steps = (np.zeros(lanes, np.int32) for _ in range(2))
        self.matches: list[np.ndarray] = []
        self._history: list[Losses] = []

    @property
    def running(self) -> np.ndarray:
        """Indices of the computed lanes that have not stopped."""
        return self.computed[self.status[self.computed] == RUNNING]

    @property
    def history_steps(self) -> int:
        """Number of steps whose losses are known."""
        return sum(len(losses.total) for losses in self._history)

    def add_losses(self, losses: Losses) -> Losses:
        """Add the losses of a chunk to the history.

        Args:
          losses: Losses with leaves (steps, lanes of the state).

        Returns:
          The losses of the chunk's last step, leaves (lanes,), NaN for lanes that are not computed.
        """

        def of_all(computed: np.ndarray) -> np.ndarray:
            full = np.full((len(computed), len(self.status)), np.nan, computed.dtype)
            full[:, self.computed] = computed[:, : len(self.computed)]
            return full

        self._history.append(jax.tree.map(of_all, losses))
        return jax.tree.map(lambda leaf: leaf[-1], self._history[-1])

    def losses(self) -> Losses:
        """Return the losses before every step so far, leaves (steps, lanes), NaN where a lane was not computed."""
        return jax.tree.map(lambda *chunks: np.concatenate(chunks), *self._history)

    def pictures(self, state: StoppingState) -> np.ndarray:
        """Return what each lane has made so far, (lanes, h, w, 3); it may share the memory of the state."""
        computed = np.asarray(state.picture)[: len(self.computed)]
        if len(computed) == len(self.status):
            return computed
        images = self.images.copy()
        images[self.computed] = computed
        return images

    def note_status(self, state: StoppingState) -> None:
        """Note which lanes have stopped, and after how many steps."""
        count = len(self.computed)
        self.status[self.computed] = np.asarray(state.status)[:count]
        self.steps[self.computed] = np.asarray(state.steps)[:count]

    def leave_out_stopped(self, state: StoppingState) -> np.ndarray:
        """Keep the pictures of the computed lanes that have stopped, and compute these lanes no more.

        Returns:
          The places in `state` of the lanes that go on.
        """
        goes_on = self.status[self.computed] == RUNNING
        self.images[self.computed[~goes_on]] = np.asarray(state.picture)[: len(goes_on)][~goes_on]
        self.computed = self.computed[goes_on]
        return np.flatnonzero(goes_on)

    def save(self, state: StoppingState, group: int) -> Saved:
        """Copy all that a resumed run needs from the devices; `group` is the number of lanes computed at once."""
        arrays = {"computed": self.computed, "ended": self.images[self._ended()]}
        arrays |= {"status": self.status.copy(), "steps": self.steps.copy()}
        arrays |= {f"history/{name}": leaf for name, leaf in self.losses()._asdict().items()}
        arrays |= {f"matches/{i:04d}": leaf for i, leaf in enumerate(self.matches)}
        for i, leaf in enumerate(jax.tree.leaves(state)):
            # On a CPU, NumPy shows the very memory that the next chunk overwrites.
            arrays[f"state/{i:04d}"] = np.array(leaf)[: len(self.computed)]
        return Saved({"finished": False, "group": group, "stage": self.stage, "step": self.step}, arrays)

    def restore(self, saved: Saved) -> list[np.ndarray]:
        """Take over what `save` saved.

        Returns:
          The leaves of the state, with the computed lanes alone.
        """
        self.stage, self.step = saved.about["stage"], saved.about["step"]
        arrays = saved.arrays
        self.computed = arrays["computed"]
        self.images[self._ended()] = arrays["ended"]
        self.status, self.steps = arrays["status"], arrays["steps"]
        self.matches = [arrays[name] for name in sorted(arrays) if name.startswith("matches/")]
        history: Any = {name: arrays[f"history/{name}"] for name in Losses._fields}
        self._history = [Losses(**history)]
        return [arrays[name] for name in sorted(arrays) if name.startswith("state/")]

    def _ended(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.status)), self.computed)

    def take_pictures(self, state: StoppingState) -> None:
        """Take the pictures of the computed lanes after their last step; a start may lie outside [0, 1]."""
        self.images[self.computed] = np.clip(np.asarray(state.picture)[: len(self.computed)], 0, 1)
        self.note_status(state)

    def undo_failed_steps(self, state: StoppingState, totals: np.ndarray) -> bool:
        """Give lanes whose last step went wrong the image before that step.

        Args:
          state: the state after the last step.
          totals: (lanes,) totals of `images`, as optimisers see them.

        Returns:
          Whether there are such lanes.
        """
        count = len(self.computed)
        totals, limits = totals[self.computed], np.asarray(state.limit)[:count]
        failed = (self.status[self.computed] == RUNNING) & ~(totals <= limits)
        self.images[self.computed[failed]] = np.asarray(state.good)[:count][failed] / np.float32(255)
        self.status[self.computed[failed]] = np.where(np.isfinite(totals[failed]), DIVERGED, NOT_FINITE)
        return bool(failed.any())

    def complete_history(self, final: Losses, steps: int) -> Losses:
        """Build the history of all lanes.

        Args:
          final: Losses of the final images, leaves (lanes,): they stand at the step that made the image.
          steps: number of steps of all stages.

        Returns:
          Losses with leaves (lanes, steps + 1), NaN after the step at which a lane stopped.
        """
        ended_well = np.flatnonzero(self.status <= CONVERGED)

        def of_all(last: np.ndarray, *chunks: np.ndarray) -> np.ndarray:
            losses = np.concatenate(chunks).T
            losses = np.pad(losses, ((0, 0), (0, steps + 1 - losses.shape[1])), constant_values=np.nan)
            losses[ended_well, self.steps[ended_well]] = last[ended_well]
            return losses

        return jax.tree.map(of_all, final, *self._history)
