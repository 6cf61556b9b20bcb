"""Opens a page in the user's browser."""

import os
import webbrowser
from pathlib import Path

from jaxstyle.app.system.screen import tell


def open_page(file: Path) -> None:
    """Open a page in the user's browser; where there is none, a line says so.

    A browser of the terminal counts as none, unless the user names it in BROWSER: it would take the terminal from the
    command.
    """
    try:
        browser = webbrowser.get()
        if type(browser) is webbrowser.GenericBrowser and "BROWSER" not in os.environ:
            raise webbrowser.Error("a browser of the terminal")
        opened = browser.open(file.absolute().as_uri())
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        tell(f"there is no browser here that opens by itself: {file} is the page")
