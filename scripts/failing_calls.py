"""Calls of the system that fail: those that write, rename, remove or lock, as Python's modules make them."""

import builtins
import contextlib
import errno
import fcntl
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

ERRORS = (
    errno.EPERM,
    errno.EACCES,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.ENOLCK,
    errno.EINVAL,
    errno.EIO,
    errno.ENOSPC,
)
OS_CALLS = ("fsync", "link", "symlink", "rename", "replace", "unlink", "remove", "mkdir", "rmdir")
OS_CALLS += ("chmod", "fchmod", "utime", "truncate", "ftruncate")
CALLS = (*OS_CALLS, "open", "write", "flush", "close", "flock")


class Fault(NamedTuple):
    """Which call fails: of this kind, the one with this number, or all from there on; with what errno."""

    call: str
    number: int
    error: int
    lasting: bool


class Faults:
    """Counts calls, and makes those of a fault fail."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.fault, self.counts = fault, Counter()

    def check(self, call: str) -> None:
        """Count a call, which fails if it is to."""
        number = self.counts[call]
        self.counts[call] += 1
        fault = self.fault
        if fault and fault.call == call and (number == fault.number or (fault.lasting and number > fault.number)):
            raise OSError(fault.error, os.strerror(fault.error))

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the calls fail within the context."""
        with contextlib.ExitStack() as stack:
            for name in OS_CALLS:
                self._replace(stack, os, name, self._failing(name, getattr(os, name)))
            self._replace(stack, os, "open", self._opening(os.open))
            self._replace(stack, fcntl, "flock", self._failing("flock", fcntl.flock))
            opening = self._opening_file(io.open)
            for owner in (io, builtins):
                self._replace(stack, owner, "open", opening)
            yield

    @staticmethod
    def _replace(stack: contextlib.ExitStack, owner: Any, name: str, function: Callable[..., Any]) -> None:
        stack.enter_context(mock.patch.object(owner, name, function))

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.check(name)
            return real(*args, **kwargs)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, flags: int, *args: Any, **kwargs: Any) -> Any:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.check("open")
            return real(path, flags, *args, **kwargs)

        return call

    def _opening_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *args, **kwargs)
            self.check("open")
            return _File(real(file, mode, *args, **kwargs), self)

        return call


class _File:
    """A file opened to be written, some calls of which fail."""

    def __init__(self, real: Any, faults: Faults) -> None:
        self._real, self._faults = real, faults

    def write(self, data: Any) -> Any:
        try:
            self._faults.check("write")
        except OSError:
            self._real.write(data[: len(data) // 2])  # as a full disk does
            raise
        return self._real.write(data)

    def flush(self) -> None:
        self._real.flush()
        self._faults.check("flush")

    def close(self) -> None:
        self._real.close()
        self._faults.check("close")

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
