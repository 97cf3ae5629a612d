"""Calls to one service, with retries and back-off, and a clear error when they run out."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.errors import (
    Cancelled,
    EngineFailed,
    MpaError,
    Overloaded,
    Unavailable,
    WrongState,
)
from services.rpc import status
from services.rpc.access.credentials import Credentials
from services.rpc.bulk import ITEMS_PER_STREAM, MOST_STREAMS, OUT_OF_TIME
from services.rpc.concurrency import Concurrency
from services.rpc.peers import Peers

IN_FLIGHT = 512
"""Most calls at a time to a replica that does not report how many requests it accepts."""
SHARE = 0.5
"""Share of the requests that a replica accepts: others have the rest."""
PATIENCE_S = 60.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
INTERNAL_ERROR_TRIES = 3
SPREAD = (1.0, 1.2)
"""Random factor of waits, so that callers refused together don't retry together. Never below 1."""

Reply = TypeVar("Reply")
Notice = Callable[[str], None]


class Connection:
    """Calls to one service and its replicas, with retries, at most `in_flight` to each at a time.

    A call that finds the service unreachable or overloaded waits (as long as RetryInfo states) and
    keeps its place, so that load falls by itself. It gives up with Unavailable or Overloaded once
    the service has answered nobody for `patience_s` seconds.
    """

    def __init__(
        self,
        name: str,
        address: str,
        patience_s: float,
        in_flight: int,
        notice: Notice,
        credentials: Credentials | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.peers = Peers(address, credentials=credentials)
        self._patience_s = patience_s
        self._each = in_flight
        self.concurrency = Concurrency(in_flight)
        self._notice = notice
        self._answered_at = 0.0
        self._is_troubled = False

    @property
    def in_flight(self) -> int:
        """Most calls at a time to all replicas."""
        return self._each * max(1, self.peers.count)

    def note_accepted(self, requests: int) -> None:
        """Note how many requests a replica reports to accept; 0: an earlier release does not."""
        if requests:
            self._each = max(1, min(int(SHARE * requests), MOST_STREAMS * ITEMS_PER_STREAM))

    async def call(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        async with self.concurrency:
            began = time.monotonic()
            tries = 0
            delay_s = FIRST_DELAY_S
            trouble: MpaError
            while True:
                tries += 1
                sent_at = time.monotonic()
                wait_s = delay_s
                try:
                    reply = await self.call_once(send)
                except Overloaded as error:
                    trouble = error
                    self.concurrency.refused(sent_at)
                    wait_s = error.retry_after_s
                except (Unavailable, Cancelled) as error:
                    trouble = error
                    if error.reason == OUT_OF_TIME:
                        self.concurrency.refused(sent_at)
                    delay_s = min(2 * delay_s, LONGEST_DELAY_S)
                except MpaError as error:
                    trouble = error
                    if type(error) not in (MpaError, EngineFailed) or tries == INTERNAL_ERROR_TRIES:
                        raise
                else:
                    self._answered_at = time.monotonic()
                    self._is_troubled = False
                    self.concurrency.most = self.in_flight
                    self.concurrency.answered(self._answered_at - sent_at)
                    return reply
                if time.monotonic() + wait_s - max(began, self._answered_at) > self._patience_s:
                    raise self._gave_up(trouble) from trouble
                self._report(trouble)
                await asyncio.sleep(wait_s * random.uniform(*SPREAD))

    async def call_once(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """Calls at once and without retries. Raises the MpaError of the status, or WrongState."""
        # grpcio crashes when a stub is made on a closed channel, as `send` may do.
        if self.peers.is_closed:
            raise WrongState(
                f"the client of the {self.name} at {self.address} is closed: open another one"
            )
        try:
            return await send()
        except grpc.aio.AioRpcError as error:
            raise status.from_rpc_error(error, self.address) from None

    async def wait_until_serving(self) -> None:
        """Waits until the service reports SERVING, or answers, if it has no health check."""

        async def check() -> None:
            stub = (await self.peers.any()).stub(health_pb2_grpc.HealthStub)
            try:
                health = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return
                raise
            if health.status != health_pb2.HealthCheckResponse.SERVING:
                raise Unavailable(f"{self.name} at {self.address} is up but not ready")

        await self.call(check)

    async def close(self) -> None:
        await self.peers.close()

    def _gave_up(self, trouble: MpaError) -> MpaError:
        if isinstance(trouble, Overloaded):
            return Overloaded(
                f"the {self.name} at {self.address} stayed overloaded for "
                f"{self._patience_s:g} s: {trouble}"
            )
        return Unavailable(
            f"the {self.name} at {self.address} gave no answer for {self._patience_s:g} s "
            f"({trouble}): start it with `mpa-orch serve {self.name}`, or name another address"
        )

    def _report(self, trouble: MpaError) -> None:
        if not self._is_troubled and not isinstance(trouble, Overloaded):
            self._is_troubled = True
            self._notice(f"waiting for the {self.name} at {self.address}: {trouble}")
