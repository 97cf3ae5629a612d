"""ST-VQA (train_task_3.json).

{"data": [{"question_id", "file_path", "question", "answers": [one or two texts]}]}. The official
test has no labels, so 15 % of the training images replace it, as in the paper, which doesn't say
which ones. Here an image's name decides, so that all its questions are in one split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from services.core.questions import question_kind
from services.orchestrator.datasets.fields import Fields, document
from services.orchestrator.datasets.record import LabelledRecord

TEST_SHARE = 0.15


def rows(path: Path) -> Iterator[Fields]:
    return document(path).objects("data")


def record(fields: Fields) -> LabelledRecord:
    question, image = fields.text("question"), fields.text("file_path")
    return LabelledRecord(
        fields.name("question_id"),
        image,
        question,
        fields.texts("answers"),
        question_kind(question),
        _split(image),
    )


def _split(image: str) -> str:
    draw = int.from_bytes(hashlib.sha256(image.encode()).digest()[:8], "big") / 2**64
    return "test" if draw < TEST_SHARE else "train"
