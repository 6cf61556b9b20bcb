"""Errors that end the command with one line on stderr and an exit status."""


class AppError(Exception):
    """An error that a person can act on; `status` is the command's exit status."""

    status = 1


class StartError(AppError):
    """The job could not start as asked: something is wrong with its options, inputs or weights."""

    status = 2


class RunError(AppError):
    """The job started and something failed."""


class WriteError(RunError):
    """A file could not be written; a sweep can be resumed when it can be."""


class StoppedError(AppError):
    """A signal stopped the job; `status` is 128 plus the signal's number, as in shells."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
