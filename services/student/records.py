"""Small JSON files of the store, read into dataclasses.

The error for a damaged file names it, the fault and the way out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from services.core.errors import InvalidInput

T = TypeVar("T")
Adapt: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Function that converts the keys of an earlier release to those of this one."""
MAX_BYTES = 16 * 2**20


def read_record(
    kind: type[T],
    path: Path,
    way_out: str,
    reason: str = "FILE_DAMAGED",
    earlier: Adapt | None = None,
) -> T:
    """Read the dataclass in `path`. `way_out` tells people how to handle a damaged file.

    Raises InvalidInput (`reason`): the file can't be read or isn't JSON, or a key is missing, has
    another type or is unknown.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        text = path.read_bytes()
        if earlier:
            text = json.dumps(earlier(json.loads(text))).encode()
        record: T = _reader(cast(Hashable, kind)).validate_json(text, strict=True)
        unknown = _unknown(json.loads(text), asdict(cast(Any, record)))
        if unknown:
            raise ValueError(
                f"{unknown} is unknown to this release; a later one may have written it"
            )
        return record
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise damaged(
            path, f"{where}: {first['msg']}" if where else first["msg"], way_out, reason
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise damaged(path, why, way_out, reason) from error


@cache
def _reader(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def _unknown(raw: Any, known: Any, above: str = "") -> str:
    """Path of the first key of `raw` that is not in `known`; "" if all are."""
    if not isinstance(raw, dict) or not isinstance(known, Mapping):
        return ""
    for key, value in raw.items():
        if key not in known:
            return above + str(key)
        if found := _unknown(value, known[key], f"{above}{key}."):
            return found
    return ""


def damaged(path: Path, why: str, way_out: str, reason: str) -> InvalidInput:
    """The error for a file that can't be used."""
    return InvalidInput(f"{path} is damaged ({why}): {way_out}", reason=reason)
