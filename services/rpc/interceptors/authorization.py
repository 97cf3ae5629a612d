"""Admission of calls: by key or certificate and role, before anything of them is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

from services.core.errors import PermissionDenied
from services.rpc.access.access import HEADER, Access
from services.rpc.access.roles import AUDITED
from services.rpc.access.tls import names_of_peer
from services.rpc.interceptors.around import Around, Context
from services.rpc.interceptors.turnstile import CONTROL, UPLOADS, kind


class Authorization(Around):
    """Refuses callers without the right key. An admitted call ends soon after its key does."""

    def __init__(self, access: Access) -> None:
        self._access = access

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        given = [
            value if isinstance(value, str) else value.decode("latin-1")
            for name, value in context.invocation_metadata() or ()
            if name == HEADER
        ]
        certificate = names_of_peer(context.auth_context()) if self._access.certificates else ()
        address = unquote(context.peer()).rpartition(":")[0]
        try:
            caller = self._access.admit(method, given, certificate, address)
        except PermissionDenied as error:
            if self._access.audit is not None and method in AUDITED:
                await self._access.audit.refused(method.rpartition("/")[2], error)
            raise
        async with self._access.kept_valid(caller):
            # The load shedder counts answers, one by one.
            if kind(method) not in (CONTROL, UPLOADS):
                yield
                return
            with caller.allowance.request():
                yield
