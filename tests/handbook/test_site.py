"""The documentation site: a strict build, every link, no request to another host."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from handbook.addresses import broken_links, foreign_requests, read_pages
from tests.browser.chromium import opened_browser
from tests.browser.strict import strict_page

ROOT = Path(__file__).resolve().parents[2]


class Quiet(SimpleHTTPRequestHandler):
    """A server of files without a log."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_document_is_a_page(site):
    for path in (ROOT / "docs").rglob("*.md"):
        page = site / path.relative_to(ROOT / "docs").with_suffix(".html")
        assert page.is_file(), page


@pytest.fixture(scope="module")
def pages(site):
    return read_pages(site)


def test_no_link_and_no_anchor_is_broken(pages):
    assert broken_links(pages) == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_no_page_asks_another_host(site, pages):
    sheets = list(site.rglob("*.css"))
    assert sheets
    assert foreign_requests(pages, sheets) == []


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, page",
    [
        ("correct one record", "quickstart.html"),
        ("PromoteVersion", "reference/rpc.html"),
        ("near-duplicates", "reference/cli.html"),
        ("TEACHER_UNREACHABLE", "errors.html"),
    ],
)
def test_a_reader_finds_words(browser, address, words, page):
    with strict_page(browser) as reader:
        reader.goto(f"{address}/index.html")
        reader.fill("input[name=query]", words)
        reader.locator(f".md-search-result__item a[href*='{page}']").first.click()
        reader.wait_for_url(f"**/{page}*")


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html">x</a>',
        '<a href="#nowhere">x</a>',
        '<a href="page.html#nowhere">x</a>',
        '<img src="missing.png">',
        '<a href="//host/page">x</a>',
    ],
)
def test_broken_links_are_found(tmp_path, body):
    (tmp_path / "page.html").write_text(f'<h1 id="here">x</h1><a href="#here">y</a>{body}')
    assert len(broken_links(read_pages(tmp_path))) == 1


@pytest.mark.parametrize(
    "body",
    [
        '<link rel="stylesheet" href="https://fonts.googleapis.com/css">',
        '<script src="https://unpkg.com/x"></script>',
        '<link href="https://host" rel="preconnect">',
        "<style>@import 'https://host/x.css'</style>",
        '<p style="background: url(//host/x.png)">',
    ],
)
def test_requests_to_other_hosts_are_found(tmp_path, body):
    (tmp_path / "page.html").write_text(f'<a href="https://elsewhere">a link</a>{body}')
    assert len(foreign_requests(read_pages(tmp_path))) == 1
