"""ChartQA (test_human.json, test_augmented.json): [{"imgname", "query", "label"}].

Each file is a split.
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
        raise InvalidInput(
            f'{path.name} is no list: ChartQA\'s files are lists of {{"imgname", "query", "label"}}'
        )
    split = path.stem.rpartition("_")[2]
    for number, fields in enumerate(objects(found, path.name)):
        yield fields.with_values(split=split, number=number)


def record(fields: Fields) -> LabelledRecord:
    question = fields.text("query")
    return LabelledRecord(
        str(fields.number("number")),  # the files have no ids
        fields.text("imgname"),
        question,
        fields.texts("label"),
        question_kind(question),
        fields.text("split"),
    )
