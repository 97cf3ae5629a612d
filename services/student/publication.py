"""A version for others: its files as a stream, and its model card.

STORE/versions/vN/README.md is the card. It comes with the promotion, when the version has long been
complete, and describes it; no answer depends on it, so the manifest doesn't cover it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

from services.core.errors import InvalidInput, MpaError, NotFound
from services.files import write_atomically
from services.student.intact import ADDED_LATER, CARD
from services.student.manifest import ADAPTER
from services.student.store import VersionStore

MAX_CARD_CHARS = 200_000
PART_BYTES = 2**20
_log = logging.getLogger(__name__)


def require_card(card: str) -> None:
    """Raises InvalidInput: the card is too long."""
    if len(card) > MAX_CARD_CHARS:
        raise InvalidInput(
            f"the card has {len(card):,} characters; at most {MAX_CARD_CHARS:,} are accepted",
            field="card",
            reason="TEXT_TOO_LONG",
        )


async def keep_card(store: VersionStore, name: str, card: str) -> None:
    """Write the card of a version that is live. A promotion stands, even if the disk is full."""
    if not card:
        return
    try:
        await asyncio.to_thread(write_atomically, store.path(name) / CARD, card)
    except MpaError as error:
        _log.warning("version %s is live without its model card: %s", name, error)


async def file_parts(store: VersionStore, name: str) -> AsyncGenerator[tuple[str, bytes]]:
    """Path and bytes of each part of each file: all that the whole model needs, and its card.

    Raises NotFound; InvalidInput: the version is damaged, or was changed meanwhile.
    """
    folder = await asyncio.to_thread(store.verify, name)
    for path in await asyncio.to_thread(_files, folder):
        async for part in _parts(path, name):
            yield path.relative_to(folder).as_posix(), part
    await asyncio.to_thread(store.require_unchanged, name)


def _files(folder: Path) -> list[Path]:
    """Files of the whole model: neither its adapter alone, nor its canaries."""
    left_out = {ADAPTER, *ADDED_LATER} - {CARD}
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.relative_to(folder).parts[0] not in left_out
        and not path.name.startswith(f".{CARD}.")  # a card that is being written
    )


async def _parts(path: Path, name: str) -> AsyncGenerator[bytes]:
    """Parts of a file; an empty file has one."""
    try:
        with path.open("rb") as file:
            part = await asyncio.to_thread(file.read, PART_BYTES)
            yield part
            while part := await asyncio.to_thread(file.read, PART_BYTES):
                yield part
    except OSError as error:
        raise NotFound(
            f"version {name} is incomplete now ({path.name}: {error.strerror}): it may be deleted "
            "at this moment, list the versions",
            reason="VERSION_NOT_FOUND",
        ) from error
