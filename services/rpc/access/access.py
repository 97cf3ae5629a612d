"""Admission of callers: by key or certificate, then by role."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict

from services.core.errors import PermissionDenied, Unauthenticated
from services.rpc.access.allowance import Allowance, effective
from services.rpc.access.audit_log import OK, AuditLog
from services.rpc.access.caller import Caller, current_caller
from services.rpc.access.keys import AccessKey
from services.rpc.access.ring import KeyChanges, KeyRing
from services.rpc.access.roles import NEEDED, OPEN
from services.rpc.access.settings import AccessSettings
from services.rpc.access.tls import Certificates
from services.rpc.request_id import note

LOOK_S = 1.0
"""Pause between two looks at the files of keys and certificates."""
HEADER = "authorization"
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Access:
    """The one door of both faces of a service. Belongs to one event loop."""

    def __init__(
        self, settings: AccessSettings | None = None, audit: AuditLog | None = None
    ) -> None:
        """`audit`: None if the service has no control actions.

        Raises InvalidInput: a file of keys or certificates is missing or damaged."""
        self.settings = settings or AccessSettings()
        self.audit = audit
        self.certificates = Certificates(self.settings.tls) if self.settings.tls else None
        self._ring = KeyRing(self.settings.keys) if self.settings.keys else None
        self._allowances: dict[str, Allowance] = {}
        self._open: dict[asyncio.Timeout, Caller] = {}

    def admit(
        self, what: str, given: Sequence[str], certificate: Sequence[str], address: str
    ) -> Caller:
        """The caller of an RPC or route (`what`), who is `the_caller` of this task from now on.

        `given`: every authorization header; `certificate`: names of the client's certificate.
        Raises Unauthenticated and PermissionDenied.
        """
        caller = Caller(address=address, certificate=certificate[0] if certificate else "")
        if what not in OPEN and self.settings.is_guarded:
            caller = self._identified(given, certificate, address)
            current_caller.set(caller)
            _require_role(caller, what)
        if caller.key is not None:
            note("key", caller.id)
        current_caller.set(caller)
        return caller

    def _identified(self, given: Sequence[str], certificate: Sequence[str], address: str) -> Caller:
        shown = certificate[0] if certificate else ""
        if self.certificates and self.certificates.asks_clients and not certificate:
            raise Unauthenticated(
                "this service needs a client certificate: connect with one of its authority",
                reason="CERTIFICATE_MISSING",
            )
        if self._ring is None:
            return Caller(None, address, shown)
        if len(given) > 1:
            raise Unauthenticated(
                f"the header {HEADER} came {len(given)} times: send it once",
                reason="KEY_MALFORMED",
            )
        if given:
            token = _BEARER.fullmatch(given[0])
            if token is None:
                raise Unauthenticated(
                    f"the header {HEADER} is not `Bearer KEY`", reason="KEY_MALFORMED"
                )
            return self._with_allowance(self._ring.of_token(token[1]), address, shown)
        if (key := self._ring.of_certificate(certificate)) is not None:
            return self._with_allowance(key, address, shown)
        raise Unauthenticated(
            f"this service needs a key: send the header `{HEADER}: Bearer KEY` (mpa-orch: MPA_KEY)",
            reason="KEY_MISSING",
        )

    def _with_allowance(self, key: AccessKey, address: str, certificate: str) -> Caller:
        limits = effective(key.limits, self.settings.limits)
        allowance = self._allowances.get(key.id)
        if allowance is None or allowance.limits != limits:
            allowance = self._allowances[key.id] = Allowance(limits)
        return Caller(key, address, certificate, allowance)

    @asynccontextmanager
    async def kept_valid(self, caller: Caller) -> AsyncIterator[None]:
        """Ends an open call soon after its key is revoked, changed or expired.

        Raises Unauthenticated.
        """
        if caller.key is None:
            yield
            return
        limit = asyncio.timeout(None)
        self._open[limit] = caller
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unauthenticated(
                "the key of this call is no longer valid", reason="KEY_ENDED"
            ) from None
        finally:
            self._open.pop(limit, None)

    async def watch(self) -> None:
        """Follows the files until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                changes = await asyncio.to_thread(self._refresh)
                for id in changes.removed if changes else ():
                    self._allowances.pop(id, None)
                if changes is not None and self.audit is not None:
                    await self.audit.write("keys", OK, **asdict(changes))
            except Exception:
                _log.exception("keys and certificates stay as they were")
            self._end_invalid()

    def _refresh(self) -> KeyChanges | None:
        if self.certificates is not None:
            self.certificates.refresh()
        return self._ring.refresh() if self._ring is not None else None

    def _end_invalid(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit, caller in list(self._open.items()):
            if self._ring and caller.key and self._ring.fault(caller.key):
                del self._open[limit]
                limit.reschedule(now)


def _require_role(caller: Caller, what: str) -> None:
    needed = NEEDED.get(what, frozenset())
    if caller.key is None and needed:
        return
    if caller.key is None or not needed & caller.key.roles:
        roles = " or ".join(sorted(needed)) or "a role that no key has"
        raise PermissionDenied(
            f"{what[:100]} needs the role {roles}, which your key "
            f"{caller.id or 'can not have'} lacks: ask the service's operator for another key",
            role=min(needed, default=""),
        )
