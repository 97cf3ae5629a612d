"""The items of a stream's message, counted in its bytes before the message is parsed.

Ten megabytes can hold five million empty items, and parsing them would take minutes. This check
steps from field to field, skips their contents, and stops at the limits of an honest message.
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
    """Placeholder for an unreadable message. `id`: the id of its first item, if readable."""

    error: InvalidInput
    id: str = ""


def check_items(kind: type[Message], data: bytes) -> None:
    """Raises InvalidInput: more than MOST_ITEMS items, nested items, or too many fields.

    The parser finds all other faults.
    """
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
                    f"a message holds more than {MOST_ITEMS} items: send the others in further "
                    "messages; none was accepted",
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
    """The id at the start of the message; "" if it has none, or is not of a stream."""
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
    """Number, start and end of the content of each field, up to the first incomplete field."""
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
            # Groups: the contract has none, and the fields after one could not be counted.
            raise InvalidInput(
                "a message has a group, and the contract has none", reason="MALFORMED"
            )
        if at + size > end:
            return
        yield number, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number and the position after it, which is beyond `end` if the number is cut off."""
    value = 0
    for place in range(_VARINT_BYTES):
        if at + place >= end:
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    return 0, end + 1
