"""Settings of access: keys, certificates, and permission to do without."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc.access.allowance import default_limits
from services.rpc.access.audit_log import KEPT
from services.rpc.access.keys import KeyLimits
from services.rpc.access.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may use a service."""

    prefix: str = "MPA_*_"
    """Prefix of the service's settings, for messages."""
    keys: Path | None = None
    """File of keys; None: callers need none."""
    tls: TlsFiles | None = None
    """Files of TLS; None: connections are not encrypted."""
    is_insecure: bool = False
    """Listen beyond this machine without keys or client certificates."""
    has_reflection: bool | None = None
    """Offer gRPC reflection; None: on this machine alone."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    """Limits of keys without their own."""
    audit_files: int = KEPT
    """Earlier files of the audit log that stay; 0 keeps all."""

    @staticmethod
    def from_environment(env: Environment) -> AccessSettings:
        """Reads MPA_*_KEYS, _KEY_*, _TLS_*, _INSECURE, _REFLECTION and _AUDIT_FILES.

        Raises InvalidInput.
        """
        audit_files = env.integer("AUDIT_FILES", KEPT)
        if audit_files < 0:
            raise InvalidInput(
                f"{env.prefix}AUDIT_FILES is {audit_files}: give 1 or more, or 0 to keep all",
                field=f"{env.prefix}AUDIT_FILES",
            )
        return AccessSettings(
            prefix=env.prefix,
            keys=env.path("KEYS"),
            tls=TlsFiles.from_environment(env),
            is_insecure=env.flag("INSECURE"),
            has_reflection=env.flag("REFLECTION") if env.text("REFLECTION") else None,
            limits=default_limits(env),
            audit_files=audit_files,
        )

    @property
    def is_guarded(self) -> bool:
        """Whether callers must show a key or a certificate."""
        return self.keys is not None or (self.tls is not None and self.tls.client_ca is not None)

    def reflects(self, host: str) -> bool:
        """Whether a server on this address offers reflection."""
        return is_loopback(host) if self.has_reflection is None else self.has_reflection

    def require_guarded(self, host: str) -> None:
        """Raises InvalidInput: strangers could reach the service, and nothing would stop them."""
        if self.is_guarded or self.is_insecure or is_loopback(host):
            return
        raise InvalidInput(
            f"the service would listen on {host}, where strangers may reach it, and has no keys: "
            f"make some with `mpa-orch keys add NAME --role ask --file FILE` and set "
            f"{self.prefix}KEYS=FILE, or set {self.prefix}TLS_CLIENT_CA, or set "
            f"{self.prefix}INSECURE=1 (`mpa-orch serve --insecure`) if nobody else can reach it",
            field=f"{self.prefix}KEYS",
            reason="UNGUARDED",
        )


def listen_host(env: Environment) -> str:
    """The address that HTTP and gRPC both listen on. Raises InvalidInput."""
    given = env.text("HOST", "127.0.0.1")
    try:
        return str(ipaddress.ip_address("127.0.0.1" if given == "localhost" else given))
    except ValueError as error:
        raise InvalidInput(
            f"{env.prefix}HOST is {given!r}: give an IP address, 127.0.0.1 or 0.0.0.0",
            field=f"{env.prefix}HOST",
        ) from error


def is_loopback(host: str) -> bool:
    """Whether an IP address is this machine's own."""
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
