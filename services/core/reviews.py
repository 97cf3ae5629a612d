"""Reviews: people's verdicts on annotations, and the one that counts for each annotation.

A reviewer's later verdict on an annotation replaces his earlier one. Of several reviewers, the
verdict of more than half counts.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.core.errors import InvalidInput

MOST_CHARS = 1000
"""Longest corrected answer, in characters."""
MOST_CHARS_OF_A_NAME = 60


class ReviewVerdict(StrEnum):
    """A reviewer's verdict on an annotation."""

    ACCEPT = "accept"
    """The annotation's answer is right."""
    CORRECT = "correct"
    """Another answer is right, and the reviewer gives it."""
    REJECT = "reject"
    """The question can't be used: no answer is right, or it doesn't fit the task."""
    SKIP = "skip"
    """No opinion; it takes the reviewer's earlier verdict back."""


class ReviewState(StrEnum):
    """The verdict that counts for an annotation."""

    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    """Everybody who saw it skipped it: it counts as not reviewed."""
    DISPUTED = "disputed"
    """No verdict has more than half of the reviewers."""


LEFT_OUT = frozenset({ReviewState.REJECTED, ReviewState.DISPUTED})
"""Records of these states are no labels."""

_STATES = {
    ReviewVerdict.ACCEPT: ReviewState.ACCEPTED,
    ReviewVerdict.CORRECT: ReviewState.CORRECTED,
    ReviewVerdict.REJECT: ReviewState.REJECTED,
}

_SHAPELESS = ("Cc", "Cf", "Cs")
"""Categories of control characters, of format characters such as zero-width ones, of half pairs."""
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and signs that are drawn as nothing: fillers of Hangul, the empty cell of Braille."""


@dataclass(frozen=True, slots=True)
class Review:
    """One verdict of one reviewer. `correction`: the right answer of a CORRECT, else "".

    `at`: seconds since 1970.
    """

    reviewer: str
    verdict: ReviewVerdict
    correction: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Counted:
    """The verdict that counts. `correction`: the right answer if it is CORRECTED, else ""."""

    state: ReviewState
    correction: str = ""


def checked_review(
    reviewer: str, verdict: str, correction: str = "", annotation: str = "", at: float = 0.0
) -> Review:
    """A review from what a person has written. Raises InvalidInput that names the field."""
    name = unicodedata.normalize("NFC", " ".join(reviewer.split()))
    if len(name) > MOST_CHARS_OF_A_NAME or not name.isprintable() or not can_be_seen(name):
        raise InvalidInput(
            f"the reviewer's name {name[:MOST_CHARS_OF_A_NAME]!r} can't be used: give 1 to "
            f"{MOST_CHARS_OF_A_NAME} characters",
            field="reviewer",
        )
    if verdict not in list(ReviewVerdict):
        raise InvalidInput(
            f"there is no verdict {verdict[:50]!r}: choose one of {', '.join(ReviewVerdict)}",
            field="verdict",
        )
    if verdict != ReviewVerdict.CORRECT:
        return Review(name, ReviewVerdict(verdict), at=at)
    answer = " ".join(correction.split())
    if not answer or len(answer) > MOST_CHARS or any(map(_is_control, answer)):
        raise InvalidInput(
            f"the corrected answer has {len(answer):,} characters: give 1 to {MOST_CHARS:,}, "
            "without control characters",
            field="correction",
        )
    if not can_be_seen(answer):
        raise InvalidInput(
            "the corrected answer consists of characters that can't be seen: write the right "
            "answer, or reject the question",
            field="correction",
        )
    if answer == annotation:
        return Review(name, ReviewVerdict.ACCEPT, at=at)
    return Review(name, ReviewVerdict.CORRECT, answer, at)


def can_be_seen(text: str) -> bool:
    """Whether a character of the text has a shape of its own: spaces and marks have none."""
    return any(
        unicodedata.category(each)[0] not in "ZM"
        and unicodedata.category(each) not in _SHAPELESS
        and each not in _BLANK
        for each in text
    )


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def latest(reviews: Iterable[Review]) -> dict[str, Review]:
    """The last review of each reviewer. `reviews`: those of one annotation, in their order."""
    return {review.reviewer: review for review in reviews}


def opinion(review: Review) -> str:
    """A text that is equal for reviews that agree: corrections may differ in case."""
    return f"{review.verdict} {review.correction.casefold()}".rstrip()


def counted(reviews: Iterable[Review]) -> Counted | None:
    """The verdict that counts for an annotation; None if nobody has reviewed it.

    `reviews`: in their order. Corrections are equal if they differ in case alone.
    """
    last = list(latest(reviews).values())
    if not last:
        return None
    voting = [review for review in last if review.verdict is not ReviewVerdict.SKIP]
    if not voting:
        return Counted(ReviewState.SKIPPED)
    return _majority(voting)


def _majority(voting: Sequence[Review]) -> Counted:
    votes = Counter(map(opinion, voting))
    said, most = votes.most_common(1)[0]
    if 2 * most <= len(voting):
        return Counted(ReviewState.DISPUTED)
    first = next(review for review in voting if opinion(review) == said)
    return Counted(_STATES[first.verdict], first.correction)
