"""Logs a run to another tool while it goes on, chunk by chunk."""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxstyle.app.exporting.tools import load_tool
from jaxstyle.app.settings.columns import LOSSES
from jaxstyle.app.system.screen import tell

OnChunk = Callable[[Any], object]


@contextlib.contextmanager
def logging_chunks(
    tool: str | None, folder: Path, options: Mapping[str, Any], on_chunk: OnChunk | None
) -> Iterator[OnChunk | None]:
    """Log the losses of each chunk within the context, as series such as total/lane_0003.

    A tool that fails is told of in a line, and the run goes on without it.

    Args:
      tool: the tool; None for no log.
      folder: the run folder.
      options: the options of the run.
      on_chunk: what else is called after each chunk.

    Returns:
      A context that gives the function to call after each chunk.
    """
    if tool is None:
        yield on_chunk
        return
    failed = False

    @contextlib.contextmanager
    def going_on() -> Iterator[None]:
        nonlocal failed
        try:
            yield
        except Exception as error:
            if not failed:
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                tell(f"--log {tool} failed, and the run goes on without it: {reason[:300]}")
            failed = True

    write: Any = None

    def log(chunk: Any) -> None:
        with going_on():
            if write is not None and not failed:
                write(chunk.losses_step, _series(chunk))
        if on_chunk is not None:
            on_chunk(chunk)

    stack = contextlib.ExitStack()
    with going_on():
        write = stack.enter_context(load_tool(tool).log(folder.absolute().name, options, folder))
    try:
        yield log
    finally:  # the tool is told of what ends the run, and can't hide it
        with going_on():
            stack.__exit__(*sys.exc_info())


def _series(chunk: Any) -> dict[str, float]:
    return {
        f"{name}/lane_{lane:04d}": float(value)
        for name, values in zip(LOSSES, chunk.losses, strict=True)
        for lane, value in zip(chunk.lanes, values, strict=True)
        if math.isfinite(value)
    }
