"""One replica of a service: its channel, its streams, and the images that it already holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from services.rpc.access.credentials import Credentials, KeyedChannel
from services.rpc.addresses import Target
from services.rpc.bulk import Bulk, Open
from services.rpc.limits import MESSAGE_OPTIONS
from services.rpc.traced_calls import TracedCalls

REMEMBERED_IMAGES = 4096
ANSWER_TIMEOUT_S = 120.0
LACKING_S = 2.0
"""Seconds for which a replica without a version is not asked for it again."""

CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    *MESSAGE_OPTIONS,
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    (
        "grpc.service_config",
        json.dumps(
            {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
        ),
    ),
)

Stub = TypeVar("Stub")


@dataclass(frozen=True, slots=True)
class Streamed:
    """A method for many requests over few streams. `item`: the message that carries a request."""

    open: Callable[[grpc.aio.Channel], Open]
    item: Callable[..., Any]


class Peer:
    """One replica. `address`: for messages."""

    def __init__(
        self,
        target: Target,
        address: str,
        credentials: Credentials | None = None,
        *,
        is_tls: bool = False,
    ) -> None:
        """Raises InvalidInput: a file of the credentials can't be read."""
        credentials = credentials or Credentials()
        self.target = target
        self.address = address
        authority = (("grpc.default_authority", target.authority),) if target.authority else ()
        self.channel = credentials.channel(
            target.name, is_tls=is_tls, options=(*CHANNEL_OPTIONS, *authority)
        )
        self._calls: Any = (
            KeyedChannel(self.channel, credentials.key) if credentials.key else self.channel
        )
        self.under_way = 0
        self._held: dict[str, None] = {}
        self._lacking: dict[str, float] = {}
        self._stubs: dict[object, Any] = {}
        self._streams: dict[Streamed, Bulk[Any, Any]] = {}

    @property
    def is_usable(self) -> bool:
        """False while it can't be reached, or reports that it is not ready."""
        state = self.channel.get_state(try_to_connect=True)
        return state not in (
            grpc.ChannelConnectivity.TRANSIENT_FAILURE,
            grpc.ChannelConnectivity.SHUTDOWN,
        )

    async def settle(self, timeout_s: float) -> None:
        """Wait until it is known whether it can be reached, at most `timeout_s`."""
        open_states = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while (state := self.channel.get_state(try_to_connect=True)) in open_states:
                    await self.channel.wait_for_state_change(state)

    @property
    def is_closed(self) -> bool:
        return self.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    def stub(self, kind: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        if kind not in self._stubs:
            traced: Any = TracedCalls(self._calls)
            self._stubs[kind] = kind(traced)
        stub: Stub = self._stubs[kind]
        return stub

    def streams(self, method: Streamed) -> Bulk[Any, Any]:
        if method not in self._streams:
            self._streams[method] = Bulk(
                method.open(self._calls), method.item, ANSWER_TIMEOUT_S, self.address
            )
        return self._streams[method]

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a request."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    def holds(self, image: str) -> bool:
        return image in self._held

    def keep(self, image: str) -> None:
        """Note an image that it has received."""
        self._held[image] = None
        if len(self._held) > REMEMBERED_IMAGES:
            del self._held[next(iter(self._held))]

    def forget(self, image: str) -> None:
        self._held.pop(image, None)

    def note_lacking(self, version: str) -> None:
        self._lacking[version] = time.monotonic() + LACKING_S

    def lacks(self, version: str) -> bool:
        """Whether it recently answered that it has not loaded this version."""
        return self._lacking.get(version, 0.0) > time.monotonic()

    async def close(self) -> None:
        await asyncio.gather(*(streams.close() for streams in self._streams.values()))
        await self.channel.close(None)
