"""Images in the rows of Parquet and Arrow files, as bytes, {bytes, path} (Hugging Face) or paths.

The key is FILE#ROW. A row group is read at a time, and only the footer of files whose images are
all done. A data set saved by `datasets` is a folder of these files.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from services.core.errors import InvalidImage, InvalidInput, NotFound
from services.engines.images import MAX_BYTES
from services.orchestrator.images.rows import ARROW_SUFFIXES, PARQUET_SUFFIXES, Groups, open_groups
from services.orchestrator.images.source import (
    IMAGE_COLUMNS,
    Ignored,
    ImageItem,
    IsDone,
    damaged,
    held,
    refused,
)
from services.orchestrator.images.store import Store, outside, too_large

SUFFIXES = (*PARQUET_SUFFIXES, *ARROW_SUFFIXES)
DAMAGE = (pa.ArrowException, OSError, EOFError, ValueError)


class ImageTables:
    """The images of `files`, in order."""

    def __init__(self, store: Store, files: Sequence[str]) -> None:
        self.store = store
        self._files = files
        self.ignored = Ignored()
        self._reading = threading.Lock()
        self._opened: tuple[str, Groups] | None = None

    def total(self) -> int | None:
        """The number of rows; None also if a file is damaged, which the walk reports."""
        if self.store.is_far:
            return None
        try:
            return sum(sum(open_groups(self.store, file).sizes) for file in self._files)
        except DAMAGE:
            return None

    def walk(self, is_done: IsDone) -> Iterator[ImageItem]:
        self.ignored = Ignored()
        for file in self._files:
            try:
                groups = open_groups(self.store, file)
                column, others = _columns(self.store.at(file), groups.schema)
                self.ignored.columns = tuple(dict.fromkeys((*self.ignored.columns, *others)))
                yield from self._rows(file, groups, column, is_done)
            except DAMAGE as error:
                yield damaged(file, error)

    def read(self, key: str) -> bytes:
        file, _, row = key.rpartition("#")
        if file not in self._files:
            raise outside(key, self.store)
        try:
            with self._reading:
                if self._opened is None or self._opened[0] != file:
                    self._opened = (file, open_groups(self.store, file))
                groups = self._opened[1]
                column, _ = _columns(file, groups.schema)
                return self._data(key, _cell(groups, column, int(row)))
        except (*DAMAGE, LookupError, ValueError, NotFound) as error:
            raise InvalidImage(f"{key} can't be read: {error}") from error

    def _rows(self, file: str, groups: Groups, column: str, is_done: IsDone) -> Iterator[ImageItem]:
        first = 0
        for group, size in enumerate(groups.sizes):
            if all(map(is_done, _keys(file, first, size))):
                yield from (ImageItem(key, None) for key in _keys(file, first, size))
            else:
                cells = (cell for piece in groups.pieces(group, column) for cell in piece)
                for key, cell in zip(_keys(file, first, size), cells, strict=False):
                    yield ImageItem(key, None) if is_done(key) else self._item(key, cell)
            first += size

    def _item(self, key: str, cell: Any) -> ImageItem:
        try:
            return held(key, self._data(key, cell))
        except InvalidImage as error:
            return refused(key, error)

    def _data(self, key: str, cell: Any) -> bytes:
        try:
            value = cell.as_py()
        except ValueError as error:
            raise InvalidImage(f"{key} holds no path: {error}") from error
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if isinstance(value, str) and value:
            return self.store.read(value)
        if not isinstance(value, bytes):
            raise InvalidImage(f"{key} holds no image: the cell is empty", reason="IMAGE_EMPTY")
        if len(value) > MAX_BYTES:
            raise too_large(key)
        return value


def _keys(file: str, first: int, size: int) -> Iterator[str]:
    """Keys of rows, one at a time: a damaged file may claim any number of rows."""
    return (f"{file}#{row:07}" for row in range(first, first + size))


def _cell(groups: Groups, column: str, row: int) -> Any:
    """The cell of a row. Raises IndexError."""
    for group, size in enumerate(groups.sizes):
        if row >= size:
            row -= size
            continue
        for piece in groups.pieces(group, column):
            if row < len(piece):
                return piece[row]
            row -= len(piece)
    raise IndexError("there is no such row")


def _columns(file: str, schema: Any) -> tuple[str, tuple[str, ...]]:
    """The column with the images, and the others. Raises InvalidInput if there is none."""
    fitting = [field.name for field in schema if _may_hold_images(field)]
    if not fitting:
        raise InvalidInput(
            f"{file} has no column of images (its columns: {', '.join(schema.names) or 'none'}): "
            "they are bytes, {bytes, path}, or paths in a column called "
            f"{' or '.join(IMAGE_COLUMNS[:3])}"
        )
    column = min(
        fitting,
        key=lambda name: IMAGE_COLUMNS.index(name) if name in IMAGE_COLUMNS else len(IMAGE_COLUMNS),
    )
    return column, tuple(name for name in schema.names if name != column)


def _may_hold_images(field: Any) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return field.name in IMAGE_COLUMNS
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
