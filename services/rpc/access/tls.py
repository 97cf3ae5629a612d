"""Certificates of a service, for both faces, read again when their files change."""

from __future__ import annotations

import logging
import ssl
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from services.core.errors import InvalidInput
from services.environment import Environment

_log = logging.getLogger(__name__)
_NAMES = ("x509_common_name", "x509_subject_alternative_name")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of a service."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Callers must have a certificate of this authority; None: they need none."""

    @property
    def paths(self) -> list[Path]:
        given = (self.certificate, self.key, self.client_ca)
        return [path for path in given if path is not None]

    def __str__(self) -> str:
        return ", ".join(map(str, self.paths))

    @staticmethod
    def from_environment(env: Environment) -> TlsFiles | None:
        """Reads MPA_*_TLS_CERT, _TLS_KEY and _TLS_CLIENT_CA. Raises InvalidInput."""
        certificate, key = env.path("TLS_CERT"), env.path("TLS_KEY")
        client_ca = env.path("TLS_CLIENT_CA")
        if certificate is None and key is None and client_ca is None:
            return None
        if certificate is None or key is None:
            missing = env.prefix + ("TLS_CERT" if certificate is None else "TLS_KEY")
            raise InvalidInput(
                f"{missing} is missing: TLS needs the files of a certificate and of its key",
                field=missing,
            )
        return TlsFiles(certificate, key, client_ca)


class Certificates:
    """TLS of one service. Its files may be replaced while it runs: new connections meet the new.

    Over gRPC a connection needs a client certificate if there is a client CA. Over HTTP it needs
    none, so that health checks without one are answered; each request is checked (access.py).
    """

    def __init__(self, files: TlsFiles) -> None:
        """Raises InvalidInput: a file is missing, or is no certificate or key that fits it."""
        self._files = files
        self._stamps = self._look()
        self._renewed: list[deque[grpc.ssl_server_certificate_configuration]] = []
        """For each server, files that it has not met yet."""
        try:
            self.context = self._context()
            self._for_grpc = self._read()
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"TLS can't start with {files.certificate} and {files.key} ({error}): give PEM "
                "files of a certificate and of its key",
                reason="TLS_FILES",
            ) from error

    @property
    def asks_clients(self) -> bool:
        """Whether callers need a certificate."""
        return self._files.client_ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials of one gRPC server, which ask for renewed files at each handshake.

        They get them once: gRPC replaces its configuration without a lock, so that two handshakes
        that both replace it may end the process.
        """
        renewed: deque[grpc.ssl_server_certificate_configuration] = deque(maxlen=1)
        self._renewed.append(renewed)

        def fetch() -> grpc.ssl_server_certificate_configuration | None:
            try:
                return renewed.pop()
            except IndexError:
                return None

        return grpc.dynamic_ssl_server_credentials(
            self._for_grpc, fetch, require_client_authentication=self.asks_clients
        )

    def refresh(self) -> None:
        """Reads the files if they have changed. Files that don't fit each other change nothing."""
        stamps = self._look()
        if stamps == self._stamps:
            return
        try:
            context, for_grpc = self._context(), self._read()
        except (OSError, ssl.SSLError) as error:
            _log.error("the certificates stay as they were: %s: %s", self._files, error)
            return
        self.context, self._for_grpc = context, for_grpc
        self._stamps = stamps
        for renewed in self._renewed:
            renewed.append(for_grpc)
        _log.info("the certificates are renewed: %s", self._files)

    def _look(self) -> tuple[int, ...]:
        try:
            return tuple(file.stat().st_mtime_ns for file in self._files.paths)
        except OSError:
            return ()

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca is not None:
            context.load_verify_locations(self._files.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _read(self) -> grpc.ssl_server_certificate_configuration:
        pair = (self._files.key.read_bytes(), self._files.certificate.read_bytes())
        ca = self._files.client_ca
        return grpc.ssl_server_certificate_configuration(
            [pair], root_certificates=ca.read_bytes() if ca else None
        )


def names_of_peer(auth: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """Names of a gRPC caller's certificate: common name, then alternative names.

    grpcio ends a name at its first NUL, so that "operator" and "operator\\0.evil" look the same: a
    name that goes on in the certificate is left out.
    """
    pem = b"".join(auth.get("x509_pem_cert", ()) or ()).decode("ascii")
    der = ssl.PEM_cert_to_DER_cert(pem) if pem else b""
    return tuple(
        name.decode(errors="replace")
        for kind in _NAMES
        for name in auth.get(kind, ()) or ()
        if name + b"\0" not in der
    )


def names_of_certificate(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """The same names, of a certificate as `ssl` describes it."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    common = [value for name, value in subject if name == "commonName"]
    return (*common, *(str(value) for _, value in certificate.get("subjectAltName", ())))
