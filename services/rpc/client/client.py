"""Shared parts of the clients: the connection, and images that are sent to a replica only once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from protos.mpa.v1 import types_pb2
from services import tracing
from services.core.errors import ImageUnknown, NotFound, WrongState
from services.rpc.access.credentials import Credentials
from services.rpc.client.replies import Picture
from services.rpc.connection import IN_FLIGHT, PATIENCE_S, Connection, Notice, Reply
from services.rpc.peer import Peer

CONTROL_TIMEOUT_S = 600.0
_ELSEWHERE = frozenset({"VERSION_NOT_LOADED", "VERSION_NOT_FOUND"})
"""Reasons of a replica whose siblings may answer nevertheless."""


class Client:
    """The connection to one service and its replicas.

    `credentials`: by default those of the environment (MPA_KEY, MPA_TLS_CA and so on).
    """

    name = ""

    def __init__(
        self,
        address: str,
        *,
        patience_s: float = PATIENCE_S,
        in_flight: int = IN_FLIGHT,
        notice: Notice = lambda _: None,
        credentials: Credentials | None = None,
    ) -> None:
        """Raises InvalidInput: the environment names a file that can't be read."""
        credentials = credentials or Credentials.from_environment()
        self.connection = Connection(self.name, address, patience_s, in_flight, notice, credentials)

    @property
    def address(self) -> str:
        return self.connection.address

    @property
    def in_flight(self) -> int:
        """Most calls at a time, as far as the service is known."""
        return self.connection.in_flight

    async def ready(self) -> None:
        """Waits until the service can answer. Raises Unavailable."""
        await self.connection.wait_until_serving()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.connection.close()

    async def _with_image(
        self,
        picture: Picture,
        send: Callable[[Peer, types_pb2.Image], Awaitable[Reply]],
        *,
        version: str = "",
        retry: bool = True,
    ) -> Reply:
        """Sends the bytes once to the image's replica, then only their hash.

        The bytes are sent again if they are forgotten. A replica that has not loaded `version` is
        left out.
        """

        peers = self.connection.peers

        async def attempt() -> Reply:
            lacking: set[Peer] = set()
            while True:
                peer = await peers.for_image(picture.sent_sha256, version)
                try:
                    return await self._ask(peer, picture, send)
                except (NotFound, WrongState) as error:
                    is_last = peers.is_single or peer in lacking
                    if error.reason not in _ELSEWHERE or not version or is_last:
                        raise
                    lacking.add(peer)
                    peer.note_lacking(version)

        call = self.connection.call if retry else self.connection.call_once
        with tracing.span(f"ask the {self.name}"):
            return await call(attempt)

    async def _ask(
        self,
        peer: Peer,
        picture: Picture,
        send: Callable[[Peer, types_pb2.Image], Awaitable[Reply]],
    ) -> Reply:
        once = self.connection.call_once
        sha256 = picture.sent_sha256
        with peer.busy():
            if peer.holds(sha256):
                try:
                    return await once(lambda: send(peer, types_pb2.Image(sha256=sha256)))
                except ImageUnknown:
                    peer.forget(sha256)
            reply = await once(lambda: send(peer, types_pb2.Image(data=picture.data)))
            peer.keep(sha256)
            return reply
