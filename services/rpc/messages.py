"""Several items in one message of a bidirectional stream: all that wait when the stream is free.

The receiver separates them. Only a side that has set `takes_more` is sent several items, so that
older clients and services work as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSequence
from typing import Any, Protocol, TypeVar

MOST_ITEMS = 64
ENOUGH_BYTES = 2**20
"""A message of this size takes no further item. With the largest image it is still accepted."""


class StreamItem(Protocol):
    """A request or a reply under the client's id, with further items."""

    id: str
    takes_more: bool

    @property
    def more(self) -> MutableSequence[Any]: ...

    def HasField(self, field_name: str, /) -> bool: ...

    def ByteSize(self) -> int: ...


AnyItem = TypeVar("AnyItem", bound=StreamItem)


def apart(message: AnyItem) -> list[AnyItem]:
    """All items of a message."""
    return [message, *message.more]


def fill(message: AnyItem, waiting: asyncio.Queue[AnyItem | None]) -> None:
    """Adds waiting items, up to MOST_ITEMS and ENOUGH_BYTES. None ends the queue and stays."""
    more: list[AnyItem] = []
    size = message.ByteSize()
    while not waiting.empty() and size < ENOUGH_BYTES and len(more) < MOST_ITEMS - 1:
        item = waiting.get_nowait()
        if item is None:
            waiting.put_nowait(None)
            break
        more.append(item)
        size += item.ByteSize()
    message.more.extend(more)
