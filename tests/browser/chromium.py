"""Debian's Chromium, and the flags that keep it from everything but the page."""

from contextlib import contextmanager

from tests.tools import program

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium():
    """Its path. Without it, the test is left out, or fails where everything must be tested."""
    return program("chromium", "it shows the pages (as root: apt-get install chromium)", "/usr/bin")


@contextmanager
def opened_browser():
    """Not in asynchronous tests: it has a loop of its own."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
