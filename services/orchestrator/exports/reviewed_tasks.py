"""Corrections by people, from an export of Label Studio ("JSON", not "JSON-MIN").

The tasks are those of labelstudio.py: `data` names the record, `annotations` has what each reviewer
decided. A skipped task, and one that nobody has reviewed, has no correction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import written_whole
from services.orchestrator.datasets.fields import Fields, objects, read_json
from services.orchestrator.exports.labelstudio import ANSWER, QUESTION, REJECT, VERDICT

SKIPPED = "was_cancelled"
_KINDS = {VERDICT: "choices", QUESTION: "text", ANSWER: "text"}
"""Controls, and the key of what is left in each."""


class TaskVerdict(StrEnum):
    """A reviewer's verdict on a record."""

    ACCEPT = "accept"
    CORRECT = "correct"
    """Accepted with another question or another answer."""
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class TaskReview:
    """One reviewer's verdict on one record: a line of the file of corrections."""

    image_sha256: str
    number: int
    """Number of the question about its image, as in the run."""
    question: str
    """The question as it is to be asked, corrected or not."""
    answer: str
    """The right answer, corrected or not."""
    verdict: TaskVerdict
    question_before: str
    answer_before: str
    reviewer: str
    """Label Studio's e-mail address or number of the reviewer; "" if it is not exported."""
    at: str
    """Time of the last change, as Label Studio writes it; "" if it is not exported."""


def read_corrections(path: Path) -> list[TaskReview]:
    """Corrections of an export. Raises NotFound; InvalidInput: it is not of our tasks."""
    return corrections_of(read_json(path), path.name)


def corrections_of(export: object, name: str = "the export") -> list[TaskReview]:
    """Corrections in the order of the tasks, and of each task's annotations.

    `name`: the file, for errors. Raises InvalidInput as `read_corrections` does.
    """
    if not isinstance(export, list):
        raise InvalidInput(f"{name} is no list of tasks: export as JSON, not as another format")
    return [correction for task in objects(export, name) for correction in _of_task(task)]


def write_corrections(corrections: list[TaskReview], output: Path) -> None:
    """Write one JSON object a line, all or nothing. Raises MpaError: `output` exists, disk full."""
    lines = [json.dumps(asdict(each), ensure_ascii=False) for each in corrections]
    with written_whole(output) as target:
        target.write_text("".join(f"{line}\n" for line in lines), "utf-8", errors="replace")


def _of_task(task: Fields) -> Iterator[TaskReview]:
    reviews = [each for each in _listed(task, "annotations") if not each.values.get(SKIPPED)]
    if not reviews:
        return
    data = task.inner("data")
    question, answer = data.text("question"), data.text("answer")
    for review in reviews:
        said = _said(review)
        if not said:
            continue
        asked = said.get(QUESTION, "").strip() or question
        right = said.get(ANSWER, "").strip() or answer
        yield TaskReview(
            image_sha256=data.text("image_sha256"),
            number=data.number("number"),
            question=asked,
            answer=right,
            verdict=_judged(said, is_changed=(asked, right) != (question, answer)),
            question_before=question,
            answer_before=answer,
            reviewer=_person(review, "completed_by"),
            at=review.get("updated_at") or review.get("created_at"),
        )


def _judged(said: Mapping[str, str], *, is_changed: bool) -> TaskVerdict:
    """A rejection stands, whatever else was written; a changed text is a correction."""
    if said.get(VERDICT) == REJECT:
        return TaskVerdict.REJECT
    return TaskVerdict.CORRECT if is_changed else TaskVerdict.ACCEPT


def _said(review: Fields) -> dict[str, str]:
    """Texts that a reviewer left in the controls of the configuration, by control."""
    found = {}
    for result in _listed(review, "result"):
        control = result.values.get("from_name")
        if control in _KINDS:
            found[str(control)] = _last(result.inner("value"), _KINDS[str(control)])
    return found


def _last(value: Fields, key: str) -> str:
    """The last of a control's texts; "" if it was emptied."""
    texts = value.values.get(key)
    last = texts[-1] if isinstance(texts, list) and texts else texts or ""
    if not isinstance(last, str):
        raise value.fault(key, "is not a text or a list of texts")
    return last


def _listed(of: Fields, key: str) -> list[Fields]:
    """The objects under `key`; none if it is missing."""
    return list(of.objects(key)) if of.values.get(key) is not None else []


def _person(review: Fields, key: str) -> str:
    """An e-mail address, or a number if the export has no more; "" if it has neither."""
    who = review.values.get(key)
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
    return str(who) if isinstance(who, str | int) else ""
