"""Finds the style weights of lanes that have a strength, for each pair of images by itself.

Lanes that differ in nothing but their strengths are a set, which has a curve of its own: the distance of its pictures
from the photograph (LPIPS) over the style weight. Two short runs of small pictures draw it. The first spreads a few
style weights over eight decades. The second looks where the first says that the distance rises, and takes more steps.
Both are run with as many lanes as the sweep has, at its smallest size, so that they share its compiled program. They
take about a tenth of the sweep's lane-steps, counted by pixels, but at least 22 steps together. The pictures are
enlarged to the size of the sweep and get the photograph's detail, as on the way from a size to the next.

Equal jobs get equal style weights, so that each shard places its own lanes, and a run that was stopped begins anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.app.checkpoints.checkpoints import Checkpoints
from jaxstyle.app.execution import run_job
from jaxstyle.app.execution.job import Job
from jaxstyle.app.pictures.at_scale import at_scale
from jaxstyle.app.settings.lane_settings import between
from jaxstyle.app.settings.run_options import RunOptions
from jaxstyle.app.settings.stages import Stage, pixel_steps, plan_stages
from jaxstyle.app.sweeping.lane_metrics import SMALLEST, measure_lanes, smallest_side
from jaxstyle.app.system.kept_programs import jit_kept
from jaxstyle.app.system.screen import tell
from jaxstyle.evaluate.even_levels import Curve, correct_levels, fit_curve, place_levels, saturation, wide_betas
from jaxstyle.objective.weight_defaults import weight_defaults
from jaxstyle.optimise.pyramid import resize
from jaxstyle.optimise.pyramid_sizes import Shape, scales

_SHARE = 0.1  # of the sweep's work
_LEAST_STEPS, _MOST_STEPS = 22, 40
_LEAST_LANES = 5
_LANES_A_CORRECTION = 5  # one lane in so many may be run again, a fifth of the sweep's work


class _Small(NamedTuple):
    """The small pictures of one image shape: their shape, the steps of both runs, and those of a lane at that size."""

    shape: Shape
    steps: tuple[int, int]
    all_steps: int


def has_strengths(job: Job) -> bool:
    """Return whether the lanes of a job have strengths, so that their betas are to be placed."""
    return "strength" in job.lanes[0]


def with_betas(job: Job, betas: Sequence[float]) -> Job:
    """Return the job with the style weight of each lane."""
    return job._replace(lanes=[{**lane, "beta": beta} for lane, beta in zip(job.lanes, betas, strict=True)])


def place_betas(job: Job, checkpoints: Checkpoints | None, numbers: Sequence[int]) -> list[float]:
    """Find the style weights of lanes with strengths.

    Where that fails for a set of lanes (the content weight is 0, the distance hardly rises, or pictures are too small),
    their style weights are evenly spaced by ratios over the range that suits the losses, and a line says so.

    Args:
      job: the whole job.
      checkpoints: where checkpoints go; None for nowhere.
      numbers: numbers of the lanes whose style weights are wanted.

    Returns:
      The style weights, rounded to 4 digits.
    """
    sets = [members for members in _sets(job) if not set(members).isdisjoint(numbers)]
    curves: dict[int, np.ndarray] = {}
    reasons: dict[str, list[int]] = {}
    if smallest_side(job) < SMALLEST:
        reasons[f"images of less than {SMALLEST} pixels a side have no LPIPS"] = [members[0] for members in sets]
        sets_left = []
    else:
        without = [members[0] for members in sets if job.lanes[members[0]]["alpha"] == 0]
        reasons["alpha is 0"] = without
        sets_left = [members for members in sets if members[0] not in without]
    shapes = [job.contents[job.lanes[members[0]]["content"]].image.shape[:2] for members in sets_left]
    for i, shape in enumerate(dict.fromkeys(shapes)):
        of_shape = [members for members, other in zip(sets_left, shapes, strict=True) if other == shape]
        placed = _place_shape(job, shape, of_shape, checkpoints, f"placing{i}")
        curves |= {members[0]: betas for members, betas in zip(of_shape, placed, strict=True) if betas is not None}
        flat = [members[0] for members, betas in zip(of_shape, placed, strict=True) if betas is None]
        reasons.setdefault("LPIPS hardly changes with beta", []).extend(flat)
    for reason, first in reasons.items():
        if first:
            tell(f"note: {_pairs(job, first)} no levels of strength ({reason}): beta has ratios in their place")
    betas = {}
    for members in sets:
        found = curves.get(members[0])
        for i, number in enumerate(members):
            betas[number] = _spread(job, number) if found is None else float(f"{found[i]:.4g}")
    return [betas[number] for number in numbers]


def extra_work(job: Job, record: Mapping[str, Any]) -> float:
    """Return the work of placing betas, and of lanes that ran again, over that of all lanes, counted by pixels.

    Args:
      job: the job.
      record: the record of its finished run.

    Returns:
      The part, 0 where betas were given.
    """
    if "betas" not in record:
        return 0.0
    small_work = work = 0.0
    for members in _sets(job):
        shape = job.contents[job.lanes[members[0]]["content"]].image.shape[:2]
        count = max(_LEAST_LANES, len(members))
        small = _plan_small(job, shape, len(members), count)
        small_work += count * sum(small.steps) * prod(small.shape)
        work += len(members) * pixel_steps(plan_stages(job.settings, shape, job.network.smallest_side))
    return small_work / work + len(record.get("corrected", {})) / len(job.lanes)


def correct_betas(job: Job, lpips: np.ndarray, ok: np.ndarray) -> dict[int, float]:
    """Choose lanes of a finished job to run again, where the steps of LPIPS between neighbours are uneven.

    Args:
      job: the job, with its betas placed.
      lpips: (lanes,) LPIPS of its pictures.
      ok: (lanes,) whether each lane ended well; sets with a lane that failed stay as they are.

    Returns:
      {number of a lane: its new style weight, rounded to 4 digits}.
    """
    found = {}
    for members in _sets(job):
        members = sorted(members, key=lambda number: job.lanes[number]["strength"])
        strengths = [job.lanes[number]["strength"] for number in members]
        if len(set(strengths)) < len(members) or not ok[members].all():
            continue
        betas = [job.lanes[number]["beta"] for number in members]
        moved = correct_levels(strengths, betas, lpips[members], len(members) // _LANES_A_CORRECTION)
        found |= {members[i]: float(f"{beta:.4g}") for i, beta in moved.items()}
    return dict(sorted(found.items()))


def _sets(job: Job) -> list[list[int]]:
    """Return the numbers of the lanes that differ in nothing but their strengths, for each set of such lanes."""
    found: dict[object, list[int]] = {}
    for number, lane in enumerate(job.lanes):
        others = tuple((name, value) for name, value in lane.items() if name not in ("beta", "strength"))
        found.setdefault(others, []).append(number)
    return list(found.values())


def _spread(job: Job, number: int) -> float:
    betas = weight_defaults(job.settings.convention, job.settings.style_loss).betas
    return between(betas[0], betas[-1], job.lanes[number]["strength"])


def _pairs(job: Job, numbers: Sequence[int]) -> str:
    lane = job.lanes[numbers[0]]
    pair = f"{job.contents[lane['content']].name} in the style of {job.styles[lane['style']].name}"
    return f"{pair} has" if len(numbers) == 1 else f"{pair} and {len(numbers) - 1} more have"


def _place_shape(
    job: Job, shape: Shape, sets: list[list[int]], checkpoints: Checkpoints | None, name: str
) -> list[np.ndarray | None]:
    """Find the style weights of sets of lanes of one shape, in the order of their members; None where it fails."""
    counts = [max(_LEAST_LANES, len(members)) for members in sets]
    small = _plan_small(job, shape, len(sets[0]), counts[0])
    w, h = small.shape[::-1]
    tell(f"style weights by strength: {sum(counts)} pictures of {w}x{h} pixels, {sum(small.steps)} steps in two runs")
    middle = weight_defaults(job.settings.convention, job.settings.style_loss).beta
    betas = [
        wide_betas(middle * job.lanes[members[0]]["alpha"], count) for members, count in zip(sets, counts, strict=True)
    ]
    first: list[Curve | None] = []
    ends: list[float] = []
    for turn, steps in enumerate(small.steps):
        distances = _measure(job, shape, small.shape, steps, sets, betas, checkpoints, f"{name}_{turn}")
        curves = [fit_curve(*points) for points in zip(betas, distances, strict=True)]
        if turn == 0:
            first, ends = curves, [0.0 if curve is None else saturation(curve) for curve in curves]
            wanted = [np.linspace(0, 1, count) for count in counts]
        else:
            curves = [curve or before for curve, before in zip(curves, first, strict=True)]
            wanted = [np.array([job.lanes[number]["strength"] for number in members]) for members in sets]
        betas = [
            before if curve is None else place_levels(curve, levels, progress=steps / small.all_steps, end=end)
            for curve, before, levels, end in zip(curves, betas, wanted, ends, strict=True)
        ]
    return [None if curve is None else found for curve, found in zip(first, betas, strict=True)]


def _plan_small(job: Job, shape: Shape, lanes: int, count: int) -> _Small:
    """Plan the small pictures for sets of so many lanes, of which each gets `count` pictures."""
    stages = plan_stages(job.settings, shape, job.network.smallest_side)
    coarsest = stages[0]
    if len(stages) == 1:  # there is one size; half of it is small enough where 60 pixels are not smaller
        least = job.network.smallest_side
        smaller = scales(shape, least=least)[0]
        coarsest = Stage(smaller if smaller != shape else scales(shape, smallest=max(shape) // 2, least=least)[0], 0)
    wanted = _SHARE * lanes * pixel_steps(stages) / (count * prod(coarsest.shape))
    steps = int(np.clip(wanted, _LEAST_STEPS, _MOST_STEPS))
    most = stages[0].steps
    return _Small(coarsest.shape, (min(steps // 3, most), min(steps - steps // 3, most)), most)


def _measure(
    job: Job,
    shape: Shape,
    small: Shape,
    steps: int,
    sets: list[list[int]],
    betas: list[np.ndarray],
    checkpoints: Checkpoints | None,
    name: str,
) -> list[np.ndarray]:
    """Make a small picture of every beta of each set, and return their LPIPS; NaN for pictures that failed."""
    settings = replace(
        job.settings,
        min_size=None,
        steps=steps,
        tolerance=None,
        microbatch=(job.settings.microbatch or 1) * (prod(shape) // prod(small)),
    )
    coarse = job._replace(
        settings=settings,
        pictures=at_scale(job.pictures, shape, small, least=job.network.smallest_side),
        lanes=[
            {**job.lanes[members[0]], "beta": float(beta)}
            for members, of_set in zip(sets, betas, strict=True)
            for beta in of_set
        ],
    )
    storage = run_job.RunStorage(name, checkpoints) if checkpoints else None
    outcome = run_job.run_job(coarse, RunOptions(quiet=True), storage)
    compiled = jit_kept(partial(_enlarge, detail=job.settings.init == "content"))

    def enlarge(number: int, image: np.ndarray) -> jax.Array:
        content = coarse.lanes[number]["content"]
        return compiled(image, job.contents[content].image, coarse.contents[content].image)

    lpips = measure_lanes(job._replace(lanes=coarse.lanes), outcome.images, enlarge)["lpips"]
    lpips[~outcome.ok] = np.nan
    return np.split(lpips, np.cumsum([len(of_set) for of_set in betas])[:-1])


def _enlarge(image: jax.Array, content: jax.Array, small: jax.Array, *, detail: bool) -> jax.Array:
    """Enlarge an image to the content's size; with `detail`, it gets what the content's small version lacks."""
    large = resize(image, content.shape)
    return jnp.clip(large + content - resize(small, content.shape), 0, 1) if detail else large
