"""Prints results on stdout, which can be piped, and lines for the person at the screen on stderr.

Either stream may be missing or lack letters: programs without a console have None, and the encoding of a pipe may lack
letters that names of files have.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxstyle.app.system.errors import WriteError


class _Stderr:
    """The file descriptor that leads to the screen."""

    number = 2


def printable(name: str) -> str:
    """Escape line ends and other characters of a file's name that can't be printed in a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def as_operand(name: str) -> str:
    """Return a name as a command takes it where an image or a run is due: a file's that begins with "-" is no option.

    "-" itself stays, which is standard input.
    """
    return f"./{name}" if name.startswith("-") and name != "-" else name


def command_for(command: str, run: Path) -> str:
    """Return `jaxstyle COMMAND RUN`, quoted so that a shell takes it."""
    return shlex.join(["jaxstyle", command, as_operand(str(run))])


def tell(text: str) -> None:
    """Print a line on stderr; nothing happens if stderr is full or gone."""
    with contextlib.suppress(OSError, ValueError):
        _put(sys.stderr, printable(text))


def say(text: str) -> None:
    """Print what was asked for on stdout; nothing happens if the reader of a pipe is gone.

    Raises:
      WriteError: if stdout can't take it, for instance as a file on a full disk.
    """
    try:
        _put(sys.stdout, text)
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise WriteError(f"cannot write to standard output: {reason.lower()}") from error


def say_done(text: str) -> None:
    """Print a line about finished files on stdout; if stdout can't take it, on stderr."""
    try:
        say(printable(text))
    except WriteError:
        tell(text)


def _put(stream: IO[str] | None, text: str) -> None:
    """Print text; letters that the stream's encoding lacks are escaped."""
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    if hasattr(stream, "flush"):  # a replacement for a stream may have write alone
        stream.flush()


def is_terminal() -> bool:
    """Return whether stderr leads to a terminal."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (OSError, ValueError):  # it is closed
        return False


def hold_descriptors() -> None:
    """Open the null device for streams that are closed.

    Else a picture's file would get the descriptor of a stream, and messages of C libraries would be written into it.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _Stderr.number:
            pass
        os.close(descriptor)


def drop_output() -> None:
    """Discard what stdout could not take; else Python would try again when it ends, and print an error."""
    stream = sys.stdout
    if stream is None or not hasattr(stream, "flush"):
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write_at_once(text: str) -> None:
    """Print a line when the process ends, even while `silent_stderr` holds; on a terminal, below a progress bar."""
    with contextlib.suppress(OSError):
        new_line = "\n" if os.isatty(_Stderr.number) else ""
        os.write(_Stderr.number, f"{new_line}{printable(text)}\n".encode())


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Suppress what C libraries write on the process's stderr."""
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
