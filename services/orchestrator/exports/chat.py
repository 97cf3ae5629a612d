"""Chat messages for TRL's SFTTrainer: Parquet files with `images`, `prompt` and `completion`.

Prompt and completion are separate, so that the trainer learns the answer alone, as PL does.
`load_dataset(FOLDER)` reads the folder.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from services.orchestrator.exports.pictures import suffix
from services.orchestrator.exports.samples import ExportedSamples
from services.orchestrator.exports.tables import (
    IMAGE,
    IMAGE_FEATURE,
    SHARD_BYTES,
    ExportTables,
    schema,
)

MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
_TEXT = {"dtype": "string", "_type": "Value"}
_MESSAGES = {"feature": {"role": _TEXT, "content": _TEXT}, "_type": "List"}
FIELDS = {"images": pa.list_(IMAGE), "prompt": MESSAGES, "completion": MESSAGES}
FEATURES = {
    "images": {"feature": IMAGE_FEATURE, "_type": "List"},
    "prompt": _MESSAGES,
    "completion": _MESSAGES,
}


def write(samples: ExportedSamples, target: Path) -> int:
    target.mkdir()
    columns = schema(FIELDS, FEATURES)
    with ExportTables(
        columns, lambda number: target / f"train-{number:05}.parquet", SHARD_BYTES
    ) as rows:
        for sample in samples.trainable():
            image = samples.image(sample)
            rows.add(
                {
                    "images": [{"bytes": image, "path": f"{sample.image_sha256}.{suffix(image)}"}],
                    "prompt": [{"role": "user", "content": samples.prompt(sample)}],
                    "completion": [{"role": "assistant", "content": sample.answer}],
                },
                len(image),
            )
    return rows.count
