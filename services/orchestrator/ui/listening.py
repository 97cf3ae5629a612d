"""The explorer's address: pages show people's images, so other machines are let in by choice."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import uvicorn

from services.core.errors import InvalidInput, MpaError
from services.orchestrator.ui.application import explorer

NICENESS = 10
"""Added to the process's: where runs, models or services need the processors, they go first."""


def serve(
    root: Path, host: str, port: int, announce: Callable[[str], None], *, allow_remote: bool
) -> None:
    """Serves the runs in `root` until it is interrupted. `announce` gets the URL first.

    Port 0 takes a free one. Raises InvalidInput for an address that other machines can reach,
    unless they are allowed; MpaError if the address can't be used.
    """
    is_loopback = _is_loopback(host)
    if not is_loopback and not allow_remote:
        raise InvalidInput(
            f"--host {host} can be reached from other machines, and the pages show images, "
            "questions and answers to everybody who reaches them: leave out --host, "
            "or add --allow-remote if that is meant",
            field="host",
        )
    app = explorer(root, host, is_loopback=is_loopback, is_leaving=lambda: server.should_exit)
    with closing(_listening(host, port)) as listener:
        name = f"[{host}]" if ":" in host else host
        announce(f"http://{name}:{listener.getsockname()[1]}/runs")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,  # a caller who reads nothing holds on
        )
        server = uvicorn.Server(config)
        os.nice(NICENESS)
        server.run(sockets=[listener])


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: it may lead anywhere


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise MpaError(
            f"{host}:{port} can't be listened on ({error.strerror}): give another --port"
        ) from error
