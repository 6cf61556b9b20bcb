"""Measures the pictures of a job by networks and formulas that did not make the pictures."""

from functools import partial
from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxstyle.app.execution.job import Job
from jaxstyle.app.system.memory import release_memory
from jaxstyle.app.system.screen import tell
from jaxstyle.evaluate import metrics
from jaxstyle.evaluate.metric_names import TABLE_METRICS
from jaxstyle.evaluate.metrics import Metrics
from jaxstyle.pretrained.lpips import load_lpips

SMALLEST = 32
"""LPIPS needs images of at least so many pixels a side."""


def measure_lanes(job: Job, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Measure the lanes' images by all metrics.

    Args:
      job: the job whose lanes have made the images.
      images: an image (h, w, 3) in [0, 1] for each lane.

    Returns:
      {name of a metric: (lanes,)}; {} if images are too small, and then a line on stderr says so.
    """
    sides = [min(p.image.shape[:2]) for p in (*job.contents, *job.styles)]
    if min(sides) < SMALLEST:
        tell(f"no metrics: they need images of at least {SMALLEST} pixels a side, the smallest has {min(sides)}")
        return {}
    params = load_lpips("alex")
    found = {name: np.full(len(images), np.nan) for name in TABLE_METRICS}
    pair_of = [(lane["content"], lane["style"]) for lane in job.lanes]
    order = sorted(range(len(images)), key=pair_of.__getitem__)
    compiled = jax.jit(partial(_measure, group=job.settings.microbatch or 1))
    for (content, style), lanes_of_pair in groupby(order, pair_of.__getitem__):
        numbers = list(lanes_of_pair)
        inputs = (job.contents[content].image, job.styles[style].image)
        measured = compiled(params, jnp.stack([images[i] for i in numbers]), *inputs)
        for name in TABLE_METRICS:
            found[name][numbers] = getattr(measured, name)
    release_memory()
    return found


def _measure(params: dict, images: jax.Array, content: jax.Array, style: jax.Array, *, group: int) -> Metrics:
    return lax.map(lambda image: metrics.measure(params, image, content, style), images, batch_size=group)
