"""The HTTP server that BentoML starts, made to keep our limits and to leave without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from services.rpc.http.entrance import Entrance
from services.rpc.http.gate import Gate
from services.rpc.http.protocol import BoundedHttp

_log = logging.getLogger(__name__)


class HttpServer:
    """BentoML offers no setting for this: it gives uvicorn a Config of its own making. But it calls our start-up
    hook before uvicorn listens, and uvicorn has taken over SIGTERM by then: that is how it is found, and its Config changed.
    """

    def __init__(self, entrance: Entrance, app: ASGIApp, posts: Iterable[str]) -> None:
        """`posts`: the paths of `app`, which take POST."""
        self._entrance = entrance
        self._app = app
        self._posts = tuple(posts)
        self._server: uvicorn.Server | None = None

    def adopt(self, server: uvicorn.Server, grace_s: float) -> None:
        """To be called before `server` listens. Requests under way `grace_s` after it stopped listening are cancelled."""
        self._server = server
        config: Any = server.config
        config.http_protocol_class = partial(BoundedHttp, self._entrance)
        config.loaded_app = Gate(config.loaded_app, self._app, self._posts, self._entrance.requests)
        config.timeout_graceful_shutdown = max(1, round(grace_s))
        limits = self._entrance.limits
        _allow_files(2 * (limits.connections + limits.requests))

    def begin_to_leave(self) -> None:
        """From now on replies close their connections; requests are still taken."""
        self._entrance.is_leaving = True
        for connection in list(self._server.server_state.connections) if self._server else ():
            if isinstance(connection, BoundedHttp):
                connection.announce_close()

    async def stop_listening(self) -> None:
        """Takes in callers who have connected; from then on the system refuses connections.

        The supervisor holds the listening socket, too: if only this process closed it, callers would go on connecting to
        nobody, and hang.
        """
        if self._server is None:
            return
        accepted: list[socket.socket] = []
        for listening in getattr(
            self._server, "servers", ()
        ):  # none where it is stopped before it listens
            copies = [socket.socket(fileno=os.dup(each.fileno())) for each in listening.sockets]
            listening.close()
            for copy in copies:
                accepted += _accept_the_last(copy)
        config: Any = self._server.config
        state = self._server.server_state
        make = partial(
            config.http_protocol_class,
            config=config,
            server_state=state,
            app_state=self._server.lifespan.state,
        )
        for each in accepted:
            await asyncio.get_running_loop().connect_accepted_socket(make, each)


def _accept_the_last(listener: socket.socket) -> list[socket.socket]:
    accepted = []
    with listener:
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                accepted.append(connection)
        with suppress(
            OSError
        ):  # where a system knows no shutdown of a listening socket, its end must do
            listener.shutdown(socket.SHUT_RDWR)
    return accepted


def _allow_files(most: int) -> None:
    """Every connection is an open file, and many systems allow 1,024 unless a process asks for more."""
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
