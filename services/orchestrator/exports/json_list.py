"""A JSON list, written one item at a time, one per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self


class JsonList:
    """The list, or an object with the list as its value `under` a name."""

    def __init__(self, path: Path, *, under: str = "") -> None:
        self._file = path.open("w")
        self._under = under
        self.count = 0

    def __enter__(self) -> Self:
        self._file.write(f"{{{json.dumps(self._under)}: [" if self._under else "[")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            self._file.write("\n]}\n" if self._under else "\n]\n")

    def add(self, item: Mapping[str, object]) -> None:
        self._file.write(("," if self.count else "") + "\n" + json.dumps(item, ensure_ascii=False))
        self.count += 1
