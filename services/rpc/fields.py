"""Values that no field of any request may hold.

Every face checks each request once, when it reads it: `interceptors/reading.py` for calls,
`streams.py` for items of streams, `http/endpoint.py` for forms.
"""

from __future__ import annotations

import math

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.core.errors import InvalidInput

LONGEST_NAME = 255
"""Characters of a name, hash, token or id: the limit of file systems."""
LONGEST_PATH = 4096
_PATHS = ("uri",)
_TEXTS = (
    "card",
    "question",
    "answer",
    "prompt",
    "system_prompt",
    "template",
    "answer_template",
    "training_template",
)
"""Long texts: `limits.py` has their limits."""
_NUMBERS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def check_fields(message: Message, path: str = "") -> None:
    """Raises InvalidInput: a name that is too long or contains a NUL, a number that is not finite.

    The items of a stream are checked one by one when they are answered.
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
            f"{name} has {len(value):,} characters; at most {longest:,} are accepted",
            field=name,
            reason="NAME_TOO_LONG",
        )
    if "\0" in value:
        raise InvalidInput(
            f"{name} is {value!r}: it may contain no NUL", field=name, reason="NAME_WITH_NUL"
        )
