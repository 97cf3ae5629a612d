"""A headless Chromium, and what it is shown: an explorer over two runs, a student's page."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from services.student.production import SampleSettings
from tests.browser.axe import Axe
from tests.browser.chromium import opened_browser
from tests.browser.strict import address, strict_page
from tests.orchestrator.ui.exhibits import make_run, serving, until_counted
from tests.serving import fake_student_settings
from tests.student.over_http import publish, student_over_http


@pytest.fixture(scope="package")
def browser():
    """One for all modules of this package."""
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="package")
def axe():
    return Axe()


@pytest.fixture
def page(browser):
    """A page in a context of its own: no cookie and no storage of another test."""
    with strict_page(browser) as opened:
        yield opened


@pytest.fixture(scope="package")
def site(tmp_path_factory):
    """Address of an explorer over the runs "a" and "b"; tests change nothing in them."""
    folder = tmp_path_factory.mktemp("browser")
    make_run(folder / "runs" / "a", folder / "pool", images=8)
    make_run(folder / "runs" / "b", folder / "pool", images=4)
    with serving(folder / "runs") as client:
        for run in ("a", "b"):
            until_counted(client, run)
        yield address(client)


@pytest.fixture
def own(tmp_path):
    """A run of this test alone, its explorer's address, and a client of it."""
    folder = make_run(tmp_path / "runs" / "a", tmp_path / "pool", images=8)
    with serving(tmp_path / "runs") as client:
        until_counted(client, "a")
        yield folder, address(client), client


@pytest.fixture(scope="package")
def student(tmp_path_factory):
    """A student with a candidate and its page: address, and folder of the samples."""
    folder = tmp_path_factory.mktemp("student")
    settings = replace(
        fake_student_settings(folder, skill=1.0),
        has_try_page=True,
        samples=SampleSettings(folder / "samples", 0.0, 2**30),
    )
    with student_in_thread(settings, folder / "candidate") as url:
        yield url, folder / "samples"


@contextmanager
def student_in_thread(settings, candidate):
    """A student in a loop of its own, since the browser's has this thread. Yields its address."""
    started, urls = threading.Event(), []
    loop = asyncio.new_event_loop()
    leaving = asyncio.Event()

    async def serve():
        async with student_over_http(settings) as served:
            name = publish(served.student, candidate, skill=0.0)
            await served.student.versions.load(name)
            urls.append(served.url)
            started.set()
            await leaving.wait()

    def work():
        try:
            loop.run_until_complete(serve())
        finally:
            loop.close()
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(90)
        assert urls, "the student did not start"
        yield urls[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(leaving.set)
        thread.join()
