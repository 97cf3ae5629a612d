"""OKVQA and VQAv2: a file of questions and a file of annotations, paired by name.

OpenEnded_mscoco_val2014_questions.json
    {"data_subtype", "questions": [{"question_id", "image_id", "question"}]}
mscoco_val2014_annotations.json
    {"annotations": [{"question_id", "question_type", "answers": [ten of {"answer"}]}]}

OKVQA's `answer` is stemmed and scored; its `raw_answer` is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from services.core.errors import NotFound
from services.orchestrator.datasets.fields import Fields, document
from services.orchestrator.datasets.record import LabelledRecord


def annotations_of(path: Path) -> Path:
    """The file of annotations for the questions in `path`."""
    return path.with_name(path.name.replace("OpenEnded_", "").replace("questions", "annotations"))


def rows(path: Path) -> Iterator[Fields]:
    """The questions, each with its annotation."""
    questions = document(path)
    other = annotations_of(path)
    if other == path or not other.is_file():
        raise NotFound(
            f"{path} needs its annotations next to it, as {other.name}: "
            "put both files of the pair into one folder"
        )
    answers = document(other)
    types = answers.values.get("question_types")
    by_id = _by_id(answers)
    subset = questions.text("data_subtype")
    for fields in questions.objects("questions"):
        annotation = by_id.get(str(fields.values.get("question_id")))
        found = (
            {"annotation": dict(annotation.values), "annotation_at": annotation.where}
            if annotation
            else {}
        )
        yield fields.with_values(**found, subset=subset, types=types or {})


def _by_id(answers: Fields) -> Mapping[str, Fields]:
    found: dict[str, Fields] = {}
    for fields in answers.objects("annotations"):
        if found.setdefault(fields.name("question_id"), fields) is not fields:
            raise fields.fault("question_id", f"{fields.name('question_id')} appears twice")
    return found


def record(fields: Fields) -> LabelledRecord:
    name = fields.name("question_id")
    if "annotation" not in fields.values:
        raise fields.fault("question_id", f"{name} has no annotation in the file next to it")
    annotation = Fields(fields.text("annotation_at"), fields.inner("annotation").values)
    kind = annotation.get("question_type" if fields.values["types"] else "answer_type")
    return LabelledRecord(
        name,
        f"COCO_{fields.text('subset')}_{fields.number('image_id'):012}.jpg",
        fields.text("question"),
        tuple(str(answer.values.get("answer") or "") for answer in _answers(annotation)),
        fields.inner("types").get(kind, kind),
    )


def _answers(annotation: Fields) -> list[Fields]:
    found = list(annotation.objects("answers"))
    if not found:
        raise annotation.fault("answers", "holds no answer")
    for answer in found:
        answer.get("answer")
    return found
