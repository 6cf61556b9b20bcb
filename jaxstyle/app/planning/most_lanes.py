"""Search for the most lanes that fit on a machine, in as few compilations as possible."""

from collections.abc import Callable
from typing import NamedTuple

from jaxstyle.app.planning.machine import Machine

MAX_COMPILATIONS = 3

_SLACK = 0.99  # of the memory is aimed at, since the compiler's total doesn't grow evenly
_WORTHWHILE = 1.05  # times as many lanes are worth another compilation


class Compiled(NamedTuple):
    """A compilation of the step of some lanes. All sizes are in bytes on each device; None means unknown.

    Attributes:
      lanes: the number of lanes on all devices.
      seconds: how long the compilation took.
      fits: whether the memory suffices.
      peak: the memory of arguments, of results that don't replace arguments, of temporary values, and of the program.
      temporary: the part of `peak` that holds features and gradients of one group of lanes.
      aliased: the part of the results that replaces arguments, which are images and optimiser states.
      accessed: bytes read and written in one step of one group, as the compiler counts them.
      collectives: the number of operations between devices.
    """

    lanes: int
    seconds: float
    fits: bool
    peak: int | None = None
    temporary: int | None = None
    aliased: int | None = None
    accessed: float | None = None
    collectives: int | None = None


def search_most(
    compile_lanes: Callable[[int], Compiled], first: int, microbatch: int, state_bytes: int, machine: Machine
) -> int:
    """Return the most lanes on a device that were compiled and fit; 0 if none did."""
    devices, limit = len(machine.devices), int(_SLACK * machine.memory)
    tried: dict[int, Compiled] = {}
    each = first
    while each not in tried and len(tried) < MAX_COMPILATIONS:
        tried[each] = compile_lanes(each)
        each = _next(tried, microbatch, state_bytes, limit)
    return max((c.lanes // devices for c in tried.values() if c.fits), default=0)


def _next(tried: dict[int, Compiled], microbatch: int, state_bytes: int, limit: int) -> int:
    """Return how many lanes to try next: where a line through the last two known sizes meets the limit."""
    known = sorted((each, c.peak) for each, c in tried.items() if c.peak is not None)
    fitting = max((each for each, c in tried.items() if c.fits), default=0)
    failing = min((each for each, c in tried.items() if not c.fits), default=None)
    if not known:  # they were too many, and nobody said by how much
        return max(1, (fitting + (failing or 0)) // 2)
    each, peak = known[-1]
    slope = (peak - known[0][1]) / (each - known[0][0]) if len(known) > 1 else state_bytes
    if each <= microbatch and peak > limit:  # it is a single group, whose features take nearly all memory
        slope = peak / each
    guess = each + int((limit - peak) // max(slope, 1))
    if failing is not None and guess >= failing:
        guess = (fitting + failing) // 2
    if guess > microbatch:
        guess = guess // microbatch * microbatch
    return guess if guess > fitting * _WORTHWHILE else max(1, fitting)
