"""Keeps report.html up to date while lanes take steps, and leaves the run its time.

The page is there before the first step, with the inputs, and from the first chunk on with the pictures. A thread writes
it; the loop of chunks only copies the pictures. `_SHARE` limits the time that goes into it: after a page that took 20
ms, the next one is due after 10 seconds. The page holds the pictures itself, and is without the plots and the metrics
of the last page, which take longer to make. It loads itself anew until it is the last one.
"""

import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from PIL import Image

from jaxstyle.app.execution.job import Job
from jaxstyle.app.execution.lanes_of_shape import Viewer
from jaxstyle.app.image_files.encode import to_image
from jaxstyle.app.pictures.job_pictures import finish_images
from jaxstyle.app.report.page import Following, write_page
from jaxstyle.app.report.pictures import data_address
from jaxstyle.app.report.sheet import even_sample
from jaxstyle.app.run_folder.folder import image_name
from jaxstyle.app.run_folder.run_json import setting_columns
from jaxstyle.app.run_folder.stored_run import History, Lane, StoredRun
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.settings.lane_settings import setting_text
from jaxstyle.app.system.browser import open_page
from jaxstyle.app.system.errors import AppError
from jaxstyle.app.system.files import remove_temporary
from jaxstyle.app.system.screen import tell

_EVERY = 3.0  # Seconds between two pages, at least.
_SHARE = 0.002  # of the time may go into pages.
_MOST = 100  # Lanes that a page shows while the run goes on.
_SIDES = ((8, 512), (24, 320), (_MOST, 160))  # (most lanes, longest side in pixels)
_QUALITY = 85


@contextmanager
def live_report(folder: Path, record: Mapping[str, Any], *, opened: bool) -> Iterator["LiveReport"]:
    """Keep the report of a run up to date within the context; after an error, the page says that the run stopped.

    Args:
      folder: the run folder, which this process owns.
      record: contents of run.json.
      opened: whether to open the page in the user's browser.
    """
    remove_temporary(folder)  # a process that was killed may have left half a page
    report = LiveReport(folder, record, opened=opened)
    try:
        yield report
    except BaseException:
        report.stop()
        raise
    finally:
        report.close()


class LiveReport:
    """The report of a run that goes on; a thread of its own writes the page."""

    def __init__(self, folder: Path, record: Mapping[str, Any], *, opened: bool) -> None:
        self._folder, self._record, self._opened = folder, dict(record), opened
        self._thread = ThreadPoolExecutor(1, "report")
        self._writing: Future[None] = Future()
        self._writing.set_result(None)
        self._next, self._interval = 0.0, _EVERY
        self._job: Job | None = None
        self._small: dict[str, str] = {}  # {path in the run folder: small picture as data}
        self._losses: dict[int, dict[str, float]] = {}

    @property
    def viewer(self) -> Viewer:
        """What lanes are shown by."""
        return Viewer(self._due, self._show)

    def begin(self, job: Job) -> None:
        """Show the lanes of a job from now on; those that were shown before are its first ones."""
        self.rest()
        self._job = job
        self._start(self._show_inputs)

    def rest(self) -> None:
        """Wait until the page is written; no other one follows before lanes are shown again."""
        self._writing.result()

    def stop(self) -> None:
        """Write a page that says that the run has stopped."""
        self._start(self._write, "")

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        self._writing = self._thread.submit(self._try, work, *arguments)

    def _try(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do the work; whatever goes wrong with a page costs a line, and no run."""
        try:
            work(*arguments)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            tell(f"{self._folder / 'report.html'} is not kept up to date: {reason[:300]}")
            self._next = math.inf

    def _due(self) -> bool:
        return self._writing.done() and time.monotonic() >= self._next

    def _show(self, step: int, steps: int, lanes: Sequence[int], images: np.ndarray, losses: Sequence[Any]) -> None:
        began = time.monotonic()
        assert self._job is not None
        shown = set(even_sample(len(self._job.lanes), _MOST))
        # The next chunk overwrites the images.
        copies = {lane: np.array(image) for lane, image in zip(lanes, images, strict=True) if lane in shown}
        self._start(self._show_lanes, step, steps, copies, (lanes, losses), time.monotonic() - began)

    def _show_inputs(self) -> None:
        assert self._job is not None
        inputs = self._job.pictures.by_kind()
        side = _side(sum(map(len, inputs.values())))
        for kind, pictures in inputs.items():
            for i, picture in enumerate(pictures):
                self._small[f"images/{kind}_{i:04d}.png"] = _shrink(picture.image, side)
        self._write("It is being compiled.")
        if self._opened:
            # A browser in the foreground ends only when the user closes it.
            Thread(target=open_page, args=(self._folder / "report.html",), daemon=True).start()
        self._opened = False

    def _show_lanes(
        self,
        step: int,
        steps: int,
        images: dict[int, np.ndarray],
        history: tuple[Sequence[int], Sequence[Any]],
        spent: float,
    ) -> None:
        began = time.thread_time()
        assert self._job is not None
        job = self._job
        shown = [job.lanes[lane] for lane in images]
        side = _side(len(job.lanes))
        finished = finish_images(job.pictures, job.settings, images.values(), shown)
        for lane, image in zip(images, finished, strict=True):
            self._small[image_name(lane)] = _shrink(image, side)
        lanes, losses = history
        last = [_last_finite(leaf) for leaf in losses]
        for i, lane in enumerate(lanes):
            self._losses[lane] = {name: float(leaf[i]) for name, leaf in zip(LOSSES, last, strict=True)}
        self._write(f"Step {step} of {steps}.")
        self._interval = max(_EVERY, (spent + time.thread_time() - began) / _SHARE)
        self._next = time.monotonic() + self._interval

    def _write(self, where: str) -> None:
        """Write the page; `where` says how far the run is, "" that it has stopped.

        A page that can't be written is left out: what is wrong with the disk is told when the results can't be written.
        """
        following = Following(where, time.time(), self._interval) if where else None
        with suppress(AppError):
            write_page(self._describe(), lambda name, _: (None, self._small.get(name)), following=following)

    def _describe(self) -> StoredRun:
        job, lanes = self._job, []
        if job and any(image_name(lane) in self._small for lane in range(len(job.lanes))):
            for number in even_sample(len(job.lanes), _MOST):
                of_lane = job.lanes[number]
                settings = {name: setting_text(of_lane[name]) for name in setting_columns(job.lanes)}
                losses = self._losses.get(number, {})
                lanes.append(Lane(number, of_lane["content"], of_lane["style"], settings, losses))
        record = self._record | ({"lanes": len(job.lanes)} if job else {})
        return StoredRun(self._folder, record, lanes, History(np.zeros(0), np.zeros(0, int), {}), finished=False)


def _side(count: int) -> int:
    return next((side for most, side in _SIDES if count <= most), _SIDES[-1][1])


def _shrink(image: np.ndarray, side: int) -> str:
    """Encode an image (h, w, 3) in [0, 1] as data: as JPEG, which takes a tenth of the time of WebP."""
    small, buffer = to_image(image), io.BytesIO()
    small.thumbnail((side, side), Image.Resampling.BICUBIC)
    small.save(buffer, "JPEG", quality=_QUALITY)
    return data_address("jpeg", buffer.getvalue())


def _last_finite(losses: Any) -> np.ndarray:
    """Return the last finite number of each column of (steps, lanes), or NaN."""
    finite = np.isfinite(losses)
    last = len(losses) - 1 - np.argmax(finite[::-1], axis=0)
    return np.where(finite.any(axis=0), np.take_along_axis(np.asarray(losses), last[None], 0)[0], np.nan)
