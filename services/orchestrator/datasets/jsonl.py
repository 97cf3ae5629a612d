"""Plain JSONL: {"image", "question", "answers": [...], optional "id", "kind", "split"} a line.

"image" is a path relative to the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.core.questions import question_kind
from services.orchestrator.datasets.fields import Fields
from services.orchestrator.datasets.record import LabelledRecord


def rows(path: Path) -> Iterator[Fields]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Fields(f"{path.name}, line {number}", {"line": line, "number": number})
    except OSError as error:
        raise NotFound(f"the data set {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the data set {path} is not UTF-8 text: give a JSONL file") from error


def record(fields: Fields) -> LabelledRecord:
    fields = _parsed(fields)
    question = fields.text("question")
    return LabelledRecord(
        fields.name("id" if fields.values.get("id") is not None else "number"),
        fields.text("image"),
        question,
        fields.texts("answers"),
        fields.get("kind") or question_kind(question),
        fields.get("split"),
    )


def _parsed(fields: Fields) -> Fields:
    try:
        found = json.loads(fields.text("line"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{fields.where}: no JSON ({error})") from error
    if not isinstance(found, dict):
        raise InvalidInput(f'{fields.where}: no object with "image", "question" and "answers"')
    return Fields(fields.where, {"number": fields.number("number"), **found})
