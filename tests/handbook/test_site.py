"""The documentation site: a strict build, every link, no request to another host."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handbook.addresses import broken_links, foreign_requests, read_pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
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


def test_search_finds_words_of_documents_and_of_the_reference(site):
    index = (site / "search/search_index.json").read_text()
    assert "Correct one record" in index
    assert "PromoteVersion" in index
    assert "--near-duplicates" in index


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
