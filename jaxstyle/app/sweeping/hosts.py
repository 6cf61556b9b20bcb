"""Runs a sweep in several processes that start together, on hosts that share its folder; each computes one shard.

The processes find each other by jax.distributed, and leave it before they compute: lanes need nothing from each other,
and a process that is killed would take the others along. From then on, each shows in its folder that it is alive.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from jaxstyle.app.sweeping.shards import is_done, merge, shard_folder
from jaxstyle.app.system.devices import find_devices
from jaxstyle.app.system.errors import RunError, StartError
from jaxstyle.app.system.screen import command_for

_SIGN = ".alive"  # this file is in a shard's folder as long as its process is at work
_BEAT_SECONDS = 10.0  # the file is touched so often
_SILENCE_SECONDS = 150.0  # then a process counts as gone; file systems of networks may show a file a minute late


def join_processes(coordinator: str | None, process: tuple[int, int] | None) -> tuple[int, int]:
    """Meet the other processes, before anything else uses jax.

    Args:
      coordinator: HOST:PORT where process 0 listens; with None, jax finds it on a TPU slice or under Slurm.
      process: (i, n), given together with `coordinator`.

    Returns:
      (i, n): this is process i, from 0, of n.

    Raises:
      StartError: if the other processes are not found, or don't come.
    """
    jax.config.update("jax_enable_preemption_service", False)  # that service would catch SIGTERM instead of us
    number, count = process or (None, None)
    try:
        jax.distributed.initialize(coordinator, count, number)
        find_devices()
        found = jax.process_index(), jax.process_count()
        jax.distributed.shutdown()
    except (ValueError, RuntimeError) as error:
        advice = "all of them must be started" if coordinator else "say where with --coordinator and --process"
        raise StartError(f"cannot join the other processes ({error}); {advice}") from error
    return found


@contextlib.contextmanager
def computing_shard(run: Path, shard: tuple[int, int], network: str | None = None) -> Iterator[None]:
    """Show that this process is alive while it computes its shard within the context; process 0 then merges all shards.

    Raises:
      StartError, RunError: what the context raised; in process 0 also what `merge` raised, or if a process is gone.
    """
    number, count = shard
    failure = None
    with _showing_life(shard_folder(run, shard)):
        try:
            yield
        except RunError as error:  # the shard may be done even so, with lanes that failed
            failure = error
    if number == 0 and is_done(shard_folder(run, shard)):
        for other in range(1, count):
            _wait_for(run, (other, count))
        merge(run, network)
    if failure is not None:
        raise failure


@contextlib.contextmanager
def _showing_life(folder: Path) -> Iterator[None]:
    """Renew the sign of life in a folder within the context, once the folder exists."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                (folder / _SIGN).touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(OSError):
            (folder / _SIGN).unlink(missing_ok=True)


def _wait_for(run: Path, shard: tuple[int, int]) -> None:
    """Wait until the process of a shard has ended.

    Raises:
      RunError: if the shard is not done by then.
    """
    folder = shard_folder(run, shard)
    sign, since = None, time.monotonic()
    while not is_done(folder) or (folder / _SIGN).exists():
        found = _read_sign(folder)
        if found != sign:
            sign, since = found, time.monotonic()
        elif time.monotonic() - since > _SILENCE_SECONDS:
            break
        time.sleep(1)
    if not is_done(folder):
        raise RunError(
            f"the process of shard {folder.name} is gone; what the others compute is kept: "
            f"{command_for('resume', folder)} goes on with it, then {command_for('merge', run)}"
        )


def _read_sign(folder: Path) -> int | None:
    """Read a number that changes as long as the process lives.

    It is not compared to a clock, because the clocks of hosts may differ.
    """
    try:
        return (folder / _SIGN).stat().st_mtime_ns
    except OSError:
        return None
