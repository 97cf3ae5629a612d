"""The notes that services on one store leave there for each other.

STORE/owner.json               the owner's address
STORE/followers/<id>.json      a follower's state, written at every change and every BEAT_S
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from services.core.errors import InvalidInput, MpaError
from services.files import write_atomically
from services.rpc.lifecycle import ListenSettings
from services.student.records import read_record

BEAT_S = 2.0
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_log = logging.getLogger(__name__)


class FollowerState(StrEnum):
    """States of a follower, with the names of mpa.v1.FollowerState."""

    LOADING = "loading"
    SERVING = "serving"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FollowerNote:
    """State of a follower, as it reports it."""

    address: str
    """HOST:PORT of its gRPC server."""
    state: FollowerState = FollowerState.LOADING
    version: str = ""
    """The version that answers there; "" before the first."""
    wanted: str = ""
    """The live version of the store when it last looked."""
    loaded: tuple[str, ...] = ()
    """All versions in its memory."""
    error: str = ""
    """Why it could not load `wanted`."""
    beat: int = 0
    """Number of the note: it changes as long as the follower lives."""


@dataclass(frozen=True, slots=True)
class OwnerNote:
    """Address of the service that trains and decides."""

    address: str


def own_address(listen: ListenSettings) -> str:
    """HOST:PORT under which others reach this service."""
    host = socket.gethostname() if listen.host in _EVERYWHERE else listen.host
    return f"[{host}]:{listen.port}" if ":" in host else f"{host}:{listen.port}"


def followers_folder(root: Path) -> Path:
    return root / "followers"


def write_owner(root: Path, address: str) -> None:
    """Note the owner's address, if the disk has room: followers name it to people."""
    try:
        write_atomically(root / "owner.json", json.dumps(asdict(OwnerNote(address))))
    except MpaError as error:
        _log.error("followers can't name their owner: %s", error)


def read_owner(root: Path) -> str:
    """Address of the store's owner; "" if none ever noted it."""
    path = root / "owner.json"
    with suppress(InvalidInput):
        return read_record(OwnerNote, path, "the owner writes it at its next start").address
    return ""


class Heartbeat:
    """A follower's note in the store, and its owner's, which is read as often.

    A store that takes no note is reported once, in the log.
    """

    def __init__(self, root: Path, note: FollowerNote) -> None:
        self._root = root
        name = re.sub(r"[^0-9A-Za-z.-]", "_", f"{socket.gethostname()}_{note.address}")
        self._path = followers_folder(root) / f"{name}.json"
        self._writing = asyncio.Lock()
        self._is_silent = False
        self.note = note
        self.owner = ""
        """Address of the store's owner, as last read; "" if none ever noted it."""

    async def change(self, **fields: object) -> None:
        """Replace fields of the note, and write it at once."""
        self.note = replace(self.note, **fields)  # type: ignore[arg-type]  # its own fields
        await self.beat()

    async def beat(self) -> None:
        """Write the note, unless the store does not exist yet."""
        async with self._writing:
            self.note = replace(self.note, beat=self.note.beat + 1)
            try:
                self.owner = await asyncio.to_thread(read_owner, self._root)
                await asyncio.to_thread(self._write, json.dumps(asdict(self.note)))
            except (MpaError, OSError) as error:
                if not self._is_silent:
                    _log.error(
                        "this follower serves, but the owner of the store can't see it: %s", error
                    )
                self._is_silent = True
            else:
                self._is_silent = False

    def _write(self, text: str) -> None:
        if self._path.parent.parent.is_dir():
            write_atomically(self._path, text)

    async def go_on(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    def end(self) -> None:
        """Take the note away: the follower leaves."""
        with suppress(OSError):
            self._path.unlink()
