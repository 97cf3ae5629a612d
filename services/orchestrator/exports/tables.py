"""Rows as Parquet files, a row group at a time, with the features of Hugging Face's `datasets`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from services.core.agreement import Agreement
from services.core.parity import Cell
from services.orchestrator.exports.samples import ExportedSamples
from services.orchestrator.run.columns import Value
from services.orchestrator.run.entries import Entry
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow

GROUP_ROWS, GROUP_BYTES = 1000, 8 * 2**20
SHARD_BYTES = 500 * 10**6
ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
SPECIMEN = Entry(
    ImageRow("path", "sha256"),
    AnnotationRow("sha256", 0, 0, "text", "question", "answer", "rejection", 0, "model", "detail"),
    AnswerRow(
        "sha256", "question", "student", "version", "answer", "conditions", "step", logprob=0.0
    ),
    (AnswerRow("sha256", "question", "teacher", "version", "answer", "conditions", "step"),) * 2,
    Cell.GAP,
    "matcher",
    "matcher",
    Agreement(1, 1),
)
"""An entry with every field, for the types of the columns."""
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
IMAGE_FEATURE = {"_type": "Image"}


def provenance_fields(samples: ExportedSamples) -> dict[str, pa.DataType]:
    """The columns that explain a record, by name."""
    columns: dict[str, Value] = samples.columns(SPECIMEN)
    return {name: ARROW[str if value is None else _type(value)] for name, value in columns.items()}


def _type(value: Value) -> type:
    return next(kind for kind in (bool, int, float, str) if isinstance(value, kind))


def schema(
    fields: Mapping[str, pa.DataType], features: Mapping[str, object], **metadata: str
) -> pa.Schema:
    """A schema. `features`: the columns that `datasets` can't infer from their type."""
    plain = {
        name: {"dtype": _dtype(kind), "_type": "Value"}
        for name, kind in fields.items()
        if name not in features
    }
    info = {"info": {"features": {name: {**plain, **features}[name] for name in fields}}}
    return pa.schema(list(fields.items()), metadata={"huggingface": json.dumps(info), **metadata})


def _dtype(kind: pa.DataType) -> str:
    return {pa.float64(): "float64"}.get(kind, str(kind))


class ExportTables:
    """A writer of rows in groups of limited size, into one file or into shards.

    `path` names shard 0, 1, ...
    """

    def __init__(
        self, schema: pa.Schema, path: Callable[[int], Path], shard_bytes: int | None = None
    ) -> None:
        self._schema = schema
        self._path = path
        self._shard_bytes = shard_bytes
        self._rows: list[Mapping[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None
        self._group_bytes = self._written_bytes = self._shards = self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._close()

    def add(self, row: Mapping[str, Any], size_bytes: int = 0) -> None:
        """Add a row. `size_bytes`: the size of its image."""
        self._rows.append(row)
        self._group_bytes += size_bytes
        self.count += 1
        if len(self._rows) == GROUP_ROWS or self._group_bytes > GROUP_BYTES:
            self._flush()
        if self._shard_bytes is not None and self._written_bytes > self._shard_bytes:
            self._close()

    def _flush(self) -> None:
        if self._writer is None:
            path = self._path(self._shards)
            self._shards += 1
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._written_bytes += self._group_bytes
        self._rows = []
        self._group_bytes = 0

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._written_bytes = 0
