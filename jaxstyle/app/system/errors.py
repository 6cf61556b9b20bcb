"""Errors that end the command with one line on stderr, and their exit status."""


class AppError(Exception):
    """An error a person can act on; `status` is the command's exit status."""

    status = 1


class StartError(AppError):
    """The job could not start as asked: options, inputs or weights."""

    status = 2


class RunError(AppError):
    """The job started and something failed."""


class WriteError(RunError):
    """A file could not be written; a sweep can go on once it can."""


class StoppedError(AppError):
    """The job was stopped by a signal; `status` is 128 and its number, as shells have it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
