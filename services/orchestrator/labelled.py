"""A labelled evaluation set: JSONL with {"image": path beside the file, "question", "answers": [...], optional "kind"}.

It measures; it never decides. Training and promotion see nothing of it, so a run stays label-free.
"""

from __future__ import annotations

import json
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.core.evaluation import question_kind
from services.orchestrator.exam import Case


def read_labelled(path: Path) -> list[Case]:
    """Raises InvalidInput with the number of the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NotFound(f"the evaluation set {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the evaluation set {path} is not UTF-8 text: give a JSONL file") from error
    cases = [_case(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not cases:
        raise InvalidInput(f"the evaluation set {path} is empty: it holds one JSON object a line")
    return cases


def _case(path: Path, number: int, line: str) -> Case:
    try:
        fields = json.loads(line)
        image, question, answers = fields["image"], fields["question"], fields["answers"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f'{path}, line {number}: needs "image", "question" and "answers" ({error!r})') from error
    kind = fields.get("kind") or (question_kind(question) if isinstance(question, str) else "")
    are_texts = isinstance(answers, list) and answers and all(isinstance(answer, str) for answer in answers)
    if not (isinstance(image, str) and image and isinstance(question, str) and question.strip() and are_texts):
        raise InvalidInput(f'{path}, line {number}: "image" and "question" are texts, "answers" is a list of at least one text')
    return Case(image, "", question, tuple(answers), str(kind))
