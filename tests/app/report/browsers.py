"""Chromium, driven by Playwright, which downloads nothing here; tests that need it are skipped where it is missing."""

import contextlib
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def open_browser():
    driver = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    if CHROMIUM is None:
        pytest.skip("needs a chromium on the PATH")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def until(page, script):
    """Wait until `script` gives true; Playwright's own way needs an eval, which the page forbids.

    A page that loads itself anew meanwhile is asked again.
    """
    for _ in range(1200):
        with contextlib.suppress(Exception):
            if page.evaluate(script):
                return
        page.wait_for_timeout(50)
    pytest.fail(f"still not true: {script}")
