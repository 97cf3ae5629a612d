"""An entry as named values: a line of `runs show --json`, a row of the Parquet export.

Names stay; others may be added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from services.core.parity import Cell
from services.core.provenance import NOTHING_KNOWN
from services.orchestrator.run.entries import Entry
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow
from services.orchestrator.run.settings import Settings

Value = str | int | float | bool | None
RIGHT = {
    Cell.GAP: (False, True),
    Cell.KNOWN: (True, True),
    Cell.NOISE_STUDENT_RIGHT: (True, False),
    Cell.NOISE_BOTH_WRONG: (False, False),
    Cell.UNASKED: (True, None),
}
"""Whether the student was right, and whether the teacher was."""


def columns(entry: Entry, settings: Settings) -> dict[str, Value]:
    """All values of an entry; None if there is no value."""
    student_right, teacher_right = RIGHT[entry.cell] if entry.cell else (None, None)
    return {
        "image_path": entry.image.path,
        "image_sha256": entry.image.sha256 or None,
        "held_out": bool(entry.image.held_out),
        **_annotation(entry, settings),
        **_answer("student", entry.student),
        "student_logprob": entry.student.logprob if entry.student else None,
        "student_right": student_right,
        **_answer("teacher", entry.teacher),
        "teacher_right": teacher_right,
        "other_teachers": _others(entry.teachers[1:]),
        "cell": str(entry.cell) if entry.cell else None,
        "matcher": entry.matcher or None,
        "student_matcher": entry.student_matcher or None,
        "samples_agreed": entry.samples.agreed if entry.samples.asked else None,
        "samples_asked": entry.samples.asked or None,
    }


def _annotation(entry: Entry, settings: Settings) -> dict[str, Value]:
    row = entry.annotation
    detail = row.detail if row else entry.image.detail
    return {
        "question": (row and row.question) or None,
        "answer": (row and row.answer) or None,
        "rejection": entry.rejection or None,
        "detail": detail or None,
        "number": row.number if row else None,
        "attempt": row.attempt if row else None,
        "origin": row.origin if row else None,
        "reply": (row and row.text) or None,
        "annotation_seed": row.seed if row else None,
        "annotation_model": (row and row.model_fingerprint) or None,
        "annotation_conditions": settings.annotation_conditions if row else None,
        **_provenance("annotation", row),
    }


def _answer(role: str, row: AnswerRow | None) -> dict[str, Value]:
    return {
        f"{role}_answer": row.answer if row else None,
        f"{role}_version": row.version if row else None,
        f"{role}_conditions": row.conditions if row else None,
        **_provenance(role, row),
    }


def _others(rows: Sequence[AnswerRow]) -> str | None:
    """Answers of further teachers as JSON; None unless several vote."""
    answers = [{"version": row.version, "answer": row.answer} for row in rows]
    return json.dumps(answers, ensure_ascii=False) if answers else None


def _provenance(of: str, row: AnnotationRow | AnswerRow | None) -> dict[str, Value]:
    known = asdict(row.provenance if row else NOTHING_KNOWN)
    known |= known.pop("usage")
    return {f"{of}_{name}": value if row else None for name, value in known.items()}
