"""Links of built pages that lead nowhere, and requests that a page would send to another host."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {
    ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"),
    ("audio", "src"), ("embed", "src"), ("object", "data"), ("image", "href"), ("use", "href"),
    ("img", "srcset"), ("source", "srcset"), ("form", "action"),
}  # fmt: skip
_LINKS_LOADED = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch"}
_STYLE = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class PageParser(HTMLParser):
    """Reads a page: anchors, links to follow, and addresses that a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes the addresses of one element."""
        given = {name: value for name, value in attrs if value is not None}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and set(given.get("rel", "").split()) & _LINKS_LOADED:
            self.loaded.append(given.get("href", ""))
        self.loaded += [value for name, value in given.items() if (tag, name) in _LOADED]
        self.loaded += _styled(given.get("style", ""))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        """Takes the addresses of a style sheet within the page."""
        if self._in_style:
            self.loaded += _styled(data)

    def handle_endtag(self, tag: str) -> None:
        """Ends a style sheet."""
        self._in_style = False


def read_pages(folder: Path) -> dict[Path, PageParser]:
    """The built pages, by their file."""
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path] = PageParser()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def broken_links(pages: dict[Path, PageParser]) -> list[str]:
    """Links between pages, and files that pages load, which are not there: "page: link" each."""
    return [
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in (*page.links, *page.loaded)
        if not _resolves(link, path, pages)
    ]


def foreign_requests(pages: dict[Path, PageParser], sheets: Iterable[Path] = ()) -> list[str]:
    """Addresses on other hosts that a page or a style sheet loads: "file: address" each."""
    loaded = [(path, address) for path, page in pages.items() for address in page.loaded]
    for path in sheets:
        loaded += [(path, address) for address in _styled(path.read_text(encoding="utf-8"))]
    return [f"{path.name}: {address}" for path, address in loaded if _is_far(address)]


def _styled(text: str) -> Iterator[str]:
    for quoted, imported in _STYLE.findall(text):
        yield quoted or imported


def _is_far(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _resolves(link: str, path: Path, pages: dict[Path, PageParser]) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme in ("http", "https", "data", "mailto") and not link.startswith("//")
    target = path
    if parts.path:
        target = Path(os.path.normpath(path.parent / unquote(parts.path)))
    if target / "index.html" in pages:
        target /= "index.html"
    if target not in pages:
        return not parts.fragment and target.is_file()
    return not parts.fragment or unquote(parts.fragment) in pages[target].anchors
