"""Measures the pictures of a job by networks and formulas that did not make them."""

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
from jaxstyle.evaluate.metric_names import METRIC_NAMES
from jaxstyle.evaluate.metrics import Metrics
from jaxstyle.pretrained.lpips import load_lpips

COLUMNS: tuple[str, ...] = tuple(name for name in METRIC_NAMES if name != "total_variation")
"""The metrics in tables, whose total variation is among the losses."""

SMALLEST = 32
"""Shortest side in pixels that LPIPS makes sense of."""


def judge(job: Job, images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics of the lanes' images, {name: (lanes,)}; none, which a line says, for images that are too small."""
    sides = [min(p.image.shape[:2]) for p in (*job.contents, *job.styles)]
    if min(sides) < SMALLEST:
        tell(f"no metrics: they need images of at least {SMALLEST} pixels a side, the smallest has {min(sides)}")
        return {}
    params = load_lpips("alex")
    found = {name: np.full(len(images), np.nan) for name in COLUMNS}
    pair_of = [(row["content"], row["style"]) for row in job.lanes]
    order = sorted(range(len(images)), key=pair_of.__getitem__)
    compiled = jax.jit(partial(_measure, group=job.settings.microbatch or 1))
    for (content, style), lanes in groupby(order, pair_of.__getitem__):
        numbers = list(lanes)
        of_pair = (job.contents[content].image, job.styles[style].image)
        measured = compiled(params, jnp.stack([images[i] for i in numbers]), *of_pair)
        for name in COLUMNS:
            found[name][numbers] = getattr(measured, name)
    release_memory()
    return found


def _measure(params: dict, images: jax.Array, content: jax.Array, style: jax.Array, *, group: int) -> Metrics:
    return lax.map(lambda image: metrics.measure(params, image, content, style), images, batch_size=group)
