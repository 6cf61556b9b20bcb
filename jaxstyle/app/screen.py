"""Lines for the person at the screen, on stderr, so that stdout can be piped."""

import contextlib
import sys


def tell(text: str) -> None:
    """Print a line on stderr; a stderr that is full or gone is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
