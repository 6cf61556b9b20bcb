"""Runs the lanes of a job: all those of one image size together, in groups that fit into memory."""

import math
import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jaxstyle.app.execution.batches import make_batch
from jaxstyle.app.execution.checkpoint import Checkpoints
from jaxstyle.app.execution.compilation_cache import use_compilation_cache
from jaxstyle.app.execution.job import Job, with_smaller_steps
from jaxstyle.app.execution.lanes_of_shape import Part, Snapshot, run_part
from jaxstyle.app.execution.outcome import Outcome, join_outcomes, retried, unpack
from jaxstyle.app.execution.progress import Progress, watchers
from jaxstyle.app.pictures.job_pictures import (
    finish_images,
)
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.settings.stages import plan_stages
from jaxstyle.app.system.errors import RunError
from jaxstyle.app.system.memory import OutOfMemoryError, memory_errors, release_memory
from jaxstyle.app.system.screen import tell
from jaxstyle.network.vgg import prepare


class Keeping(NamedTuple):
    """What is kept of a run on its way.

    Attributes:
      name: of its checkpoints, which another run in the same folder doesn't have.
      checkpoints: where they go.
      snapshot: writes images, if they are wanted.
      first_lane: number of its first lane in the run folder.
    """

    name: str
    checkpoints: Checkpoints
    snapshot: Snapshot | None = None
    first_lane: int = 0


def run_job(job: Job, options: RunOptions | None = None, keeping: Keeping | None = None) -> Outcome:
    """Compile and run all lanes, those of one image size together, or go on where checkpoints say that they are.

    Raises:
      StoppedError: after a signal, all being saved.
      BaseException: what `options.on_chunk` raised, likewise.
      RunError: if not even one lane at a time fits into memory.
    """
    started = time.monotonic()
    options = options or RunOptions()
    use_compilation_cache()
    params, first = prepare(job.params), keeping.first_lane if keeping else 0
    shapes = [job.contents[row["content"]].image.shape[:2] for row in job.lanes]
    lanes = {shape: [i for i, s in enumerate(shapes) if s == shape] for shape in dict.fromkeys(shapes)}
    parts = [
        Part(
            job=job,
            lanes=lanes[shape],
            stages=plan_stages(job.settings, shape),
            params=params,
            make_batch=make_batch,
            name=f"{keeping.name}_{number:04d}" if keeping else "",
            checkpoints=keeping.checkpoints if keeping else None,
            save_every=options.save_every,
            snapshot=_finish_snapshots(job, keeping.snapshot, first) if keeping and keeping.snapshot else None,
        )
        for number, shape in enumerate(lanes)
    ]
    steps, work = sum(part.steps() for part in parts), sum(part.work() for part in parts)
    with watchers(options, steps) as told:
        progress = Progress(steps, work, told, first_lane=first)
        outcomes = [_run_part(part, progress) for part in parts]
        for retry in range(1, options.retry + 1):
            pairs = zip(parts, outcomes, strict=True)
            outcomes = [_retry(part, outcome, retry, progress) for part, outcome in pairs]
    joined = join_outcomes(outcomes, [i for numbers in lanes.values() for i in numbers])
    images = _finish(job, range(len(job.lanes)), joined.images)
    return joined._replace(images=images, seconds=time.monotonic() - started)


def _finish(job: Job, lanes: Iterable[int], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    return finish_images(job.pictures, job.settings.colour, images, [job.lanes[lane]["content"] for lane in lanes])


def _finish_snapshots(job: Job, snapshot: Snapshot, first: int) -> Snapshot:
    return lambda step, lanes, images: snapshot(
        step, [first + lane for lane in lanes], np.stack(_finish(job, lanes, images))
    )


def _run_part(part: Part, progress: Progress) -> Outcome:
    """The outcome of a part; in smaller groups if memory runs out."""
    done, step = progress.done, progress.step
    saved = part.checkpoints.load(part.name) if part.checkpoints else None
    if saved and saved.about["finished"]:
        progress.restart(done + part.work(), step + part.steps())
        return unpack(saved.arrays)
    group = saved.about["group"] if saved else min(part.job.settings.microbatch or 1, len(part.lanes))
    if saved:
        progress.restart(done + part.work(saved.about["step"]), step + saved.about["step"])
    while True:
        try:
            with memory_errors():
                return run_part(part, group, saved, progress)
        except OutOfMemoryError as error:
            release_memory()
            if group == 1:
                raise RunError(_too_large(part, error)) from error
            smaller = math.ceil(group / 2)
            tell(f"out of memory with {group} lanes at once; trying {smaller}")
            group, saved = smaller, None  # from the start, so that all steps are the same program's
            progress.restart(done, step)


def _retry(part: Part, outcome: Outcome, retry: int, progress: Progress) -> Outcome:
    """The outcome of a part whose failed lanes have been started again, apart from the others, with smaller steps."""
    failed = np.flatnonzero(~outcome.ok)
    if not failed.size:
        return outcome
    lanes = [part.lanes[i] for i in failed]
    again = part._replace(job=with_smaller_steps(part.job, retry), lanes=lanes, name=f"{part.name}_retry{retry}")
    progress.extend(again.steps(), again.work())
    return retried(outcome, failed, _run_part(again, progress))


def _too_large(part: Part, error: OutOfMemoryError) -> str:
    h, w = part.stages[-1].shape
    scale = math.sqrt(0.9 * error.available / error.needed) if error.available and error.needed else 0.7
    size = int(max(h, w) * min(scale, 0.95)) // 16 * 16
    fits = f"--size {size} should fit" if size >= 32 else "nothing of a useful size would fit"
    return f"out of memory: one lane of {w}x{h} pixels takes more than there is; {fits}"
