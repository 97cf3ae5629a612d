"""Requests of browsers: the name in their Host header, and the page that sent them."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from starlette.datastructures import Headers

from services.core.errors import PermissionDenied

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine in a Host header."""
_OWN = ("same-origin", "none")
"""Values of Sec-Fetch-Site for a page of this service, and for an address that was typed."""


def host_name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def is_address(name: str) -> bool:
    """Whether the name in a Host header is an IP address."""
    with suppress(ValueError):
        is_six = name.startswith("[") and name.endswith("]")
        return bool(IPv6Address(name[1:-1]) if is_six else IPv4Address(name))
    return False


def require_own_page(headers: Headers, *, is_guarded: bool) -> None:
    """Raises PermissionDenied: a page of another site has sent the request.

    Without `is_guarded` (nobody needs a key), the Host must be an address or this machine: another
    site's name may lead here (DNS rebinding), and its page would then count as our own.
    Programs that are no browsers send neither Origin nor Sec-Fetch-Site, and pass.
    """
    host = headers.get("host", "")
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_own = site in _OWN
    else:
        is_own = origin is None or origin.partition("://")[2].lower() == host.lower() != ""
    if not is_own:
        raise PermissionDenied(
            f"a page of {(origin or 'another site')[:100]!r} has sent this request: "
            "use the page of this service",
            reason="FOREIGN_ORIGIN",
        )
    name = host_name(host)
    if not is_guarded and name not in LOOPBACK and not is_address(name):
        raise PermissionDenied(
            f"this service has no keys, so its page is not open under the name {name[:100]!r}: "
            "use the number of its address, or give the service keys",
            reason="FOREIGN_ORIGIN",
        )
