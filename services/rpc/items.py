"""The items of a stream's message, counted in its bytes before anything is made of them.

Ten megabytes hold five million empty items: taking those apart would keep a service busy for minutes. A message is walked field
by field, which skips the contents of fields, and no further than an honest one goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from services.core.errors import InvalidInput
from services.rpc.messages import MOST_ITEMS

MOST_FIELDS = 4 * MOST_ITEMS
MOST_FIELDS_OF_AN_ITEM = 16
LONGEST_ID = 256
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Malformed:
    """Placeholder for a message that can't be read. `id`: of its first item, where that much can be."""

    error: InvalidInput
    id: str = ""


def check_items(kind: type[Message], data: bytes) -> None:
    """Raises InvalidInput: more than MOST_ITEMS, items within items, fields without end. Other faults are the parser's."""
    more = kind.DESCRIPTOR.fields_by_name.get("more")
    if more is None:
        return
    items = 1
    for place, (number, start, end) in enumerate(_fields(data, 0, len(data)), 1):
        if place > MOST_FIELDS:
            raise InvalidInput(
                f"a message has more than {MOST_FIELDS} fields",
                field="more",
                reason="TOO_MANY_ITEMS",
            )
        if number == more.number:
            items += 1
            if items > MOST_ITEMS:
                raise InvalidInput(
                    f"a message holds more than {MOST_ITEMS} items: send the others in further messages; none was taken",
                    field="more",
                    reason="TOO_MANY_ITEMS",
                )
            _check_item(more.number, data, start, end)


def _check_item(more: int, data: bytes, start: int, end: int) -> None:
    for place, (number, _, _) in enumerate(_fields(data, start, end), 1):
        if number == more or place > MOST_FIELDS_OF_AN_ITEM:
            raise InvalidInput(
                "an item holds further items, or too many fields",
                field="more",
                reason="TOO_MANY_ITEMS",
            )


def first_id(kind: type[Message], data: bytes) -> str:
    """The id with which the message begins; "" where it doesn't, or is no stream's message."""
    fields = kind.DESCRIPTOR.fields_by_name
    if "more" not in fields:
        return ""
    try:
        number, start, end = next(_fields(data, 0, len(data)), (0, 0, 0))
    except InvalidInput:
        return ""
    is_id = number == fields["id"].number and end - start <= LONGEST_ID
    return data[start:end].decode("utf-8", "ignore") if is_id else ""


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, and where the content begins and ends, of each field; stops at the first that isn't whole."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at, end)
        elif kind == _VARINT:
            size = _varint(data, at, end)[1] - at
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            # Groups: no message of ours has any, and fields after one could not be counted.
            raise InvalidInput(
                "a message has a group, which the contract knows nothing of", reason="MALFORMED"
            )
        if at + size > end:
            return
        yield number, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and where the next thing begins: beyond `end` where it is cut off."""
    value = 0
    for place in range(_VARINT_BYTES):
        if at + place >= end:
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    return 0, end + 1
