"""TextVQA 0.5.1 (TextVQA_0.5.1_val.json).

{"data": [{"question_id", "image_id", "question", "answers": [ten texts]}]}.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.core.questions import question_kind
from services.orchestrator.datasets.fields import Fields, document
from services.orchestrator.datasets.record import LabelledRecord


def rows(path: Path) -> Iterator[Fields]:
    return document(path).objects("data")


def record(fields: Fields) -> LabelledRecord:
    question = fields.text("question")
    return LabelledRecord(
        fields.name("question_id"),
        f"{fields.name('image_id')}.jpg",
        question,
        fields.texts("answers"),
        question_kind(question),
        fields.get("set_name"),
    )
