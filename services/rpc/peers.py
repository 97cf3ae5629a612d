"""The replicas behind one endpoint, and the choice of one for each call.

An image belongs to one replica (core/rendezvous.py), so that its pixels, embedding and prefix are
in one cache. If that replica can't be reached, the image moves to another; all others stay. So does
a request that would put its replica too far above the mean load: one popular image, or one slow
replica, must not hold up the rest.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.errors import Unavailable
from services.core.rendezvous import choose
from services.rpc.access.credentials import TLS, Credentials
from services.rpc.addresses import Target, resolve
from services.rpc.peer import Peer

RESOLVE_EVERY_S = 30.0
HEALTH_TIMEOUT_S = 5.0
SETTLE_S = 1.0
Find = Callable[[str, Collection[Target]], Awaitable[Sequence[Target]]]
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NO_SUCH_CHECK = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


class Peers:
    """Replicas of the service at `address`, which `find` looks up every `every_s` seconds."""

    def __init__(
        self,
        address: str,
        find: Find = resolve,
        every_s: float = RESOLVE_EVERY_S,
        credentials: Credentials | None = None,
    ) -> None:
        self.address = address
        self._is_tls = address.lstrip().startswith(TLS)
        self._hosts = address.replace(TLS, "").strip() if self._is_tls else address
        self._credentials = credentials
        self._find = find
        self._every_s = every_s
        self._peers: dict[str, Peer] = {}
        self._turns = itertools.count()
        self._due = 0.0
        self._resolving: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._owner: Peer | None = None
        self.is_closed = False

    @property
    def is_single(self) -> bool:
        return len(self._peers) == 1

    @property
    def count(self) -> int:
        """Number of replicas that are known, reachable or not."""
        return len(self._peers)

    async def all(self) -> list[Peer]:
        """Every replica, reachable or not. Names are looked up again in the background."""
        if time.monotonic() >= self._due and self._resolving is None:
            self._resolving = asyncio.create_task(self._resolve())
        if not self._peers and self._resolving is not None:
            await asyncio.shield(self._resolving)
        return list(self._peers.values())

    async def _resolve(self) -> None:
        try:
            known = [peer.target for peer in self._peers.values()]
            targets = {target.name: target for target in await self._find(self._hosts, known)}
            for name in self._peers.keys() - targets.keys():
                leaving = asyncio.create_task(_let_go(self._peers.pop(name)))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
            fresh = {
                name: Peer(
                    target,
                    name if len(targets) > 1 else self.address,
                    self._credentials,
                    is_tls=self._is_tls,
                )
                for name, target in targets.items()
                if name not in self._peers
            }
            if len(targets) > 1:  # so that the first calls go to replicas that can be reached
                await asyncio.gather(*(peer.settle(SETTLE_S) for peer in fresh.values()))
            self._peers.update(fresh)
            self._due = time.monotonic() + self._every_s
        finally:
            self._resolving = None

    async def for_image(self, image: str, version: str = "") -> Peer:
        """The replica for a request about an image; one that has `version`, if any is known."""
        peers = await self.all()
        if len(peers) == 1:
            return peers[0]
        usable = [peer for peer in peers if peer.is_usable] or peers
        able = [peer for peer in usable if not (version and peer.lacks(version))] or usable
        name = choose(image, {peer.target.name: peer.under_way for peer in able})
        return self._peers[name]

    async def any(self) -> Peer:
        """Each replica in its turn, as far as they can be reached."""
        peers = await self.all()
        usable = [peer for peer in peers if peer.is_usable] or peers
        return usable[next(self._turns) % len(usable)]

    async def owner(self, service: str) -> Peer:
        """The replica that reports `service` as SERVING: followers of its store do not.

        Raises Unavailable: nobody can be reached, or followers only.
        """
        peers = await self.all()
        if len(peers) == 1:
            return peers[0]  # a follower refuses by itself
        if self._owner in peers and self._owner is not None and self._owner.is_usable:
            return self._owner
        usable = [peer for peer in peers if peer.is_usable]
        is_owner = await asyncio.gather(*(_serves(peer, service) for peer in usable))
        self._owner = next(
            (peer for peer, serves in zip(usable, is_owner, strict=True) if serves), None
        )
        if self._owner is not None:
            return self._owner
        if any(serves is False for serves in is_owner):
            raise Unavailable(
                f"only followers answer at {self.address}: start the owner of their store, and "
                "name its address, too",
                reason="NO_OWNER",
            )
        raise Unavailable(f"none of the {len(peers)} replicas at {self.address} can be reached")

    async def close(self) -> None:
        self.is_closed = True
        waiting = {*self._leaving, *([self._resolving] if self._resolving else [])}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*(peer.close() for peer in self._peers.values()))
        await asyncio.gather(*waiting, return_exceptions=True)


async def _let_go(peer: Peer) -> None:
    """Close a replica that DNS no longer names, after its requests."""
    try:
        while peer.under_way:  # noqa: ASYNC110  # rare, and nobody waits for it
            await asyncio.sleep(1.0)
    finally:
        await peer.close()


async def _serves(peer: Peer, service: str) -> bool | None:
    """Whether a service is SERVING there; None if it can't be reached or is not ready at all."""
    health = peer.stub(health_pb2_grpc.HealthStub)
    try:
        of_all = await health.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)
        if of_all.status != _SERVING:
            return None
        request = health_pb2.HealthCheckRequest(service=service)
        found = await health.Check(request, timeout=HEALTH_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return True if error.code() in _NO_SUCH_CHECK else None
    return bool(found.status == _SERVING)
