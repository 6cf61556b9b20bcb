"""What a person sees while lanes run: a bar on a terminal, a line now and then in a log."""

import contextlib
import sys
import time

import jax
import numpy as np
from tqdm import tqdm

from jaxstyle.app.screen import tell
from jaxstyle.objective import Losses

_LOG_SECONDS = 10.0


class Progress:
    """Progress of one run of `steps` steps, as a context manager; on stderr, so that stdout can be piped.

    Attributes:
      done: steps that are done.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(total=steps, unit="step", disable=not self._terminal, leave=False)
        self.done = 0
        self._first = 0
        self._start = self._logged = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def restart(self, done: int) -> None:
        """Say that of the steps so far only `done` count."""
        with contextlib.suppress(OSError):
            self._bar.update(done - self.done)
        self.done = done

    def advance(self, steps: int, losses: Losses) -> None:
        """Say that `steps` more steps are done, whose last losses, of shape (lanes,), are `losses`."""
        now = time.monotonic()
        if not self.done:  # the first steps bring the compilation with them
            self._first, self._start = steps, now
        self.done += steps
        text = f"content {_span(losses.content)}, style {_span(losses.style)}"
        with contextlib.suppress(OSError):  # a screen that is gone is no reason to fail
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(steps)
        if not self._terminal and (now - self._logged > _LOG_SECONDS or self.done == self._steps):
            self._logged = now
            tell(f"step {self.done} of {self._steps}, {text}{self._left(now)}")

    def _left(self, now: float) -> str:
        timed = self.done - self._first
        return f", {(now - self._start) / timed * (self._steps - self.done):.0f} s left" if timed else ""


def _span(values: jax.Array | np.ndarray) -> str:
    low, high = np.min(values), np.max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
