"""Requests of our own page, of other pages, and of programs that are no browsers."""

import pytest
from starlette.datastructures import Headers

from services.core.errors import PermissionDenied
from services.rpc.http.origin import require_own_page

OWN = [
    {"host": "127.0.0.1:3000"},
    {"host": "localhost:3000", "origin": "http://localhost:3000"},
    {"host": "[::1]:3000", "origin": "http://[::1]:3000"},
    {"host": "LOCALHOST:3000", "origin": "http://localhost:3000"},
    {"host": "127.0.0.1:3000", "sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:3000"},
]
FOREIGN = [
    {"host": "127.0.0.1:3000", "origin": "http://evil.example"},
    {"host": "127.0.0.1:3000", "origin": "null"},
    {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3001"},
    {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3000.evil.example"},
    {"host": "127.0.0.1:3000", "sec-fetch-site": "cross-site"},
    {"host": "127.0.0.1:3000", "sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"},
    {"origin": "null"},
    {"origin": ""},
]
OTHER_NAMES = ["evil.example", "evil.example:3000", "127.0.0.1.evil.example", "[::", ""]


@pytest.mark.parametrize("headers", OWN, ids=str)
@pytest.mark.parametrize("is_guarded", [True, False])
def test_our_own_page_may_ask(headers, is_guarded):
    require_own_page(Headers(headers), is_guarded=is_guarded)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_page_of_another_site_may_not(headers, is_guarded):
    with pytest.raises(PermissionDenied, match="page of"):
        require_own_page(Headers(headers), is_guarded=is_guarded)


@pytest.mark.parametrize("host", OTHER_NAMES)
def test_without_keys_a_name_of_another_site_is_none_of_ours(host):
    """DNS rebinding: the page and its requests then have the same, foreign name."""
    sent = Headers({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"})
    with pytest.raises(PermissionDenied, match="no keys"):
        require_own_page(sent, is_guarded=False)
    require_own_page(sent, is_guarded=True)
