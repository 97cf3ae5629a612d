"""Parquet in the layout of lmms-eval and the Hugging Face hub.

A row is {"image": {bytes, path} or bytes, "question", "answers" or "answer"}. Ids come from
`question_id`, `id` or `index` (else the row's number), splits from `split`, `type` or `set_name`.
Captions are in `caption_str` or `answers`, without a question.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.core.errors import InvalidInput, NotFound
from services.core.questions import question_kind
from services.core.tasks import TASKS
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.datasets.record import LabelledRecord

ROWS_AT_ONCE = 16


def rows(path: Path) -> Iterator[Fields]:
    """All rows, a few in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE):
                for values in batch.to_pylist():
                    yield Fields(f"{path.name}, row {number}", {"number": number, **values})
                    number += 1
    except (pa.ArrowException, ValueError) as error:
        raise InvalidInput(f"{path} is no Parquet file that can be read ({error})") from error
    except OSError as error:
        raise NotFound(f"the data set {path} can't be read: {error.strerror or error}") from error


def record(fields: Fields) -> LabelledRecord:
    answers = _first(fields, "answers", "caption_str", "answer")
    question = (
        fields.text("question") if "question" in fields.values else TASKS["captioning"].question
    )
    image, data = _image(fields)
    return LabelledRecord(
        fields.name(_first(fields, "question_id", "id", "index", "number")),
        image,
        question,
        fields.texts(answers),
        fields.get("kind") or fields.get("category") or question_kind(question),
        fields.get(_first(fields, "split", "type", "set_name")),
        data,
    )


def _first(fields: Fields, *keys: str) -> str:
    """The first of the keys that has a value, else the last one."""
    return next((key for key in keys if fields.values.get(key) is not None), keys[-1])


def _image(fields: Fields) -> tuple[str, bytes]:
    """The image's path and bytes, one of them empty."""
    found = fields.values.get("image")
    if isinstance(found, dict):
        found = found.get("bytes") or found.get("path")
    if isinstance(found, bytes) and found:
        return "", found
    if isinstance(found, str) and found:
        return found, b""
    raise fields.fault("image", "holds neither bytes nor a path")
