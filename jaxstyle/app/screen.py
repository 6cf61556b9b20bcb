"""Lines for the person at the screen, on stderr, so that stdout can be piped."""

import contextlib
import os
import sys
from collections.abc import Iterator


class _Stderr:
    """The file descriptor that leads to the screen."""

    number = 2


def tell(text: str) -> None:
    """Print a line on stderr; a stderr that is full or gone is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def write_at_once(text: str) -> None:
    """The same for a process that ends here, also while stderr is silent; on a terminal, below a progress bar."""
    with contextlib.suppress(OSError):
        new_line = "\n" if os.isatty(_Stderr.number) else ""
        os.write(_Stderr.number, f"{new_line}{text}\n".encode())


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep from the screen what libraries in C write on the process's stderr."""
    try:
        saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # there is no stderr
        yield
        return
    _Stderr.number = saved
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        _Stderr.number = 2
        os.close(saved)
        os.close(nowhere)
