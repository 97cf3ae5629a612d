"""Shared parts of the clients: the connection, deadlines, and images that are sent only once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from protos.mpa.v1 import types_pb2
from services.core.errors import ImageUnknown
from services.rpc.bulk import Bulk, Open
from services.rpc.client.replies import Picture
from services.rpc.connection import IN_FLIGHT, PATIENCE_S, Connection, Notice, Reply

ANSWER_TIMEOUT_S = 120.0
CONTROL_TIMEOUT_S = 600.0
REMEMBERED_IMAGES = 4096


class Client:
    """The connection to one service, and the hashes of the images that it already holds."""

    name = ""

    def __init__(
        self,
        address: str,
        *,
        patience_s: float = PATIENCE_S,
        in_flight: int = IN_FLIGHT,
        notice: Notice = lambda _: None,
    ) -> None:
        self.connection = Connection(self.name, address, patience_s, in_flight, notice)
        self._held: dict[str, None] = {}
        self._bulks: list[Bulk[Any, Any]] = []

    @property
    def address(self) -> str:
        return self.connection.address

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
        await asyncio.gather(*(bulk.close() for bulk in self._bulks))
        await self.connection.channel.close(None)

    def _bulk(self, open_stream: Open, item: Callable[..., Any]) -> Bulk[Any, Any]:
        """Streams that are closed with the client."""
        self._bulks.append(Bulk(open_stream, item, ANSWER_TIMEOUT_S, self.address))
        return self._bulks[-1]

    async def _with_image(
        self,
        picture: Picture,
        send: Callable[[types_pb2.Image], Awaitable[Reply]],
        *,
        retry: bool = True,
    ) -> Reply:
        """Sends the bytes once, then only their hash; the bytes again if they are forgotten."""
        call = self.connection.call if retry else self.connection.call_once
        if picture.sha256 in self._held:
            try:
                return await call(lambda: send(types_pb2.Image(sha256=picture.sha256)))
            except ImageUnknown:
                self._held.pop(picture.sha256, None)
        reply = await call(lambda: send(types_pb2.Image(data=picture.data)))
        self._held[picture.sha256] = None
        if len(self._held) > REMEMBERED_IMAGES:
            del self._held[next(iter(self._held))]
        return reply
