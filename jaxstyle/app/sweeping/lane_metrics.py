"""Measures the pictures of a job by networks and formulas that did not make the pictures."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

import jax
import numpy as np
from jax import lax

from jaxstyle.app.execution.job import Job
from jaxstyle.app.system.kept_programs import jit_kept
from jaxstyle.app.system.memory import release_memory
from jaxstyle.app.system.screen import tell
from jaxstyle.evaluate import metrics
from jaxstyle.evaluate.metric_names import TABLE_METRICS
from jaxstyle.evaluate.metrics import Metrics
from jaxstyle.pretrained.lpips import load_lpips

SMALLEST = 32
"""LPIPS needs images of at least so many pixels a side."""


def measure_lanes(
    job: Job, images: Sequence[np.ndarray], enlarge: Callable[[int, np.ndarray], jax.Array] | None = None
) -> dict[str, np.ndarray]:
    """Measure the lanes' images by all metrics.

    Args:
      job: the job whose lanes have made the images.
      images: an image (h, w, 3) in [0, 1] for each lane.
      enlarge: makes an image of a content image's size of the number of a lane and its image; None if they have it.

    Returns:
      {name of a metric: (lanes,)}; {} if images are too small, and then a line on stderr says so.
    """
    if smallest_side(job) < SMALLEST:
        tell(
            f"no metrics: they need images of at least {SMALLEST} pixels a side, the smallest has {smallest_side(job)}"
        )
        return {}
    params = load_lpips("alex")
    found = {name: np.full(len(images), np.nan) for name in TABLE_METRICS}
    pair_of = [(lane["content"], lane["style"]) for lane in job.lanes]
    order = sorted(range(len(images)), key=pair_of.__getitem__)
    compiled = jit_kept(partial(_measure, group=job.settings.microbatch or 1))
    for (content, style), lanes_of_pair in groupby(order, pair_of.__getitem__):
        numbers = list(lanes_of_pair)
        inputs = (job.contents[content].image, job.styles[style].image)
        large = [images[i] if enlarge is None else enlarge(i, images[i]) for i in numbers]
        measured = compiled(params, np.stack(large), *inputs)
        for name in TABLE_METRICS:
            found[name][numbers] = getattr(measured, name)
    release_memory()
    return found


def smallest_side(job: Job) -> int:
    """Return the smallest side of a job's images, in pixels."""
    return min(min(p.image.shape[:2]) for p in (*job.contents, *job.styles))


def _measure(params: dict, images: jax.Array, content: jax.Array, style: jax.Array, *, group: int) -> Metrics:
    return lax.map(lambda image: metrics.measure(params, image, content, style), images, batch_size=group)
