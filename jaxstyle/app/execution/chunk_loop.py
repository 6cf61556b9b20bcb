"""The loop over chunks of steps: dispatches them, fetches their losses, and rests where someone wants the state."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxstyle.objective.objective import Losses

CAPACITY = 50
"""Most steps of a chunk."""

# A chunk's duration to aim at: 8 steps', since on a CPU every chunk gets its working memory anew, which takes a tenth
# of a step (of 8 lanes of 128 pixels: 170 MB, 0.14 of 1.6 s of processor time); but as short as a signal can wait.
_STEPS, _LEAST_SECONDS, _MOST_SECONDS = 8, 1.0, 5.0

Program = Callable[[Any, int], tuple[Any, Losses]]
"""(state, count) -> (state, Losses with leaves (CAPACITY, lanes) of which the first `count` rows are set)."""


def take_steps(
    program: Program,
    state: Any,
    *,
    start: int,
    steps: int,
    strides: Sequence[int],
    report: Callable[[int, Losses], None],
    wanted: Callable[[int], bool],
    rest: Callable[[int, Any], bool],
) -> tuple[Any, int]:
    """Take steps until `steps` of them are done, in chunks of one to five seconds.

    The next chunk is dispatched before the losses of the last are fetched, so that the devices never wait for the host;
    but not if someone wants the state, which the next chunk would overwrite. How long a chunk is changes no result.

    Args:
      program: the chunk's program; the state it is given is used up.
      state: after `start` steps.
      start: steps that are done.
      steps: how many are to be done in the end.
      strides: no chunk goes beyond a multiple of one of them.
      report: is told how many steps a chunk took, and their Losses with leaves (steps, lanes).
      wanted: of the number of steps done, whether someone wants the state.
      rest: is given the number of steps done and the state; True ends the loop early.

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
        if at == dispatched < steps and 0 < duration < 1.5 * _LEAST_SECONDS and not wanted(at):
            dispatch()
        number, losses = waiting.pop(0)
        report(number, jax.tree.map(lambda x, n=number: np.asarray(x)[:n], losses))
        done += number
        now = time.monotonic()
        duration, began = now - began, now
        pace = number / duration
        seconds = min(max(_LEAST_SECONDS, _STEPS / pace), _MOST_SECONDS)
        count = max(1, min(round(pace * seconds), 2 * number, CAPACITY))
        if not waiting and (done == steps or wanted(done)) and rest(done, state):
            break
        if not waiting:
            began = time.monotonic()
    return state, done
