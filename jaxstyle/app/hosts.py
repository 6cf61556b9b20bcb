"""A sweep in several processes that start together, joined by jax.distributed: each computes and keeps a shard."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

# The barrier of the key-value service, which jax's own libraries use as well. That of jax.experimental.multihost_utils
# is a collective operation, which gives up long before a host that has hours of work left.
from jax._src import distributed

from jaxstyle.app.errors import RunError, StartError
from jaxstyle.app.machine import find_devices
from jaxstyle.app.shards import merge

_LONGEST_WAIT = 30 * 24 * 3600 * 1000  # in milliseconds
_SHUTDOWN_SECONDS = 60  # that a process which was stopped waits for the others before it ends


def join(coordinator: str | None, process: tuple[int, int] | None) -> tuple[int, int]:
    """Join the other processes, before anything else uses jax; returns (i, n): this is process i, from 0, of n.

    Args:
      coordinator: HOST:PORT where process 0 listens; None: on a TPU slice or under Slurm, it is found out.
      process: (i, n), with `coordinator`.

    Raises:
      StartError: if they are not found, or don't come.
    """
    jax.config.update("jax_enable_preemption_service", False)  # which would take SIGTERM away from the command
    number, count = process or (None, None)
    try:
        jax.distributed.initialize(coordinator, count, number, shutdown_timeout_seconds=_SHUTDOWN_SECONDS)
    except (ValueError, RuntimeError) as error:
        advice = "all of them must be started" if coordinator else "say where with --coordinator and --process"
        raise StartError(f"cannot join the other processes ({error}); {advice}") from error
    find_devices()
    return jax.process_index(), jax.process_count()


@contextlib.contextmanager
def together(run: Path) -> Iterator[None]:
    """Compute this process's shard of a run within the context; then, when all have come to its end, process 0 merges.

    What goes wrong in one process is raised when the others have kept theirs.

    Raises:
      StartError, RunError: those of the context; in process 0 those of `shards.merge`.
    """
    failure = None
    try:
        yield
    except (StartError, RunError) as error:
        failure = error
    _wait("shards are done")
    try:
        if jax.process_index() == 0 and not isinstance(failure, StartError):
            merge(run)
    finally:
        _wait("merged")
    if failure is not None:
        raise failure


def _wait(what: str) -> None:
    """Wait until every process is here; in a thread, so that a signal still ends this one."""
    errors: list[Exception] = []
    client: Any = distributed.global_state.client

    def wait() -> None:
        try:
            client.wait_at_barrier(f"jaxstyle: {what}", _LONGEST_WAIT)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise RunError(f"another process is gone ({errors[0]}); what this one has computed is kept") from errors[0]
