"""Works out after each chunk of steps how far a run is, and tells whoever watches: a person, a log, a callback."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.system.files import explain
from jaxstyle.app.system.screen import is_terminal, tell
from jaxstyle.objective.objective import Losses

_LOG_SECONDS = 10.0


class Counts(NamedTuple):
    """How many lanes are still running, have converged and have failed."""

    active: int
    converged: int
    failed: int


class Chunk(NamedTuple):
    """How far a run is after a chunk of steps.

    Attributes:
      seconds: time since the run was started or resumed.
      steps_done: number of steps that are done; lanes of different shapes take their steps one shape after the other.
      steps: number of all steps, which grows when lanes are retried.
      counts: states of `lanes`.
      lane_steps_per_second: pace since the first chunk, whose time includes compilation; None after the first chunk.
      seconds_left: estimate of the time that is left; None after the first chunk.
      lanes: numbers, as in lanes.csv, of the lanes that took the steps.
      losses: Losses of the images before the last step, leaves (lanes,); NaN for lanes that have stopped.
      losses_step: the step of history.csv with these losses, which is the number of steps that made those images.
    """

    seconds: float
    steps_done: int
    steps: int
    counts: Counts
    lane_steps_per_second: float | None
    seconds_left: float | None
    lanes: Sequence[int]
    losses: Losses
    losses_step: int


Watcher = Callable[[Chunk], object]
"""Is called after each chunk of steps."""


@contextlib.contextmanager
def open_watchers(options: RunOptions, steps: int) -> Iterator[list[Watcher]]:
    """Open the watchers that the options ask for, of a run of so many steps.

    Raises:
      AppError: if the log can't be written.
    """
    with contextlib.ExitStack() as stack:
        watchers: list[Watcher] = []
        if not options.quiet:
            screen = _Screen(steps)
            stack.callback(screen.close)
            watchers.append(screen.show)
        if options.log_json:
            watchers.append(partial(_write_log, stack.enter_context(_open_log(options.log_json))))
        if options.on_chunk:
            watchers.append(options.on_chunk)
        yield watchers


class Progress:
    """Progress of one run.

    Work is counted in lane-steps times pixels, because steps at a smaller size take less time.

    Args:
      steps: number of all steps.
      work: all work.
      watchers: functions that are told about each chunk.
      lanes: numbers that the run's lanes have in the run folder; None if they have the same there.

    Attributes:
      done: work that is done.
      step: number of steps that are done.
      error: what a watcher has raised; that watcher is called no more.
    """

    def __init__(
        self, steps: int, work: float, watchers: Sequence[Watcher], *, lanes: Sequence[int] | None = None
    ) -> None:
        self._steps, self._work, self._lanes = steps, work, lanes
        self._watchers = list(watchers)
        self.done, self.step = 0.0, 0
        self.error: BaseException | None = None
        self._first: tuple[float, float, int] | None = None  # time, work and lane-steps after the first chunk
        self._lane_steps = 0
        self._started = time.monotonic()

    def extend(self, steps: int, work: float) -> None:
        """Add steps and work that are to be done."""
        self._steps += steps
        self._work += work

    def resume_at(self, done: float, step: int) -> None:
        """Set the work and the steps that are done, none of which counts for the pace."""
        self.done, self.step, self._first = done, step, None

    def describe_steps(self) -> str:
        """Describe in words how many steps are done."""
        return f"after {self.step} of {self._steps} steps"

    def advance(
        self, steps: int, work: float, counts: Counts, lanes: Sequence[int], losses: Losses, losses_step: int
    ) -> None:
        """Add a chunk of `steps` steps that `lanes` have taken; `Chunk` describes `losses` and `losses_step`."""
        now = time.monotonic()
        self.step += steps
        self.done += work
        self._lane_steps += steps * counts.active
        if self._first is None:  # the time of the first chunk includes compilation
            self._first = (now, self.done, self._lane_steps)
        numbers = list(lanes) if self._lanes is None else [self._lanes[lane] for lane in lanes]
        pace = self._pace(now)
        chunk = Chunk(now - self._started, self.step, self._steps, counts, *pace, numbers, losses, losses_step)
        for watcher in list(self._watchers):
            try:
                watcher(chunk)
            except BaseException as error:  # the runner of the lanes saves its state, and raises this then
                self.error = error
                self._watchers.remove(watcher)

    def _pace(self, now: float) -> tuple[float, float] | tuple[None, None]:
        """Work out lane-steps a second, and the seconds that are left."""
        if self._first is None or now <= self._first[0] or self.done <= self._first[1]:
            return None, None
        seconds = now - self._first[0]
        left = seconds / (self.done - self._first[1]) * (self._work - self.done)
        return (self._lane_steps - self._first[2]) / seconds, max(0.0, left)


class _Screen:
    """Shows a bar on a terminal, else a line now and then; on stderr, so that stdout can be piped."""

    def __init__(self, steps: int) -> None:
        # tqdm's own time left is not shown: it takes all steps to be alike.
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar = tqdm(total=steps, leave=False, bar_format=form) if is_terminal() else None
        self._told = time.monotonic()

    def show(self, chunk: Chunk) -> None:
        text = _describe(chunk)
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):  # a run goes on without a screen
                self._bar.total = chunk.steps
                self._bar.set_postfix_str(text, refresh=False)
                self._bar.update(chunk.steps_done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._told > _LOG_SECONDS or chunk.steps_done >= chunk.steps:
            self._told = now
            tell(f"step {chunk.steps_done} of {chunk.steps}, {text}")

    def close(self) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):
                self._bar.close()


def _describe(chunk: Chunk) -> str:
    words = [f"content {_span(chunk.losses.content)}", f"style {_span(chunk.losses.style)}"]
    others = ((chunk.counts.converged, "converged"), (chunk.counts.failed, "failed"))
    words += [f"{count} {what}" for count, what in others if count]
    if chunk.lane_steps_per_second is not None and chunk.seconds_left is not None:
        words += [f"{chunk.lane_steps_per_second:.3g} lane-steps/s", f"{_duration(chunk.seconds_left)} left"]
    return ", ".join(words)


def _write_log(file: IO[str], chunk: Chunk) -> None:
    pace, left = chunk.lane_steps_per_second, chunk.seconds_left
    entry: dict[str, Any] = {
        "seconds": round(chunk.seconds, 3),
        "steps_done": chunk.steps_done,
        "steps": chunk.steps,
        "counts": chunk.counts._asdict(),
        "lane_steps_per_second": None if pace is None else round(pace, 3),
        "seconds_left": None if left is None else round(left, 1),
        "losses_step": chunk.losses_step,
        "losses": {name: _quantiles(values) for name, values in zip(LOSSES, chunk.losses, strict=True)},
    }
    with contextlib.suppress(OSError):
        print(json.dumps(entry), file=file, flush=True)


@contextlib.contextmanager
def _open_log(path: str) -> Iterator[IO[str]]:
    try:
        file = Path(path).open("a")  # noqa: SIM115
    except OSError as error:
        raise explain(error, f"cannot write {path}") from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # a run goes on without a log
            file.close()


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
