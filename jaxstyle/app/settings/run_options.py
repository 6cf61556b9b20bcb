"""Options of how a run goes on, whatever it makes. Imports no jax, so that the command's help is quick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

CHECKPOINT_MINUTES = 5.0


FIXED: tuple[str, ...] = ("refine", "retry", "save_every", "shard")
"""The run options that a resumed run has from its start."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its `Settings`, named as the command's.

    refine is a number of lanes; retry one of times; save_every is in steps, None for no snapshots; shard (i, n) is part
    i, from 0, of n; checkpoint_every is in minutes; log_json is a file's name; on_chunk, which only Python code can
    give, is called after each chunk of steps.
    """

    refine: int | None = None
    retry: int = 0
    save_every: int | None = None
    shard: tuple[int, int] | None = None
    checkpoint_every: float = CHECKPOINT_MINUTES
    quiet: bool = False
    log_json: str | None = None
    on_chunk: Callable[[Any], object] | None = None


def fixed_options(options: RunOptions) -> dict[str, Any]:
    """Those that a resumed run has from its start, by name."""
    return {name: getattr(options, name) for name in FIXED}


def with_fixed(options: RunOptions, fixed: Mapping[str, Any]) -> RunOptions:
    """The options with those that run.json says the run was started with."""
    shard = fixed["shard"]
    return replace(options, **{**fixed, "shard": tuple(shard) if shard else None})
