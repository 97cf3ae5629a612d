"""Addresses of the replicas behind one endpoint: a list, or all that a name stands for in DNS.

HOST:PORT                        every address of HOST
HOST:PORT,HOST:PORT              several hosts
ipv4:HOST:PORT,HOST:PORT         the same in gRPC's notation (also ipv6:, dns:)
grpcs://HOST:PORT,HOST:PORT      any of these, with TLS (peers.py)
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

LookUp = Callable[[str, int], Awaitable[list[str]]]
_LISTED = re.compile(r"(ipv4|ipv6):(?!//)")
_NAMED = re.compile(r"(?:dns:(?:///)?)?(?!//|[a-z]+:\D)")


@dataclass(frozen=True, slots=True)
class Target:
    """One replica. `name`: gRPC's target; `authority`: the host that the caller named."""

    name: str
    authority: str = ""


async def look_up(name: str, port: int) -> list[str]:
    """IP addresses of a host, by the system. Raises OSError: it is unknown."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in answers]


async def resolve(
    endpoint: str, known: Collection[Target] = (), look_up: LookUp = look_up
) -> tuple[Target, ...]:
    """All replicas of an endpoint, sorted. An unknown notation or host is left to gRPC.

    `known`: the replicas of the last look-up; those of a host stay while DNS does not answer.
    """
    if listed := _LISTED.match(endpoint):
        parts = _parts(endpoint[listed.end() :])
        return tuple(sorted({Target(listed[0] + part) for part in parts}, key=_name))
    named = _NAMED.match(endpoint)
    if named is None:
        return (Target(endpoint),)
    found: set[Target] = set()
    for host in _parts(endpoint[named.end() :]):
        found.update(await _addresses(host, known, look_up))
    return tuple(sorted(found, key=_name))


def _parts(hosts: str) -> list[str]:
    """Hosts of a list, which people also write with blanks and a comma at the end."""
    return [host for part in hosts.split(",") if (host := part.strip())] or [hosts]


async def _addresses(host: str, known: Collection[Target], look_up: LookUp) -> list[Target]:
    """Addresses of a host. A host with one address, or an unknown one, keeps its name."""
    name, _, port = host.rpartition(":")
    if not name or not port.isdigit() or _is_ip(name):
        return [Target(host)]
    try:
        found = {ipaddress.ip_address(ip) for ip in await look_up(name, int(port))}
    except (OSError, UnicodeError):  # no answer, or no name that DNS could have
        return [target for target in known if target.authority == host] or [Target(host)]
    # A host with both kinds of address is one replica for each, not two.
    fourth = [f"ipv4:{ip}:{port}" for ip in found if ip.version == 4]
    names = fourth or [f"ipv6:[{ip}]:{port}" for ip in found]
    return [Target(each, host) for each in names] if len(names) > 1 else [Target(host)]


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _name(target: Target) -> str:
    return target.name
