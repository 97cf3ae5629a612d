"""Entries of a ledger shelf by shelf, for its catalogue, and marks that show which have changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.core.errors import Cancelled
from services.core.questions import question_kind
from services.core.reviews import Counted
from services.orchestrator.run.ledger.facets import (
    KNOWN,
    NOT_REVIEWED,
    UNIDENTIFIED,
    Facet,
    Values,
    result_of,
    values_of,
)
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.losses import mean_loss, read_losses
from services.orchestrator.run.ledger.opinions import Label, has_opinions
from services.orchestrator.run.ledger.review_book import ReviewBook, count_verdicts
from services.orchestrator.run.ledger.schema import LEAK

REFUSED_IMAGES = -1
"""Shelf of the refused images in a catalogue; also their number and attempt."""
READ_AT_ONCE = 500
"""Entries of one query. A ledger before schema 4 has all of them on one shelf, and a query that
stayed open for minutes would keep SQLite's log of the run's writes growing.
"""
MOST_CHARS = 10_000
"""Characters of a text that are searched."""

ANNOTATED = "SELECT shelf, count(*) FROM annotations GROUP BY shelf"
IDENTIFIED = "SELECT shelf, count(*) FROM records WHERE round = ? GROUP BY shelf"
REASONS = "count(*) || '.' || sum(length(rejection)) || '.' || sum(unicode(rejection))"
"""A text that differs if another number is rejected, or for other reasons."""
REJECTED = f"SELECT shelf, {REASONS} FROM annotations WHERE rejection != '' GROUP BY shelf"
SCORED = """
SELECT shelf, count(*) FROM scores CROSS JOIN images ON sha256 = image_sha256 AND rejection = ''
WHERE question_set = 'held_out' AND version = ? GROUP BY shelf
"""
SAMPLED = """
SELECT shelf, count(*) || '.' || sum(agreed)
FROM opinions CROSS JOIN images ON sha256 = image_sha256 AND rejection = ''
WHERE kind = 'sample' GROUP BY shelf
"""
"""CROSS JOIN: the few scores and opinions are read first, not the images."""
REFUSED = f"SELECT {REASONS} FROM images WHERE rejection != ''"
LEAKS = f"SELECT count(*) FROM images WHERE rejection != '' AND rejection = '{LEAK}'"
ENTRIES = """
SELECT a.image_sha256, a.number, a.attempt, a.question, a.answer, a.text, a.rejection, a.origin,
    i.path, i.held_out, r.cell, r.matcher, r.student_matcher, before.score, after.score, after.kind,
    (SELECT answer FROM answers WHERE shelf = a.shelf AND image_sha256 = a.image_sha256
        AND question = a.question AND role = 'student' AND version = ?3),
    (SELECT group_concat(answer, ' ') FROM answers WHERE shelf = a.shelf
        AND image_sha256 = a.image_sha256 AND question = a.question AND role = 'teacher'),
    (SELECT sum(agreed) || '/' || sum(asked) FROM opinions WHERE image_sha256 = a.image_sha256
        AND question = a.question AND answer = a.answer AND kind = 'sample'),
    (SELECT by_epoch FROM losses WHERE shelf = a.shelf AND image_sha256 = a.image_sha256
        AND question = a.question ORDER BY round DESC LIMIT 1),
    (SELECT logprob FROM answers WHERE shelf = a.shelf AND image_sha256 = a.image_sha256
        AND question = a.question AND role = 'student' AND version = ?3)
FROM annotations a
LEFT JOIN images i ON i.sha256 = a.image_sha256 AND i.rejection = ''
LEFT JOIN records r ON r.shelf = a.shelf AND r.image_sha256 = a.image_sha256
    AND r.number = a.number AND r.round = ?2
LEFT JOIN scores before ON before.question_set = 'held_out'
    AND before.image_sha256 = a.image_sha256 AND before.question = a.question
    AND before.role = 'before' AND before.version = ?3
LEFT JOIN scores after ON after.question_set = 'held_out'
    AND after.image_sha256 = a.image_sha256 AND after.question = a.question
    AND after.role = 'after' AND after.version = ?4
WHERE a.shelf = ?1 AND (a.image_sha256, a.number, a.attempt) > (?5, ?6, ?7)
ORDER BY a.image_sha256, a.number, a.attempt LIMIT ?8
"""
REFUSED_ENTRIES = "SELECT path, rejection FROM images WHERE rejection != '' ORDER BY path"


@dataclass(frozen=True, slots=True)
class RoundVersions:
    """Names of the round's base version and of its candidate; "" if there is none yet."""

    base: str
    candidate: str


