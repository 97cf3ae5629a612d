"""The servers whose images may be read: settings, and addresses that are public."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass

import httpx

from services.core.errors import InvalidInput
from services.environment import Environment

PORT = 443
_ROUTABLE = ipaddress.ip_network("2000::/3")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class ImageUrlSettings:
    """Image URLs that requests may give."""

    hosts: frozenset[tuple[str, int]] = frozenset()
    """Host and port of each server that is allowed; none by default."""
    networks: tuple[Network, ...] = ()
    """Networks that are not public, and that the hosts may be in all the same."""
    ca: str = ""
    """PEM file of further certificate authorities; "" trusts the usual ones only."""
    seconds: float = 10.0
    """Time for one image, from its name to its last byte."""

    @staticmethod
    def from_environment(env: Environment) -> ImageUrlSettings:
        """Reads MPA_*_IMAGE_HOSTS, _NETWORKS, _CA and _URL_S. Raises InvalidInput."""
        settings = ImageUrlSettings(
            frozenset(_host(env, each) for each in _list(env, "IMAGE_HOSTS")),
            tuple(_network(env, each) for each in _list(env, "IMAGE_NETWORKS")),
            env.text("IMAGE_CA"),
            env.number("IMAGE_URL_S", 10.0),
        )
        if not 0 < settings.seconds < float("inf"):
            variable = env.prefix + "IMAGE_URL_S"
            raise InvalidInput(
                f"{variable} is {settings.seconds:g}: give more than 0", field=variable
            )
        if settings.ca:
            try:
                ssl.create_default_context(cafile=settings.ca)
            except (OSError, ValueError) as error:
                variable = env.prefix + "IMAGE_CA"
                raise InvalidInput(
                    f"{variable} is {settings.ca!r}, which can't be read as PEM: {error}",
                    field=variable,
                ) from error
        return settings

    def may_call(self, address: Address) -> bool:
        """Whether an address is public, or of a network that is allowed."""
        return is_public(address) or any(
            address.version == network.version and address in network for network in self.networks
        )


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet, and hides none that is not (IPv6 in tunnels)."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    return address in _ROUTABLE and address.sixtofour is None and address.teredo is None


def _list(env: Environment, name: str) -> list[str]:
    return [each.strip() for each in env.text(name).split(",") if each.strip()]


def _host(env: Environment, given: str) -> tuple[str, int]:
    try:
        url = httpx.URL(f"https://{given}")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if not url.raw_host or url.path not in ("", "/") or url.userinfo:
        variable = env.prefix + "IMAGE_HOSTS"
        raise InvalidInput(
            f"{variable} has {given!r}: give HOST or HOST:PORT, separated by commas", field=variable
        )
    return url.raw_host.decode("ascii").lower(), url.port or PORT


def _network(env: Environment, given: str) -> Network:
    try:
        return ipaddress.ip_network(given)
    except ValueError as error:
        variable = env.prefix + "IMAGE_NETWORKS"
        raise InvalidInput(
            f"{variable} has {given!r}: give networks such as 10.0.0.0/8, separated by commas",
            field=variable,
        ) from error
