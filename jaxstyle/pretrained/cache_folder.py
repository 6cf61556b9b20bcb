"""Find the folder for what later runs can use again: ported weights and compiled programs."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path | None:
    """Find the user's cache folder for jaxstyle, which is where the platform keeps such folders.

    The environment variable JAXSTYLE_CACHE names another folder.

    Returns:
      The folder, whether or not it exists; None if there is none because the user has no home folder.
    """
    try:
        folder = Path(os.environ.get("JAXSTYLE_CACHE") or platformdirs.user_cache_dir("jaxstyle")).expanduser()
    except RuntimeError:
        return None
    # Without a home folder, some versions of platformdirs return ~ as it is.
    return None if folder.parts[:1] == ("~",) else folder
