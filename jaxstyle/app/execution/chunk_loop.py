"""Takes steps in chunks: dispatches them, fetches their losses, and pauses where somebody wants the state."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxstyle.objective.objective import Losses

CAPACITY = 50
"""A chunk has at most so many steps."""

# A chunk should last for 8 steps: on a CPU every chunk allocates its working memory anew, which takes a tenth of a step
# (8 lanes of 128 pixels: 170 MB, 0.14 of 1.6 s of processor time). It must be short enough for a signal to wait for it.
_STEPS, _LEAST_SECONDS, _MOST_SECONDS = 8, 1.0, 5.0

Program = Callable[[Any, int], tuple[Any, Losses]]
"""Takes (state, count) and returns (state, losses); the losses are (CAPACITY, lanes), and the first `count` are set."""


def take_steps(
    program: Program,
    state: Any,
    *,
    start: int,
    steps: int,
    strides: Sequence[int],
    report: Callable[[int, Losses], None],
    wants_state: Callable[[int], bool],
    show_state: Callable[[int, Any], bool],
) -> tuple[Any, int]:
    """Take steps until `steps` of them are done, in chunks of one to five seconds.

    The next chunk is dispatched before the losses of the last one are fetched, so that the devices never wait for the
    host. Where the state is wanted, the loop pauses instead, because the next chunk would overwrite the state. The
    length of chunks changes no result.

    Args:
      program: the compiled program of a chunk, which uses up the state that it is given.
      state: the state after `start` steps.
      start: number of steps that are done already.
      steps: number of steps that are to be done in the end.
      strides: a chunk never goes beyond a multiple of one of these numbers of steps.
      report: takes the number of steps of each chunk, and their Losses with leaves (steps, lanes).
      wants_state: takes the number of steps done, and says whether the state is wanted then.
      show_state: takes the number of steps done and the state; if it returns True, the loop ends early.

    Returns:
      The state and the number of steps done.
    """
    done = dispatched = start
    count, duration = 1, 0.0
    waiting: list[tuple[int, Losses]] = []
    began = time.monotonic()

    def dispatch() -> None:
        nonlocal state, dispatched
        number = min(count, steps - dispatched, *(stride - dispatched % stride for stride in strides))
        state, losses = program(state, number)
        waiting.append((number, losses))
        dispatched += number

    while done < steps:
        if not waiting:
            dispatch()
        at = done + waiting[0][0]
        if at == dispatched < steps and 0 < duration < 1.5 * _LEAST_SECONDS and not wants_state(at):
            dispatch()
        number, losses = waiting.pop(0)
        report(number, jax.tree.map(lambda x, n=number: np.asarray(x)[:n], losses))
        done += number
        now = time.monotonic()
        duration, began = now - began, now
        pace = number / max(duration, 1e-6)  # a coarse clock may stand still
        seconds = min(max(_LEAST_SECONDS, _STEPS / pace), _MOST_SECONDS)
        count = max(1, min(round(pace * seconds), 2 * number, CAPACITY))
        if not waiting and (done == steps or wants_state(done)) and show_state(done, state):
            break
        if not waiting:
            began = time.monotonic()
    return state, done
