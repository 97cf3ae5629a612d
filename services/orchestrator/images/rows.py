"""The rows of one Parquet or Arrow file, in groups that can be read separately."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from services.orchestrator.images.store import Store

ROWS_AT_ONCE = 32
BUFFER_BYTES = 2**20
PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".arrow", ".feather")


class Groups(Protocol):
    """A file's groups of rows. `sizes`: the number of rows in each."""

    schema: Any
    sizes: list[int]

    def pieces(self, group: int, column: str) -> Iterator[Any]:
        """The column of one group as arrays, in order."""


def open_groups(store: Store, file: str) -> Groups:
    """Open a file by its suffix. Raises pyarrow's errors if it is damaged."""
    if file.lower().endswith(PARQUET_SUFFIXES):
        return ParquetGroups(store.open(file))
    return ArrowGroups(store, file)


class ParquetGroups:
    """Row groups, read a page at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER_BYTES)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self.sizes = [
            metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)
        ]

    def pieces(self, group: int, column: str) -> Iterator[Any]:
        for batch in self._file.iter_batches(
            ROWS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False
        ):
            yield batch.column(0)


class ArrowGroups:
    """Record batches of the stream format (as `datasets` writes) or the file format.

    The file is mapped into memory. A file on another machine is first copied to a temporary file:
    the format has no index to read it by.
    """

    def __init__(self, store: Store, file: str) -> None:
        self._mapped = (
            pa.memory_map(str(Path(store.root, file))) if store.is_local else _fetched(store, file)
        )
        self._next = 0
        self._reader = self._begin()
        self.schema = self._reader.schema
        self.sizes = [batch.num_rows for batch in _batches(self._reader)]
        self._reader = _batches(self._begin())

    def pieces(self, group: int, column: str) -> Iterator[Any]:
        if group < self._next:
            self._reader = _batches(self._begin())
            self._next = 0
        for batch in self._reader:
            self._next += 1
            if self._next > group:
                piece = batch.column(column)
                piece.validate(full=True)  # offsets beyond the file would end this process
                yield piece
                return

    def _begin(self) -> Any:
        self._mapped.seek(0)
        try:
            return pa.ipc.open_file(self._mapped)
        except pa.ArrowInvalid:
            self._mapped.seek(0)
            return pa.ipc.open_stream(self._mapped)


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def _fetched(store: Store, file: str) -> Any:
    with tempfile.NamedTemporaryFile(prefix="mpa-") as here, store.open(file) as there:
        shutil.copyfileobj(there, here)
        here.flush()
        return pa.memory_map(here.name)
