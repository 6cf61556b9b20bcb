"""Holds and joins outcomes of lanes: their images, the history of their losses, and how each of them ended."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxstyle.objective.objective import LayerLosses, Losses
from jaxstyle.optimise.stopping import CONVERGED, DIVERGED, NOT_FINITE, RUNNING


class Outcome(NamedTuple):
    """The outcome of lanes, as NumPy arrays.

    Attributes:
      images: an image (h, w, 3) in [0, 1] for each lane; the last good one if the lane failed.
      history: Losses with leaves (lanes, steps + 1); column i is after i steps, and NaN follows where a lane stopped.
      final: Losses of `images`, leaves (lanes,).
      layers: LayerLosses of `images`, leaves (lanes,).
      steps: (lanes,) steps that the lane took before it stopped.
      status: (lanes,) values of `StoppingState.status`; a lane that took all steps is RUNNING.
      retries: (lanes,) how often the lane was started again because it had failed.
      seconds: wall time of the steps, compilation included.
    """

    images: list[np.ndarray]
    history: Losses
    final: Losses
    layers: LayerLosses
    steps: np.ndarray
    status: np.ndarray
    retries: np.ndarray
    seconds: float = 0.0

    @property
    def ok(self) -> np.ndarray:
        """(lanes,) whether each lane ended well; False for lanes that failed."""
        return (self.status == RUNNING) | (self.status == CONVERGED)

    def reason(self, lane: int) -> str:
        """Say why a lane stopped; "" if it took all its steps."""
        step = self.steps[lane]
        return {
            RUNNING: "",
            CONVERGED: f"converged at step {step}",
            NOT_FINITE: f"a loss or gradient was not finite at step {step}",
            DIVERGED: f"diverged at step {step}",
        }[int(self.status[lane])]


def join_outcomes(outcomes: Sequence[Outcome], lanes: Sequence[int] | None = None) -> Outcome:
    """Join outcomes into one.

    Args:
      outcomes: outcomes of different lanes; where some took fewer steps, their history ends with NaN.
      lanes: numbers of all these lanes, by which they are sorted; with None they stay in order.
    """
    images = [image for outcome in outcomes for image in outcome.images]
    columns = max(outcome.history.total.shape[1] for outcome in outcomes)
    longest = [o._replace(history=jax.tree.map(lambda x: _pad_history(x, columns), o.history)) for o in outcomes]
    arrays = [outcome[1:-1] for outcome in longest]
    order = range(len(images)) if lanes is None else np.argsort(lanes)
    joined = jax.tree.map(lambda *parts: np.concatenate(parts)[np.asarray(order)], *arrays)
    return Outcome([images[i] for i in order], *joined, seconds=sum(outcome.seconds for outcome in outcomes))


def take_lanes(outcome: Outcome, lanes: np.ndarray) -> Outcome:
    """Take the lanes with these indices."""
    arrays = jax.tree.map(lambda x: x[lanes], outcome[1:-1])
    return Outcome([outcome.images[lane] for lane in lanes], *arrays, seconds=outcome.seconds)


def replace_lanes(outcome: Outcome, lanes: Sequence[int] | np.ndarray, again: Outcome) -> Outcome:
    """Replace the lanes with these indices by another outcome of them, which took as many steps or fewer."""
    images = list(outcome.images)
    for lane, image in zip(lanes, again.images, strict=True):
        images[lane] = image
    columns = outcome.history.total.shape[1]
    again = again._replace(history=jax.tree.map(lambda x: _pad_history(x, columns), again.history))

    def put(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        before = before.copy()
        before[np.asarray(lanes, int)] = after
        return before

    seconds = outcome.seconds + again.seconds
    return Outcome(images, *jax.tree.map(put, outcome[1:-1], again[1:-1]), seconds=seconds)


def replace_retried(outcome: Outcome, lanes: np.ndarray, again: Outcome) -> Outcome:
    """Replace the lanes with these indices by the outcome `again` of their retry."""
    return replace_lanes(outcome, lanes, again._replace(retries=outcome.retries[lanes] + 1))


def _pad_history(leaf: np.ndarray, columns: int) -> np.ndarray:
    return np.pad(leaf, ((0, 0), (0, columns - leaf.shape[1])), constant_values=np.nan)


def to_arrays(outcome: Outcome) -> dict[str, np.ndarray]:
    """Name the arrays of an outcome without retries whose images have one shape, for a checkpoint."""
    arrays = {"images": np.stack(outcome.images), "steps": outcome.steps, "status": outcome.status}
    for kind in ("history", "final"):
        arrays |= {f"{kind}/{name}": leaf for name, leaf in getattr(outcome, kind)._asdict().items()}
    for kind, by_layer in outcome.layers._asdict().items():
        arrays |= {f"layers/{kind}/{layer}": leaf for layer, leaf in by_layer.items()}
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Outcome:
    """Make the outcome of which `to_arrays` gave these arrays."""
    history, final = (Losses(**_named(arrays, f"{kind}/")) for kind in ("history", "final"))
    layers = LayerLosses(**{kind: _named(arrays, f"layers/{kind}/") for kind in LayerLosses._fields})
    steps, status = arrays["steps"], arrays["status"]
    return Outcome(list(arrays["images"]), history, final, layers, steps, status, np.zeros_like(steps))


def _named(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): leaf for name, leaf in arrays.items() if name.startswith(prefix)}
