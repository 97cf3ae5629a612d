"""Files of a version, as a student sends them, written to a folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from protos.mpa.v1 import versions_pb2
from services.core.errors import InvalidInput, WrongState

EXPORT_TIMEOUT_S = 86_400.0
"""One day. Keepalive notices a service that is gone."""


async def receive_files(
    parts: AsyncIterable[versions_pb2.ExportVersionResponse], folder: Path
) -> None:
    """Write each file in `folder`. Raises InvalidInput: a path leads out of it."""
    with ExitStack() as opened:
        name, file = "", None
        async for part in parts:
            if file is None or part.path != name:
                opened.close()
                name, path = part.path, _inside(folder, part.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                file = opened.enter_context(path.open("xb"))
            await asyncio.to_thread(file.write, part.data)


def _inside(folder: Path, name: str) -> Path:
    """The path of a file that a service names: it is not trusted."""
    path = PurePosixPath(name)
    is_plain = all(part not in ("", ".", "..") and "\0" not in part for part in name.split("/"))
    if not is_plain or path.is_absolute():
        raise InvalidInput(
            f"the student sends a file {name!r}, which is no path in a version's folder: "
            "ask another service"
        )
    return folder / path


def too_old(address: str) -> WrongState:
    """The error for a service without exports."""
    return WrongState(
        f"the student at {address} is of a release that can't export versions: update it, or "
        "copy STORE/versions/vN on its machine",
        reason="TOO_OLD",
    )
