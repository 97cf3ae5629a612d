"""Small JSON files of the store, read into dataclasses. One that is damaged is named, with the fault and the way out."""

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
"""Function from the keys of an earlier release to those of this one."""
MAX_BYTES = 16 * 2**20


def read_record(
    kind: type[T],
    path: Path,
    way_out: str,
    reason: str = "FILE_DAMAGED",
    earlier: Adapt | None = None,
) -> T:
    """The dataclass that `path` holds. `way_out`: what people can do about a damaged file.

    Raises InvalidInput (`reason`): no file that can be read, not JSON, keys that are missing, of another type, or unknown.
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
                f"this release does not know {unknown}; a later one may have written it"
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
    """The first key of `raw` that `known` has not, with those above it; "" where all are known."""
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
