"""The folder for what a later run can use again: ported weights and compiled programs."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path | None:
    """The user's cache folder for jaxstyle, by the platform's convention; JAXSTYLE_CACHE names another one.

    None if there is none, since the user has no home folder.
    """
    try:
        folder = Path(os.environ.get("JAXSTYLE_CACHE") or platformdirs.user_cache_dir("jaxstyle")).expanduser()
    except RuntimeError:
        return None
    # Without a home folder, some versions of platformdirs give ~ as it is.
    return None if folder.parts[:1] == ("~",) else folder
