"""Parquet (zstd) without images: one file, a row for each record with its whole provenance.

Rejected records have their reason. The run's settings are in the file's metadata, under
"mpa.settings".
"""

from __future__ import annotations

from pathlib import Path

from services.orchestrator.exports.samples import ExportedSamples
from services.orchestrator.exports.tables import ExportTables, provenance_fields, schema


def write(samples: ExportedSamples, target: Path) -> int:
    settings = {"mpa.settings": samples.run.settings.to_json()}
    columns = schema(provenance_fields(samples), {}, **settings)
    with ExportTables(columns, lambda _: target) as rows:
        for entry in samples.entries():
            rows.add(samples.columns(entry))
    return rows.count
