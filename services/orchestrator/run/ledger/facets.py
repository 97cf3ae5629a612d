"""Facets of a run's entries, and a choice among them: what the explorer counts and searches."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

UNIDENTIFIED = "unidentified"
"""Cell of an annotation that stands but was not identified yet."""
RARE = "(rare)"
"""Kind of the questions whose own kind came after MOST_KINDS others."""
MOST_KINDS = 1000
NOT_REVIEWED = "no"
"""Value of an annotation that nobody has reviewed."""
NEVER_SAMPLED = "none"
"""Agreement of samples that no entry has: "" stands for every entry without samples."""

KNOWN = "known"


class Facet(StrEnum):
    """A property of an entry with few values. An entry without a value has "" there."""

    CELL = "cell"
    KIND = "kind"
    """Kind of the question (core/questions.py)."""
    REJECTED = "rejected"
    """Reason why the annotation was rejected."""
    REFUSED = "refused"
    """Reason why the image was refused."""
    HELD_OUT = "held_out"
    """"yes" or "no"."""
    ORIGIN = "origin"
    MATCHER = "matcher"
    RESULT = "result"
    """Result of the evaluation: a member of Result."""
    JUDGED = "judged"
    """Kind under which the question was evaluated: small kinds are judged together."""
    SAMPLES = "samples"
    """Agreement of the teachers' samples, such as "3/4"."""
    REVIEWED = "reviewed"
    """People's verdict: a member of ReviewState (core/reviews.py), or NOT_REVIEWED."""
    LOSS = "loss"
    """KNOWN if the loss of its sample in a training is."""
    LOGPROB = "logprob"
    """KNOWN if the log-probability of the student's answer is."""


class Result(StrEnum):
    """An evaluated question: was the base version right, and the candidate?"""

    FIXED = "fixed"
    BROKEN = "broken"
    STILL_RIGHT = "still_right"
    STILL_WRONG = "still_wrong"


class Order(StrEnum):
    """Order of entries."""

    READ = "read"
    """The order in which their images came."""
    NEWEST = "newest"
    AGREEMENT = "agreement"
    """Least agreement of samples first; only sampled entries."""
    LOSS = "loss"
    """Highest loss in the training first; only samples of a training whose losses were kept."""
    UNSURE = "unsure"
    """Lowest log-probability of the student's answer first; only where it is known."""
    SURE = "sure"
    """The same, highest first."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """An order by a figure of the entries; equal ones by their ids, in the same direction."""

    column: str
    """A column of the catalogue's entries, which has an index by combination."""
    facet: Facet
    """A facet that is KNOWN for entries with the figure."""
    is_falling: bool

    @property
    def reverse(self) -> Ranking:
        return replace(self, is_falling=not self.is_falling)


RANKINGS = {
    Order.LOSS: Ranking("loss", Facet.LOSS, is_falling=True),
    Order.UNSURE: Ranking("logprob", Facet.LOGPROB, is_falling=False),
    Order.SURE: Ranking("logprob", Facet.LOGPROB, is_falling=True),
}

Values = tuple[str, ...]
"""The values of all facets, in the order of `Facet`."""

_WORDS = re.compile(r'"([^"]*)"|([^"\s]+)')
_LETTER = re.compile(r"[^\W_]")


def values_of(known: Mapping[Facet, str]) -> Values:
    return tuple(known.get(facet, "") for facet in Facet)


def result_of(before: float, after: float) -> Result:
    """A score of .5 or more is right (core/evaluation.py)."""
    if before >= 0.5:
        return Result.STILL_RIGHT if after >= 0.5 else Result.BROKEN
    return Result.FIXED if after >= 0.5 else Result.STILL_WRONG


@dataclass(frozen=True, slots=True)
class EntryChoice:
    """Entries that have one of the values of each facet in `values`, and all words of `text`.

    Words in double quotes stand in this order.
    """

    values: Mapping[Facet, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""

    @property
    def phrases(self) -> list[str]:
        """Words and quoted phrases that can be searched for; NUL would end an expression."""
        found = [quoted or word for quoted, word in _WORDS.findall(self.text.replace("\0", " "))]
        return [phrase for phrase in found if _LETTER.search(phrase)]


EVERYTHING = EntryChoice()
