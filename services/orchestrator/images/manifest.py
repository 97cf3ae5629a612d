"""Images listed in a JSONL or CSV file, by path (relative to that file, or absolute) or URL.

The key is the path or URL. Every other column is ignored; consecutive lines with the same image
count once.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.orchestrator.images.source import IMAGE_COLUMNS, Ignored, ImageItem, IsDone, refused
from services.orchestrator.images.store import Store, is_url

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
CONTENT = ("path", "file_name", "url")
"""Keys of the path in a column that holds an object."""


class ImageManifest:
    """The images that `files` list. Raises InvalidInput if a first line has no column of images."""

    def __init__(self, store: Store, files: Sequence[str]) -> None:
        self.store = store
        self._files = files
        self.ignored = Ignored()

    def total(self) -> int | None:
        return None

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        self.ignored = Ignored()
        found = False
        for file in self._files:
            for item in self._listed(file, is_done):
                found = True
                yield item
        if not found:
            raise NotFound(f"there are no images in {self.store.at(self._files[0])}: it is empty")

    def read(self, key: str) -> bytes:
        return self.store.read(key)

    def _listed(self, file: str, is_done: IsDone) -> Iterator[ImageItem]:
        column = ""
        before = None
        for number, row in self._rows(file):
            column = column or self._column(file, row)
            path = _path(row, column)
            if path is None:
                line = f"{file}#{number}"
                problem = f"{line} names no image in its column {column}"
                yield refused(line, InvalidImage(problem, reason="SOURCE_DAMAGED"))
            elif path != before:
                key = path if is_url(path) else posixpath.join(posixpath.dirname(file), path)
                yield ImageItem(key, None if is_done(key) else partial(self.read, key))
            before = path

    def _column(self, file: str, row: Any) -> str:
        names = [name for name in row if name] if isinstance(row, dict) else []
        column = next((name for name in IMAGE_COLUMNS if name in names), "")
        if not column:
            raise InvalidInput(
                f"{self.store.at(file)} names no images: its first line has the columns "
                f"{', '.join(names) or 'none'}; call one {' or '.join(IMAGE_COLUMNS[:3])}"
            )
        others = [name for name in names if name != column]
        self.ignored.columns = tuple(dict.fromkeys([*self.ignored.columns, *others]))
        return column

    def _rows(self, file: str) -> Iterator[tuple[int, Any]]:
        """Rows with the number of their line; None for a line that can't be read."""
        suffix = PurePosixPath(file).suffix.lower()
        opened = self.store.open(file)
        with io.TextIOWrapper(opened, "utf-8-sig", errors="replace", newline="") as text:
            if suffix in DELIMITERS:
                rows = csv.DictReader(text, delimiter=DELIMITERS[suffix])
                yield from _numbered(rows)
            else:
                yield from (
                    (number, _parsed(line)) for number, line in enumerate(text, 1) if line.strip()
                )


def _numbered(rows: csv.DictReader[str]) -> Iterator[tuple[int, Any]]:
    """Rows with the number of their line; None for one with a field of more than 128 KiB."""
    while True:
        row = None
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            pass
        yield rows.line_num, row


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _path(row: Any, column: str) -> str | None:
    value = row.get(column) if isinstance(row, dict) else None
    if isinstance(value, dict):
        value = next((value[name] for name in CONTENT if name in value), None)
    return value.removeprefix("./") if isinstance(value, str) and value.strip() else None