@dataclass(frozen=True, slots=True)
class Shelved:
    """An entry as a catalogue keeps it. `image`: sha256, or the path of a refused image."""

    image: str
    number: int
    attempt: int
    words: str
    """Texts to search."""
    values: Values
    loss: float | None = None
    """Mean loss of its training sample over the epochs of the last training that had it."""
    logprob: float | None = None
    """Log-probability of the answer of the round's base version."""


def marks(
    ledger: Ledger, versions: RoundVersions, reviews: ReviewBook | None = None
) -> dict[int, str]:
    """A text for each shelf, which differs if the shelf's entries may have changed.

    Only indices are read, so a ledger of a million records takes a second. Losses have none: they
    come together with another candidate.
    """
    parts: dict[int, list[str]] = defaultdict(list)
    counted: list[tuple[str, tuple[str | int, ...]]] = [
        (ANNOTATED, ()),
        (IDENTIFIED, (ledger.round,)),
        (REJECTED, ()),
    ]
    if versions.candidate:
        counted.append((SCORED, (versions.candidate,)))
    if has_opinions(ledger):
        counted.append((SAMPLED, ()))
    for place, (statement, values) in enumerate(counted):
        for shelf, count in ledger.read(statement, *values):
            parts[int(shelf)].append(f"{place}:{count}")
    for shelf, last in reviews.last_by_shelf().items() if reviews else ():
        parts[shelf].append(f"reviews:{last}")
    ((leaks,),) = ledger.read(LEAKS)
    same_for_all = f"{ledger.round} {versions.base} {versions.candidate} {leaks}"
    found = {shelf: f"{same_for_all} {' '.join(counts)}" for shelf, counts in parts.items()}
    ((refused,),) = ledger.read(REFUSED)
    return {**dict(sorted(found.items())), REFUSED_IMAGES: str(refused)}


def read_shelf(
    ledger: Ledger,
    shelf: int,
    versions: RoundVersions,
    is_ending: Callable[[], bool],
    reviews: ReviewBook | None = None,
) -> Iterator[Shelved]:
    """Entries of a shelf. No query is open while the caller uses them.

    Raises Cancelled between two queries if `is_ending`.
    """
    if shelf == REFUSED_IMAGES:
        for path, reason in list(ledger.read(REFUSED_ENTRIES)):
            values = values_of({Facet.REFUSED: str(reason)})
            yield Shelved(str(path), REFUSED_IMAGES, REFUSED_IMAGES, _words(path), values)
        return
    known = (shelf, ledger.round, versions.base, versions.candidate)
    verdicts = count_verdicts(reviews.on_shelf(shelf)) if reviews else {}
    last: tuple[Any, ...] = ("", 0, 0)
    while rows := list(ledger.read(ENTRIES, *known, *last, READ_AT_ONCE)):
        yield from (_shelved(row, verdicts) for row in rows)
        last = rows[-1][:3]
        if is_ending():
            raise Cancelled("the catalogue is not finished: the explorer has been closed")


def _shelved(row: tuple[Any, ...], verdicts: Mapping[Label, Counted]) -> Shelved:
    image, number, attempt, question, answer, reply, rejection, origin, *others = row
    path, held_out, cell, matcher, student_matcher, before, after, judged, *answers = others
    student, teachers, samples, losses, logprob = answers
    loss = None if rejection or not losses else mean_loss(read_losses(losses))
    values = {Facet.ORIGIN: origin, Facet.REJECTED: rejection}
    if question:
        values[Facet.KIND] = question_kind(question)
        verdict = verdicts.get((image, question, answer))
        values[Facet.REVIEWED] = verdict.state if verdict else NOT_REVIEWED
        values[Facet.LOSS] = "" if loss is None else KNOWN
        values[Facet.LOGPROB] = "" if logprob is None else KNOWN
    if path is not None:
        values[Facet.HELD_OUT] = "yes" if held_out else "no"
    if samples:
        values[Facet.SAMPLES] = samples
    if path is not None and not rejection:
        values[Facet.CELL] = cell or UNIDENTIFIED
        if cell:
            values[Facet.MATCHER] = _matchers(matcher, student_matcher)
        if before is not None and after is not None:
            values |= {Facet.RESULT: result_of(before, after), Facet.JUDGED: judged}
    written = (question, answer) if question else (reply,)
    words = _words(*written, student, teachers, path)
    return Shelved(image, number, attempt, words, values_of(values), loss, logprob)


def _matchers(of_teacher: str, of_student: str) -> str:
    is_one = of_student in ("", of_teacher)
    return of_teacher if is_one else f"{of_teacher}, student {of_student}"


def _words(*texts: str | None) -> str:
    return "\n".join(text[:MOST_CHARS] for text in texts if text)
