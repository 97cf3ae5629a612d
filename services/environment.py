"""Settings from environment variables: one prefix for each service, errors that name the variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.core.errors import InvalidInput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Environment:
    """`variables` that begin with `prefix` ("MPA_TEACHER_"); an unset or empty one takes the default."""

    prefix: str
    variables: Mapping[str, str]

    def text(self, name: str, default: str = "") -> str:
        return self.variables.get(self.prefix + name) or default

    def path(self, name: str) -> Path | None:
        given = self.text(name)
        return Path(given) if given else None

    def integer(self, name: str, default: int) -> int:
        return self._number(name, default, int)

    def seconds(self, name: str, default: float) -> float:
        return self._number(name, default, float)

    def _number(self, name: str, default: T, read: Callable[[str], T]) -> T:
        given = self.text(name)
        try:
            return read(given) if given else default
        except ValueError as error:
            raise InvalidInput(f"{self.prefix}{name} is {given!r}: give a number", field=self.prefix + name) from error
