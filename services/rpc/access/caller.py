"""The caller of the request under way."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field

from services.rpc.access.allowance import UNLIMITED, Allowance
from services.rpc.access.keys import AccessKey
from services.rpc.access.roles import AccessRole


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller. `key` is None if the service has no keys: then everybody may do everything."""

    key: AccessKey | None = None
    address: str = ""
    certificate: str = ""
    """A name of the client certificate; "" without one."""
    allowance: Allowance = field(default=UNLIMITED, compare=False)
    """Limits of the key, and what it has left."""

    @property
    def id(self) -> str:
        """Id of the key; "" without one."""
        return self.key.id if self.key else ""

    def has(self, role: AccessRole) -> bool:
        return self.key is None or role in self.key.roles


current_caller: ContextVar[Caller] = ContextVar("current_caller")
_NOBODY = Caller()


def the_caller() -> Caller:
    """The caller of the request under way; without keys, a caller who may do everything."""
    return current_caller.get(_NOBODY)


def account(address: str) -> str:
    """The account that quotas count for: the caller's key, or else the address."""
    found = the_caller().id
    return f"key {found}" if found else address
