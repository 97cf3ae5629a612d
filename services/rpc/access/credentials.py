"""Credentials of a client: its key, its certificate, and the authority that it trusts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from services.core.errors import InvalidInput
from services.environment import Environment
from services.rpc.access.access import HEADER
from services.rpc.access.keys import TOKEN

TLS = "grpcs://"
"""Beginning of the addresses of services with TLS."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a client. The key never appears in a message or log."""

    key: str = field(default="", repr=False)
    ca: Path | None = None
    """PEM file of the authorities that sign services; None: those of the system."""
    certificate: Path | None = None
    """PEM file of the client's certificate, with `certificate_key`."""
    certificate_key: Path | None = None

    @staticmethod
    def from_environment(variables: Mapping[str, str] = os.environ) -> Credentials:
        """Reads MPA_KEY or MPA_KEY_FILE, and MPA_TLS_CA, _CERT and _KEY. Raises InvalidInput."""
        env = Environment("MPA_", variables)
        key, path = env.text("KEY").strip(), env.path("KEY_FILE")
        if not key and path is not None:
            key = _read(path, "MPA_KEY_FILE").decode(errors="replace").strip()
        if key and not TOKEN.fullmatch(key):
            source = "MPA_KEY" if env.text("KEY").strip() else f"MPA_KEY_FILE ({path})"
            raise InvalidInput(
                f"{source} holds no key: give the text that `mpa-orch keys add` printed",
                field="MPA_KEY",
            )
        certificate, certificate_key = env.path("TLS_CERT"), env.path("TLS_KEY")
        if (certificate is None) != (certificate_key is None):
            missing = "MPA_TLS_CERT" if certificate is None else "MPA_TLS_KEY"
            raise InvalidInput(
                f"{missing} is missing: give the client's certificate and its key", field=missing
            )
        return Credentials(key, env.path("TLS_CA"), certificate, certificate_key)

    def channel(
        self, target: str, *, is_tls: bool, options: tuple[tuple[str, Any], ...]
    ) -> grpc.aio.Channel:
        """A channel to one address. Raises InvalidInput: a file can't be read."""
        if not is_tls:
            return grpc.aio.insecure_channel(target, options=options)
        parts = {
            "root_certificates": (self.ca, "MPA_TLS_CA"),
            "private_key": (self.certificate_key, "MPA_TLS_KEY"),
            "certificate_chain": (self.certificate, "MPA_TLS_CERT"),
        }
        read = {name: _read(path, source) for name, (path, source) in parts.items() if path}
        return grpc.aio.secure_channel(
            target, grpc.ssl_channel_credentials(**read), options=options
        )

    def headers(self) -> dict[str, str]:
        """Headers of an HTTP request."""
        return {HEADER: f"Bearer {self.key}"} if self.key else {}

    def context(self) -> ssl.SSLContext:
        """TLS of an HTTP client. Raises InvalidInput: a file can't be read, or is none."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.certificate_key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"MPA_TLS_CA, MPA_TLS_CERT or MPA_TLS_KEY can't be used ({error}): give PEM files",
                field="MPA_TLS_CA",
            ) from error
        return context


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"{variable} is {path}, which can't be read: {error.strerror}", field=variable
        ) from error


class KeyedChannel:
    """A channel whose stubs send the key with every call."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self._metadata = ((HEADER, f"Bearer {key}"),)

    def unary_unary(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return self._with_key(self._channel.unary_unary(*method, **how))

    def unary_stream(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return self._with_key(self._channel.unary_stream(*method, **how))

    def stream_unary(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return self._with_key(self._channel.stream_unary(*method, **how))

    def stream_stream(self, *method: Any, **how: Any) -> Callable[..., Any]:
        return self._with_key(self._channel.stream_stream(*method, **how))

    def _with_key(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def keyed(*request: Any, metadata: Any = (), **how: Any) -> Any:
            return call(*request, metadata=(*(metadata or ()), *self._metadata), **how)

        return keyed
