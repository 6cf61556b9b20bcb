"""What a person sees while lanes run: a bar on a terminal, a line now and then in a log; and a file of JSON lines."""

import contextlib
import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxstyle.app.files import explain
from jaxstyle.app.screen import tell
from jaxstyle.objective import Losses

_LOG_SECONDS = 10.0


class Counts(NamedTuple):
    """How many of the lanes are at work, have converged, have failed."""

    active: int
    converged: int
    failed: int


class Progress:
    """Progress of one run, as a context manager; on stderr, so that stdout can be piped.

    Work is counted in lane-steps times pixels, since steps at a smaller size take less time.

    Attributes:
      done: work that is done.
    """

    def __init__(self, steps: int, work: float, *, quiet: bool = False, log: str | None = None) -> None:
        self._steps, self._work = steps, work
        self._quiet = quiet
        self._terminal = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=steps, unit="step", disable=not self._terminal, leave=False)
        self._log = _open_log(log) if log else None
        self.done = 0.0
        self._step = 0
        self._first: tuple[float, float, int] | None = None  # time, work and lane-steps after the first chunk
        self._lane_steps = 0
        self._logged = self._started = time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()
        if self._log:
            self._log.close()

    def restart(self, done: float, step: int) -> None:
        """Say that so much work and so many steps are done: none of it just now."""
        with contextlib.suppress(OSError):
            self._bar.update(step - self._step)
        self.done, self._step, self._first = done, step, None

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self._step

    def describe_steps(self) -> str:
        """How far it is, in words."""
        return f"after {self._step} of {self._steps} steps"

    def advance(self, steps: int, work: float, lanes: Counts, losses: Losses) -> None:
        """Say that `steps` more steps are done, whose last losses, of shape (lanes,), are `losses`."""
        now = time.monotonic()
        self._step += steps
        self.done += work
        self._lane_steps += steps * lanes.active
        if self._first is None:  # the first steps bring the compilation with them
            self._first = (now, self.done, self._lane_steps)
        text = self._describe(now, lanes, losses)
        with contextlib.suppress(OSError):  # a screen that is gone is no reason to fail
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(steps)
        if not self._terminal and not self._quiet and (now - self._logged > _LOG_SECONDS or self._step >= self._steps):
            self._logged = now
            tell(f"step {self._step} of {self._steps}, {text}")
        if self._log:
            self._write_log(now, lanes, losses)

    def _pace(self, now: float) -> tuple[float, float] | None:
        """Lane-steps a second, and seconds that are left."""
        if self._first is None or now <= self._first[0] or self.done <= self._first[1]:
            return None
        seconds = now - self._first[0]
        left = seconds / (self.done - self._first[1]) * (self._work - self.done)
        return (self._lane_steps - self._first[2]) / seconds, max(0.0, left)

    def _describe(self, now: float, lanes: Counts, losses: Losses) -> str:
        words = [f"content {_span(losses.content)}", f"style {_span(losses.style)}"]
        words += [
            f"{count} {what}" for count, what in ((lanes.converged, "converged"), (lanes.failed, "failed")) if count
        ]
        pace = self._pace(now)
        if pace:
            words.append(f"{pace[0]:.3g} lane-steps/s")
            if not self._terminal:  # a bar shows it
                words.append(f"{_duration(pace[1])} left")
        return ", ".join(words)

    def _write_log(self, now: float, lanes: Counts, losses: Losses) -> None:
        pace = self._pace(now)
        entry: dict[str, Any] = {
            "seconds": round(now - self._started, 3),
            "step": self._step,
            "steps": self._steps,
            "lanes": lanes._asdict(),
            "lane_steps_per_second": round(pace[0], 3) if pace else None,
            "seconds_left": round(pace[1], 1) if pace else None,
            "losses": {name: _quantiles(values) for name, values in losses._asdict().items()},
        }
        with contextlib.suppress(OSError):
            print(json.dumps(entry), file=self._log, flush=True)


def _open_log(path: str) -> Any:
    try:
        return Path(path).open("a")
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error


def _quantiles(values: jax.typing.ArrayLike) -> list[float] | None:
    found = np.asarray(values)
    finite = found[np.isfinite(found)]
    return [float(f"{x:.7g}") for x in np.quantile(finite, (0, 0.5, 1))] if finite.size else None


def _span(values: jax.typing.ArrayLike) -> str:
    found = _quantiles(values)
    if found is None:
        return "not finite"
    low, middle, high = found
    many = np.size(values) > 2
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" + (f" (median {middle:.3g})" if many else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
