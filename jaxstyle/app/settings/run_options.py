"""Options of how a run proceeds, whatever it makes. The module imports no jax, so that the command's help is quick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

CHECKPOINT_MINUTES = 5.0

FIXED: tuple[str, ...] = ("refine", "retry", "save_every", "shard")
"""The options that a resumed run keeps from its start."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its `Settings`, named as those of the command.

    Attributes:
      refine: how many lanes to add around each knee.
      retry: how often a failed lane is started again.
      save_every: steps between snapshots; None makes none.
      shard: (i, n) computes part i of n only, counted from 0.
      checkpoint_every: minutes between checkpoints.
      quiet: no lines of progress.
      log_json: the file that progress is appended to.
      log: the tool that losses are logged to.
      open: opens the report in the user's browser.
      on_chunk: called after each chunk of steps; only Python code can give it.
    """

    refine: int | None = None
    retry: int = 0
    save_every: int | None = None
    shard: tuple[int, int] | None = None
    checkpoint_every: float = CHECKPOINT_MINUTES
    quiet: bool = False
    log_json: str | None = None
    log: str | None = None
    open: bool = False
    on_chunk: Callable[[Any], object] | None = None


def fixed_options(options: RunOptions) -> dict[str, Any]:
    """Return {name: value} of the options that a resumed run keeps from its start."""
    return {name: getattr(options, name) for name in FIXED}


def with_fixed(options: RunOptions, fixed: Mapping[str, Any]) -> RunOptions:
    """Return the options with the values that run.json has from the run's start."""
    shard = fixed["shard"]
    return replace(options, **{**fixed, "shard": tuple(shard) if shard else None})
