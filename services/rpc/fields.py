"""Values that no field of any request may hold.

Every face checks a request once, where it reads it: `interceptors/reading.py` a call's, `streams.py` an item's,
`http/endpoint.py` a form's.
"""

from __future__ import annotations

import math

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.core.errors import InvalidInput

LONGEST_NAME = 255
"""Characters of names, hashes, tokens and ids, as file systems have it."""
LONGEST_PATH = 4096
_PATHS = ("uri",)
_TEXTS = (
    "question",
    "answer",
    "prompt",
    "system_prompt",
    "template",
    "answer_template",
    "training_template",
)
"""Texts that are long by nature: their readers check them by `limits.py`."""
_NUMBERS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def check_fields(message: Message, path: str = "") -> None:
    """Raises InvalidInput: a name that is too long or holds a NUL, a number that is none.

    The items of a stream are checked one by one, when they are answered.
    """
    for field, value in message.ListFields():
        name = path + field.name
        if field.type == FieldDescriptor.TYPE_STRING and field.name not in _TEXTS:
            _check_name(value, name, LONGEST_PATH if field.name in _PATHS else LONGEST_NAME)
        elif field.type in _NUMBERS and not math.isfinite(value):
            raise InvalidInput(f"{name} is {value}: give a number", field=name, reason="NOT_FINITE")
        elif field.type == FieldDescriptor.TYPE_MESSAGE and isinstance(value, Message):
            check_fields(value, f"{name}.")


def _check_name(value: str, name: str, longest: int) -> None:
    if len(value) > longest:
        raise InvalidInput(
            f"{name} has {len(value):,} characters; at most {longest:,} are taken",
            field=name,
            reason="NAME_TOO_LONG",
        )
    if "\0" in value:
        raise InvalidInput(
            f"{name} is {value!r}: it may hold no NUL", field=name, reason="NAME_WITH_NUL"
        )
