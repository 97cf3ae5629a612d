"""A page on which no script may fail, and which may ask nobody but its own server."""

from contextlib import contextmanager
from urllib.parse import urlsplit

OWN = ("127.0.0.1", "localhost", "")
"""Hosts of services in tests; "" is that of files, data: and blob:."""


@contextmanager
def strict_page(browser, **context):
    """A page that fails its test for an error of a script, or a request to elsewhere.

    `page.allowed`: words of errors in the console that a test causes on purpose.
    """
    opened = browser.new_context(viewport={"width": 1024, "height": 900}, **context)
    opened.set_default_timeout(90_000)
    page = opened.new_page()
    page.allowed = []
    faults = []

    def refuse(dialog):
        faults.append(dialog.message)
        dialog.dismiss()

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.extend([said.text] * (said.type == "error")))
    page.on("request", lambda asked: faults.extend([asked.url] * _is_foreign(asked.url)))
    page.on("dialog", refuse)
    try:
        yield page
    finally:
        opened.close()
    faults = [fault for fault in faults if not any(words in fault for words in page.allowed)]
    assert not faults, faults


def _is_foreign(url):
    return (urlsplit(url).hostname or "") not in OWN


def address(client):
    """Where a client's server is, without a slash at the end."""
    return str(client.base_url).rstrip("/")
