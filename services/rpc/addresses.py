"""Addresses of the replicas behind one endpoint: a list, or all that a name stands for in DNS.

HOST:PORT                        every address of HOST
HOST:PORT,HOST:PORT              several hosts
ipv4:HOST:PORT,HOST:PORT         the same in gRPC's notation (also ipv6:, dns:)
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass

_LISTED = re.compile(r"(ipv4|ipv6):(?!//)")
_NAMED = re.compile(r"(?:dns:(?:///)?)?(?!//|[a-z]+:\D)")


@dataclass(frozen=True, slots=True)
class Target:
    """One replica. `name`: gRPC's target; `authority`: the host that the caller named."""

    name: str
    authority: str = ""


async def resolve(endpoint: str) -> tuple[Target, ...]:
    """All replicas of an endpoint, sorted. An unknown notation or host is left to gRPC."""
    if listed := _LISTED.match(endpoint):
        parts = endpoint[listed.end() :].split(",")
        return tuple(sorted({Target(listed[0] + part) for part in parts}, key=_name))
    named = _NAMED.match(endpoint)
    if named is None:
        return (Target(endpoint),)
    found: set[Target] = set()
    for host in endpoint[named.end() :].split(","):
        found.update(await _addresses(host))
    return tuple(sorted(found, key=_name))


async def _addresses(host: str) -> list[Target]:
    """Addresses of a host. A host with one address, or an unknown one, keeps its name."""
    name, _, port = host.rpartition(":")
    if not name or not port.isdigit() or _is_ip(name):
        return [Target(host)]
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(
            name, int(port), type=socket.SOCK_STREAM
        )
    except OSError:
        return [Target(host)]
    by_family = {
        family: {str(where[0]) for found, *_, where in answers if found is family}
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    # A host with both kinds of address is one replica for each, not two.
    if fourth := by_family[socket.AF_INET]:
        names = [f"ipv4:{ip}:{port}" for ip in fourth]
    else:
        names = [f"ipv6:[{ip}]:{port}" for ip in by_family[socket.AF_INET6]]
    return [Target(each, host) for each in names] if len(names) > 1 else [Target(host)]


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _name(target: Target) -> str:
    return target.name
