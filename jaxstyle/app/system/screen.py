"""What the command prints: results on stdout, which can be piped, and lines for the person at the screen on stderr.

Neither stream need be there, or hold all letters: programs without a console have None, and pipes on some systems know
fewer letters than names of files do.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

from jaxstyle.app.system.errors import WriteError


class _Stderr:
    """The file descriptor that leads to the screen."""

    number = 2


def printable(name: str) -> str:
    """A file's name without line ends and bytes that no line can hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def tell(text: str) -> None:
    """Print a line on stderr; a stderr that is full or gone is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        _put(sys.stderr, printable(text))


def say(text: str) -> None:
    """Print what was asked for on stdout. Whoever reads it may have seen enough and be gone.

    Raises:
      WriteError: if stdout can't take it, such as a file on a full disk.
    """
    try:
        _put(sys.stdout, text)
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WriteError(f"cannot write to standard output: {reason.lower()}") from error


def say_done(text: str) -> None:
    """Print a line on stdout of what has been written to files, which is done whether or not stdout can say it."""
    try:
        say(printable(text))
    except WriteError:
        tell(text)


def _put(stream: IO[str] | None, text: str) -> None:
    """Print text, escaped where the stream's encoding lacks a letter."""
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    if hasattr(stream, "flush"):  # windows of programs that stand for a stream may have nothing but write
        stream.flush()


def is_terminal() -> bool:
    """Whether stderr leads to a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (OSError, ValueError):  # it is closed
        return False


def hold_descriptors() -> None:
    """Give the descriptors of streams that are closed to nothing: else a picture's file gets one, and C's messages."""
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _Stderr.number:
            pass
        os.close(descriptor)


def drop_output() -> None:
    """Forget what stdout could not take, which Python would else try again, and complain of, when it ends."""
    stream = sys.stdout
    if stream is None or not hasattr(stream, "flush"):
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_at_once(text: str) -> None:
    """Print a line as the process ends, also while stderr is silent; on a terminal, below a progress bar."""
    with contextlib.suppress(OSError):
        new_line = "\n" if os.isatty(_Stderr.number) else ""
        os.write(_Stderr.number, f"{new_line}{printable(text)}\n".encode())


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
