"""The raters' answers: one file each, all of one audit, with an answer to every question."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput, NotFound
from services.orchestrator.audit.key import KEY
from services.orchestrator.audit.sheet import SheetQuestion
from services.orchestrator.datasets.fields import Fields


@dataclass(frozen=True, slots=True)
class Ratings:
    """One rater's `answers`: {item: {question's key: choice's value}}."""

    rater: str
    answers: Mapping[str, Mapping[str, str]]


def read_ratings(
    paths: Sequence[Path],
    audit: str,
    items: Collection[str],
    questions: Sequence[SheetQuestion],
    folder: Path,
) -> list[Ratings]:
    """Read and check the raters' files. `folder`: that of the audit, for messages.

    Raises InvalidInput that names file and item, NotFound.
    """
    found: dict[str, tuple[Path, Ratings]] = {}
    for path in paths:
        ratings = _read(path, audit, items, questions, folder)
        rater = " ".join(ratings.rater.casefold().split())
        if rater in found:
            raise InvalidInput(
                f"{found[rater][0]} and {path} are both by {ratings.rater!r}: "
                "give one file per rater"
            )
        found[rater] = path, ratings
    return [ratings for _, ratings in found.values()]


def _read(
    path: Path, audit: str, items: Collection[str], questions: Sequence[SheetQuestion], folder: Path
) -> Ratings:
    fields = _document(path)
    if (answered := fields.text("audit")) != audit:
        raise InvalidInput(
            f"{path} answers another audit ({answered}) than the one in {folder} ({audit}): "
            f"see its {KEY}"
        )
    rater = fields.text("rater").strip()
    answers = fields.inner("answers")
    if unknown := next((name for name in answers.values if name not in items), ""):
        raise InvalidInput(
            f"{path}: there is no item {unknown!r} in this audit "
            f"(there are {len(items)}, from {min(items)})"
        )
    if missing := [name for name in items if name not in answers.values]:
        raise InvalidInput(
            f"{path}: item {missing[0]} is not answered ({len(missing)} of {len(items)} are not): "
            f"{rater} can continue from this file on the page"
        )
    return Ratings(
        rater, {name: _answers(answers.inner(name), path, name, questions) for name in items}
    )


def _answers(
    fields: Fields, path: Path, item: str, questions: Sequence[SheetQuestion]
) -> dict[str, str]:
    keys = {question.key for question in questions}
    if unknown := next((key for key in fields.values if key not in keys), ""):
        raise InvalidInput(
            f"{path}, item {item}: {unknown!r} was not asked, only {', '.join(sorted(keys))}"
        )
    return {question.key: _answer(fields, path, item, question) for question in questions}


def _answer(fields: Fields, path: Path, item: str, question: SheetQuestion) -> str:
    value = fields.values.get(question.key)
    if value is None:
        raise InvalidInput(f'{path}, item {item}: "{question.key}" is not answered')
    if value not in question.values:
        raise InvalidInput(
            f'{path}, item {item}: "{question.key}" is {value!r}, '
            f"not one of {', '.join(question.values)}"
        )
    return str(value)


def _document(path: Path) -> Fields:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise NotFound(f"the answers {path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no file that the page saved ({error})") from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} is no file that the page saved: it holds no object")
    return Fields(str(path), content)
