"""Several items in one message of a bidirectional stream: whatever waits to be sent when the stream is free.

Whoever gets a message takes it apart. Only a side that has said so (`takes_more`) is sent several, so that older clients and
services go on as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableSequence
from typing import Any, Protocol, TypeVar

MOST_ITEMS = 64
ENOUGH_BYTES = 2**20
"""A message that has as many takes no further item: with the largest image that there may be it is still one that is let in."""


class StreamItem(Protocol):
    """A request or a reply under the client's id, and further ones."""

    id: str
    takes_more: bool

    @property
    def more(self) -> MutableSequence[Any]: ...

    def HasField(self, field_name: str, /) -> bool: ...

    def ByteSize(self) -> int: ...


AnyItem = TypeVar("AnyItem", bound=StreamItem)


def apart(message: AnyItem) -> list[AnyItem]:
    """The items of a message."""
    return [message, *message.more]


def fill(message: AnyItem, waiting: asyncio.Queue[AnyItem | None]) -> None:
    """Adds what waits, up to MOST_ITEMS and ENOUGH_BYTES; None ends the queue, and stays in it."""
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
