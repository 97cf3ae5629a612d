"""Bounds of open calls of each kind: in all, from one connection and from one caller.

A caller is a key, or an address if the service has no keys.

No kind can use up the room of another. Answers have only wide bounds here, because the load shedder
limits them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from services.core.errors import Overloaded
from services.rpc.access.caller import account
from services.rpc.interceptors.around import Around, Context

RETRY_AFTER_S = 1.0
PER_CALLER = 1024


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Calls that may be open at once."""

    total: int
    per_connection: int


ANSWERS, STREAMS, UPLOADS, DOWNLOADS = "answers", "streams", "uploads", "exports"
WAITS, CONTROL = "waits", "control calls"
HEALTH, WATCHES = "health checks", "watches"
CALL_LIMITS = {
    ANSWERS: CallLimits(total=8192, per_connection=256),
    STREAMS: CallLimits(total=256, per_connection=128),
    UPLOADS: CallLimits(total=64, per_connection=4),
    DOWNLOADS: CallLimits(total=8, per_connection=2),
    WAITS: CallLimits(total=256, per_connection=32),
    CONTROL: CallLimits(total=512, per_connection=64),
    HEALTH: CallLimits(total=512, per_connection=64),
    WATCHES: CallLimits(total=1024, per_connection=16),
}
NOT_BY_ADDRESS = (HEALTH, CONTROL)
"""Kinds without a bound by address: callers behind one address must all be served."""
_KINDS = {
    "Answer": ANSWERS,
    "Annotate": ANSWERS,
    "AnswerStream": STREAMS,
    "AnnotateStream": STREAMS,
    "UploadDataset": UPLOADS,
    "ExportVersion": DOWNLOADS,
    "WaitOperation": WAITS,
    "Check": HEALTH,
    "Watch": WATCHES,
    "ServerReflectionInfo": WATCHES,
}


def kind(method: str) -> str:
    """Kind of a method by its full name. Methods that no kind names are control calls."""
    return _KINDS.get(method.rpartition("/")[2], CONTROL)


class Turnstile(Around):
    """Counts open calls. `per_caller`: most calls of one kind from one remote caller."""

    def __init__(self, per_caller: int = PER_CALLER) -> None:
        self._per_caller = per_caller
        self._open: Counter[tuple[str, ...]] = Counter()

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        with self.entered(kind(method), unquote(context.peer())):
            yield

    @contextmanager
    def entered(self, what: str, peer: str) -> Iterator[None]:
        """`peer`: ipv4:ADDRESS:PORT or ipv6:[ADDRESS]:PORT. Raises Overloaded: no room."""
        limits = CALL_LIMITS[what]
        caller = account(peer.rpartition(":")[0])
        bounds = [
            ((what,), limits.total, "in all"),
            ((what, peer), limits.per_connection, "from your connection"),
        ]
        if what not in NOT_BY_ADDRESS and not _is_local(caller):
            # No caller has more than half: each open call may hold a half-sent message.
            bounds.append(
                ((what, caller), min(self._per_caller, limits.total // 2), f"from {caller}")
            )
        for key, most, where in bounds:
            if self._open[key] >= most:
                raise Overloaded(
                    f"{most} {what} are open {where}, the most allowed: end one first",
                    retry_after_s=RETRY_AFTER_S,
                    limit=f"grpc_{what.replace(' ', '_')}",
                )
        for key, _, _ in bounds:
            self._open[key] += 1
        try:
            yield
        finally:
            for key, _, _ in bounds:
                self._open[key] -= 1
                if not self._open[key]:
                    del self._open[key]


def _is_local(address: str) -> bool:
    return address.startswith(("ipv4:127.", "ipv6:[::1]", "ipv6:[::ffff:127.", "unix"))
