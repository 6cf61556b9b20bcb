"""Runs the lanes of a job: all lanes of one image shape together, in groups that fit into memory."""

import math
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxstyle.app.checkpoints.checkpoints import Checkpoints
from jaxstyle.app.execution.batches import make_batch
from jaxstyle.app.execution.job import Job, with_smaller_steps
from jaxstyle.app.execution.lanes_of_shape import LanesOfShape, SnapshotWriter, Viewer, run_lanes
from jaxstyle.app.execution.outcome import Outcome, from_arrays, join_outcomes, replace_retried
from jaxstyle.app.execution.progress import Progress, open_watchers
from jaxstyle.app.pictures.job_pictures import finish_images
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.settings.stages import plan_stages
from jaxstyle.app.system.compilation_cache import use_compilation_cache
from jaxstyle.app.system.errors import RunError
from jaxstyle.app.system.memory import OutOfMemoryError, memory_errors, release_memory
from jaxstyle.app.system.screen import tell
from jaxstyle.network.vgg import prepare


class RunStorage(NamedTuple):
    """Where a run stores what it makes on its way.

    Attributes:
      name: name of its checkpoints, which no other run in the same folder has.
      checkpoints: where checkpoints go.
      write_snapshot: writes pictures on their way, if they are wanted.
      lanes: numbers that the job's lanes have in the run folder; None if they have the same there.
      viewer: shows pictures while lanes take steps, if anybody looks.
    """

    name: str
    checkpoints: Checkpoints
    write_snapshot: SnapshotWriter | None = None
    lanes: Sequence[int] | None = None
    viewer: Viewer | None = None


def run_job(job: Job, options: RunOptions | None = None, storage: RunStorage | None = None) -> Outcome:
    """Compile and run all lanes of a job, from their newest checkpoints on if there are any.

    Args:
      job: the job.
      options: options of the run; None for the defaults.
      storage: where the run stores what it makes on its way; None for nowhere.

    Raises:
      StoppedError: after a signal; everything is saved by then.
      BaseException: what `options.on_chunk` raised; everything is saved by then.
      RunError: if not even one lane at a time fits into memory.
    """
    started = time.monotonic()
    options = options or RunOptions()
    use_compilation_cache()
    by_shape = _group_by_shape(job, options, storage)
    steps, work = sum(lanes.steps() for lanes in by_shape), sum(lanes.work() for lanes in by_shape)
    with open_watchers(options, steps) as watchers:
        progress = Progress(steps, work, watchers, lanes=storage.lanes if storage else None)
        outcomes = [_run_in_memory(lanes, progress) for lanes in by_shape]
        for retry in range(1, options.retry + 1):
            pairs = zip(by_shape, outcomes, strict=True)
            outcomes = [_retry(lanes, outcome, retry, progress) for lanes, outcome in pairs]
    joined = join_outcomes(outcomes, [number for lanes in by_shape for number in lanes.numbers])
    images = _finish_images(job, range(len(job.lanes)), joined.images)
    return joined._replace(images=images, seconds=time.monotonic() - started)


def _group_by_shape(job: Job, options: RunOptions, storage: RunStorage | None) -> list[LanesOfShape]:
    params = prepare(job.network.params)
    shapes = [job.contents[lane["content"]].image.shape[:2] for lane in job.lanes]
    return [
        LanesOfShape(
            job=job,
            numbers=[number for number, other in enumerate(shapes) if other == shape],
            stages=plan_stages(job.settings, shape, job.network.smallest_side),
            params=params,
            make_batch=make_batch,
            checkpoint_name=f"{storage.name}_{i:04d}" if storage else "",
            checkpoints=storage.checkpoints if storage else None,
            save_every=options.save_every,
            write_snapshot=_finish_snapshots(job, storage) if storage else None,
            viewer=_number_lanes(storage) if storage else None,
        )
        for i, shape in enumerate(dict.fromkeys(shapes))
    ]


def _finish_images(job: Job, lanes: Iterable[int], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    return finish_images(job.pictures, job.settings, images, [job.lanes[lane] for lane in lanes])


def _finish_snapshots(job: Job, storage: RunStorage) -> SnapshotWriter | None:
    """Make a writer that finishes the images, and gives lanes their numbers in the run folder."""
    write_snapshot, numbers = storage.write_snapshot, storage.lanes or range(len(job.lanes))
    if write_snapshot is None:
        return None
    return lambda step, lanes, images: write_snapshot(
        step, [numbers[lane] for lane in lanes], np.stack(_finish_images(job, lanes, images))
    )


def _number_lanes(storage: RunStorage) -> Viewer | None:
    """Make a viewer that is told of lanes by their numbers in the run folder."""
    viewer, numbers = storage.viewer, storage.lanes
    if viewer is None or numbers is None:
        return viewer
    show = viewer.show
    return viewer._replace(
        show=lambda step, steps, lanes, *rest: show(step, steps, [numbers[lane] for lane in lanes], *rest)
    )


def _run_in_memory(lanes: LanesOfShape, progress: Progress) -> Outcome:
    """Run lanes of one shape, in smaller groups if memory runs out."""
    done, step = progress.done, progress.step
    saved = lanes.checkpoints.load(lanes.checkpoint_name) if lanes.checkpoints else None
    if saved and saved.about["finished"]:
        progress.resume_at(done + lanes.work(), step + lanes.steps())
        return from_arrays(saved.arrays)
    group = saved.about["group"] if saved else min(lanes.job.settings.microbatch or 1, len(lanes.numbers))
    if saved:
        progress.resume_at(done + lanes.work(saved.about["step"]), step + saved.about["step"])
    while True:
        try:
            with memory_errors():
                return run_lanes(lanes, group, saved, progress)
        except OutOfMemoryError as error:
            release_memory()
            if group == 1:
                raise RunError(_describe_too_large(lanes, error)) from error
            smaller = math.ceil(group / 2)
            tell(f"out of memory with {group} lanes at once; trying {smaller}")
            # The lanes begin again, so that one program takes all their steps.
            group, saved = smaller, None
            progress.resume_at(done, step)


def _retry(lanes: LanesOfShape, outcome: Outcome, retry: int, progress: Progress) -> Outcome:
    """Run the lanes that failed again, without the others and with smaller steps."""
    failed = np.flatnonzero(~outcome.ok)
    if not failed.size:
        return outcome
    again = lanes._replace(
        job=with_smaller_steps(lanes.job, retry),
        numbers=[lanes.numbers[i] for i in failed],
        checkpoint_name=f"{lanes.checkpoint_name}_retry{retry}",
    )
    progress.extend(again.steps(), again.work())
    return replace_retried(outcome, failed, _run_in_memory(again, progress))


def _describe_too_large(lanes: LanesOfShape, error: OutOfMemoryError) -> str:
    h, w = lanes.stages[-1].shape
    scale = math.sqrt(0.9 * error.available / error.needed) if error.available and error.needed else 0.7
    size = int(max(h, w) * min(scale, 0.95)) // 16 * 16
    fits = f"--size {size} should fit" if size >= 32 else "nothing of a useful size would fit"
    return f"out of memory: one lane of {w}x{h} pixels takes more than there is; {fits}"
