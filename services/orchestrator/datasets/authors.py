"""The layout of the paper's authors.

[{"question_id", "image_path", "ground_truth_question", "ground_truth_answer"}]. The output of their
annotator has no labels but `predicted_question` and `predicted_answer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.questions import question_kind
from services.orchestrator.datasets.fields import Fields, objects, read_json
from services.orchestrator.datasets.record import LabelledRecord


def rows(path: Path) -> Iterator[Fields]:
    found = read_json(path)
    if not isinstance(found, list):
        raise InvalidInput(f"{path.name} is no list of questions")
    return objects(found, path.name)


def record(fields: Fields) -> LabelledRecord:
    whose = "ground_truth" if fields.values.get("ground_truth_answer") else "predicted"
    question = fields.text(f"{whose}_question")
    return LabelledRecord(
        fields.name("question_id"),
        fields.text("image_path"),
        question,
        fields.texts(f"{whose}_answer"),
        question_kind(question),
    )
