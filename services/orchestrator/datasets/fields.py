"""The fields of one record of a file, checked as they are read; errors name record and key."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.core.errors import InvalidInput, NotFound

_NAMES: dict[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
}


@dataclass(frozen=True, slots=True)
class Fields:
    """A record. `where` is its name for people, such as "test.json, data[17]"."""

    where: str
    values: Mapping[str, object]

    def fault(self, key: str, problem: str) -> InvalidInput:
        return InvalidInput(f'{self.where}: "{key}" {problem}', field=key)

    def text(self, key: str) -> str:
        """A text that isn't empty. Raises InvalidInput, as all methods do."""
        found = self._read(key, "a text", lambda value: isinstance(value, str))
        if not str(found).strip():
            raise self.fault(key, "is empty")
        return str(found)

    def texts(self, key: str) -> tuple[str, ...]:
        """One text or several, not all empty: an annotator's empty answer is an answer."""
        found = self._read(
            key, "a text or a list of texts", lambda value: isinstance(value, (str, list))
        )
        texts: list[str] = []
        for number, entry in enumerate(found if isinstance(found, list) else [found]):
            if not isinstance(entry, str):
                raise self.fault(f"{key}[{number}]", f"is {_name(entry)}, not a text")
            texts.append(entry)
        if not any(text.strip() for text in texts):
            raise self.fault(key, "is empty: give at least one text")
        return tuple(texts)

    def name(self, key: str) -> str:
        """An id: a text or a whole number."""

        def is_name(value: object) -> bool:
            return (
                not isinstance(value, bool)
                and isinstance(value, (str, int))
                and bool(str(value).strip())
            )

        return str(self._read(key, "an id (a text or a whole number)", is_name))

    def number(self, key: str) -> int:
        found = self._read(
            key,
            "a whole number",
            lambda value: isinstance(value, int) and not isinstance(value, bool),
        )
        assert isinstance(found, int)
        return found

    def positive(self, key: str) -> int:
        found = self.number(key)
        if found < 1:
            raise self.fault(key, f"is {found}: give 1 or more")
        return found

    def real(self, key: str) -> float:
        found = self._read(
            key,
            "a number",
            lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
        )
        assert isinstance(found, (int, float))
        return float(found)

    def get(self, key: str, default: str = "") -> str:
        """A text that may be missing or null."""
        return default if self.values.get(key) is None else self.text(key)

    def inner(self, key: str) -> Fields:
        found = self._read(key, "an object", lambda value: isinstance(value, dict))
        assert isinstance(found, dict)
        return Fields(f"{self.where}.{key}", found)

    def objects(self, key: str) -> Iterator[Fields]:
        found = self._read(key, "a list", lambda value: isinstance(value, list))
        assert isinstance(found, list)
        # A document at its top is named by its file alone.
        begin = f"{self.where}." if ", " in self.where else f"{self.where}, "
        return objects(found, begin + key)

    def with_values(self, **values: object) -> Fields:
        return replace(self, values={**self.values, **values})

    def require_known(self, keys: Sequence[str]) -> None:
        """Raises InvalidInput for a key that isn't one of `keys`."""
        for key in self.values:
            if key not in keys:
                raise self.fault(key, f"is an unknown key: use one of {', '.join(keys)}")

    def _read(self, key: str, wanted: str, is_right: Callable[[object], bool]) -> object:
        if self.values.get(key) is None:
            raise self.fault(key, "is missing" if key not in self.values else "is null")
        found = self.values[key]
        if not is_right(found):
            raise self.fault(key, f"is {_name(found)}, not {wanted}")
        return found


def objects(listed: list[object], where: str) -> Iterator[Fields]:
    """The objects of a list, each named by its place. Raises InvalidInput for any other entry."""
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise InvalidInput(f"{where}[{number}] is {_name(entry)}, not an object")
        yield Fields(f"{where}[{number}]", entry)


def document(path: Path) -> Fields:
    """A JSON file that is one object. Raises NotFound, InvalidInput."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise InvalidInput(f"{path.name} is {_name(found)}, not an object")
    return Fields(path.name, found)


def read_json(path: Path) -> object:
    """The content of a JSON file. Raises NotFound, InvalidInput."""
    try:
        found: object = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{path} is no JSON ({error}): download it again, or name its --format"
        ) from error
    return found


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark. Raises NotFound, InvalidInput."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise NotFound(f"the data set {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the data set {path} is not UTF-8 text: save it as UTF-8") from error


def _name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else "a number"
    return _NAMES.get(type(value), type(value).__name__)
