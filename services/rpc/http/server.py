"""Our limits and our shutdown for the HTTP server that BentoML starts."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from contextlib import suppress
from functools import partial
from typing import Any

import psutil
import uvicorn
from starlette.applications import Starlette

from services.rpc.http.entrance import Entrance
from services.rpc.http.gate import Gate
from services.rpc.http.handshake import TlsHandshake
from services.rpc.http.protocol import BoundedHttp

_log = logging.getLogger(__name__)


class HttpServer:
    """The server of BentoML, whose uvicorn Config is changed before it listens.

    BentoML has no setting for this: it makes uvicorn's Config itself. But it calls our start-up
    hook before uvicorn listens and after uvicorn has taken over SIGTERM, by which it is found.
    """

    def __init__(self, entrance: Entrance, app: Starlette) -> None:
        """`app`: our routes, the only paths next to health and metrics."""
        self._entrance = entrance
        self._app = app
        self._server: uvicorn.Server | None = None

    def adopt(self, server: uvicorn.Server, grace_s: float) -> None:
        """Changes `server` before it listens.

        Requests still under way `grace_s` after it stopped listening are cancelled.
        """
        self._server = server
        config: Any = server.config
        config.http_protocol_class = self._connection
        config.loaded_app = Gate(config.loaded_app, self._app, self._entrance)
        config.timeout_graceful_shutdown = max(1, round(grace_s))
        limits = self._entrance.limits
        _allow_files(2 * (limits.connections + limits.requests))

    def _connection(self, **given: Any) -> BoundedHttp | TlsHandshake:
        """The protocol of a new connection; `given` by uvicorn."""
        make = partial(BoundedHttp, self._entrance, **given)
        if (certificates := self._entrance.access.certificates) is None:
            return make()
        connections = given["server_state"].connections
        return TlsHandshake(self._entrance, certificates, make, connections)

    def require_guarded(self) -> None:
        """Raises InvalidInput: `bentoml serve --host` lets strangers reach an open service."""
        for each in psutil.Process().net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                self._entrance.access.settings.require_guarded(each.laddr.ip)

    def begin_to_leave(self) -> None:
        """Lets replies close their connections from now on; requests are still accepted."""
        self._entrance.is_leaving = True
        for connection in list(self._server.server_state.connections) if self._server else ():
            if isinstance(connection, BoundedHttp):
                connection.announce_close()

    async def stop_listening(self) -> None:
        """Accepts the callers that have connected; the system refuses all later ones.

        The supervisor also holds the listening socket. If only this process closed it, as uvicorn
        does, callers could still connect and would hang. So the socket itself is shut down, which
        would reset callers in the system's queue: they are accepted before.
        """
        if self._server is None:
            return
        accepted: list[socket.socket] = []
        # There is no attribute `servers` if the server is stopped before it listens.
        for listening in getattr(self._server, "servers", ()):
            copies = [socket.socket(fileno=os.dup(each.fileno())) for each in listening.sockets]
            listening.close()
            for copy in copies:
                accepted += _accept_the_last(copy)
        make = partial(
            self._connection,
            config=self._server.config,
            server_state=self._server.server_state,
            app_state=self._server.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        for each in accepted:
            await loop.connect_accepted_socket(make, each)


def _accept_the_last(listener: socket.socket) -> list[socket.socket]:
    accepted = []
    with listener:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                accepted.append(connection)
        with suppress(OSError):  # not every system can shut down a listening socket
            listener.shutdown(socket.SHUT_RDWR)
    return accepted


def _allow_files(most: int) -> None:
    """Raises the limit of open files, often 1,024: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        within = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (within, hard))
        if within < wanted:
            _log.warning(
                "only %d files may be open, %d are wanted: raise the limit (ulimit -n)",
                within,
                wanted,
            )
