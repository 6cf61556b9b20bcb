"""How far a run is: worked out after each chunk of steps, and told to whoever watches: a person, a log, a callback."""

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
    """How many of the lanes are at work, have converged, have failed."""

    active: int
    converged: int
    failed: int


class Chunk(NamedTuple):
    """How far a run is after a chunk of steps.

    Attributes:
      seconds: since the run was started or resumed.
      steps_done: number of steps that are done; lanes of different sizes take theirs one size after the other.
      steps: that there are in all; more once lanes are retried.
      counts: how many of `lanes` are at work.
      lane_steps_per_second: since the first chunk, which brings the compilation with it; None after that.
      seconds_left: None after the first chunk, too.
      lanes: numbers, as in lanes.csv, of the lanes that took the steps.
      losses: Losses with leaves (lanes,), NaN of those that have stopped: of the images that the last step began with.
      losses_step: step of history.csv that these losses stand at: how many steps had made those images.
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


@contextlib.contextmanager
def watchers(options: RunOptions, steps: int) -> Iterator[list[Watcher]]:
    """Those whom the options want to be told about a run of so many steps.

    Raises:
      AppError: if the log can't be written.
    """
    with contextlib.ExitStack() as stack:
        found: list[Watcher] = []
        if not options.quiet:
            screen = _Screen(steps)
            stack.callback(screen.close)
            found.append(screen.show)
        if options.log_json:
            found.append(partial(_write_log, stack.enter_context(_open_log(options.log_json))))
        if options.on_chunk:
            found.append(options.on_chunk)
        yield found


class Progress:
    """Progress of one run. Work is counted in lane-steps times pixels: steps at a smaller size take less time.

    Attributes:
      done: work that is done.
      step: number of steps that are done.
      error: what a watcher raised, who is told nothing more.
    """

    def __init__(self, steps: int, work: float, told: Sequence[Watcher], *, first_lane: int = 0) -> None:
        self._steps, self._work, self._first_lane = steps, work, first_lane
        self._told = list(told)
        self.done, self.step = 0.0, 0
        self.error: BaseException | None = None
        self._first: tuple[float, float, int] | None = None  # time, work and lane-steps after the first chunk
        self._lane_steps = 0
        self._started = time.monotonic()

    def extend(self, steps: int, work: float) -> None:
        """Say that there is so much more to do."""
        self._steps += steps
        self._work += work

    def restart(self, done: float, step: int) -> None:
        """Say that so much work and so many steps are done: none of it just now."""
        self.done, self.step, self._first = done, step, None

    def describe_steps(self) -> str:
        """How far it is, in words."""
        return f"after {self.step} of {self._steps} steps"

    def advance(
        self, steps: int, work: float, counts: Counts, lanes: Sequence[int], losses: Losses, losses_step: int
    ) -> None:
        """Say that `lanes` have taken `steps` steps more; the last one gave `losses`, as `Chunk` describes them."""
        now = time.monotonic()
        self.step += steps
        self.done += work
        self._lane_steps += steps * counts.active
        if self._first is None:  # the first steps bring the compilation with them
            self._first = (now, self.done, self._lane_steps)
        numbers = [self._first_lane + lane for lane in lanes]
        pace = self._pace(now)
        chunk = Chunk(now - self._started, self.step, self._steps, counts, *pace, numbers, losses, losses_step)
        for watcher in list(self._told):
            try:
                watcher(chunk)
            except BaseException as error:  # the run is stopped in good order, and then it is raised
                self.error = error
                self._told.remove(watcher)

    def _pace(self, now: float) -> tuple[float, float] | tuple[None, None]:
        """Lane-steps a second, and seconds that are left."""
        if self._first is None or now <= self._first[0] or self.done <= self._first[1]:
            return None, None
        seconds = now - self._first[0]
        left = seconds / (self.done - self._first[1]) * (self._work - self.done)
        return (self._lane_steps - self._first[2]) / seconds, max(0.0, left)


class _Screen:
    """A bar on a terminal, a line now and then in a log; on stderr, so that stdout can be piped."""

    def __init__(self, steps: int) -> None:
        # Without tqdm's time left, to which all steps are alike.
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        self._bar = tqdm(total=steps, leave=False, bar_format=form) if is_terminal() else None
        self._told = time.monotonic()

    def show(self, chunk: Chunk) -> None:
        text = _describe(chunk)
        if self._bar is not None:
            with contextlib.suppress(OSError, ValueError):  # a screen that is gone is no reason to fail
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
        with contextlib.suppress(OSError):  # a log that can't be written is no reason to fail
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
