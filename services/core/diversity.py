"""Diversity of questions: near-duplicates are collapsed, and each kind has a largest share."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TypeVar

from services.core.annotation import Rejection, question_key
from services.core.questions import question_kind

T = TypeVar("T")

COLLAPSED = frozenset({Rejection.DUPLICATE, Rejection.NEAR_DUPLICATE, Rejection.KIND_FULL})
"""The reasons of `collapse`. They depend only on the other questions about the image."""

TOLD = "These questions were asked about this image before. Ask about something else.\n"
FEWEST_SHARED = 3
"""Fewest shared words of two near-duplicates of which one has an extra word."""
ROUNDING = 1e-9

_IN_THE_IMAGE = re.compile(
    r"\b(?:shown |seen |visible )?in (?:the|this) "
    r"(?:image|picture|photo|photograph|scene|chart|graph)\b"
)
_EMPTY = frozenset(
    "a an the this that these those is are was were be being do does did what which of s".split()
)
"""Words in which two wordings of one question may differ.

Prepositions are not among them: on the table, under the table.
"""
_TELLING = frozenset("no not never without".split())


@dataclass(frozen=True, slots=True)
class Collapsed:
    """The reason why a question is left out, and the index of the question kept instead."""

    reason: Rejection
    kept: int


def told(prompt: str, asked: Sequence[str]) -> str:
    """The annotation prompt for another question about an image; `prompt` itself for the first.

    Earlier questions come first, so that the prompt still ends with the form of the reply.
    """
    if not asked:
        return prompt
    return TOLD + "".join(f"- {question}\n" for question in asked) + f"\n{prompt}"


def focused(prompt: str, kind: str) -> str:
    """The annotation prompt for a question of `kind`; "" leaves the kind to the teacher."""
    if not kind:
        return prompt
    how = "is answered by yes or no" if kind == "yes/no" else f'begins with "{kind}"'
    return f"Ask a question that {how}.\n\n{prompt}"


def allotted(counts: Mapping[str, int], lot: float) -> str:
    """The kind that a lot in [0, 1) falls on, each as likely as its share of `counts`.

    "" if nothing is counted.
    """
    kinds = sorted(counts)
    upto = list(accumulate(counts[kind] for kind in kinds))
    return kinds[bisect_right(upto, lot * upto[-1])] if upto else ""


def is_near_duplicate(one: str, other: str) -> bool:
    """Have both questions the same words in the same order, apart from one word at most?

    Articles, plurals and "in the image" are ignored. The extra word must not be a number or a
    negation. A yes/no question differs from all others: "is the car red?", "which car is red?".
    """
    if (question_kind(one) == "yes/no") != (question_kind(other) == "yes/no"):
        return False
    short, long = sorted((_words(one), _words(other)), key=len)
    if short == long:
        return bool(short) or question_key(one) == question_key(other)
    if len(long) - len(short) != 1 or len(short) < FEWEST_SHARED:
        return False
    extra = next(at for at, word in enumerate([*short, ""]) if word != long[at])
    return long[:extra] + long[extra + 1 :] == short and not _is_telling(long[extra])


def _words(question: str) -> list[str]:
    key = _IN_THE_IMAGE.sub(" ", question_key(question))
    return [_singular(word) for word in key.split() if word not in _EMPTY]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _is_telling(word: str) -> bool:
    return word in _TELLING or any(letter.isdigit() for letter in word)


def collapse(
    questions: Sequence[str], *, near: bool = False, max_per_kind: int = 0
) -> list[Collapsed | None]:
    """The outcome for each question about one image, in the order of asking: None stays.

    A repeated question is always collapsed, with `near` also another wording of it. An image keeps
    `max_per_kind` questions of each kind; 0: all.
    """
    kept: list[int] = []
    outcomes: list[Collapsed | None] = []
    for at in range(len(questions)):
        outcome = _clash(questions, at, kept, near=near, max_per_kind=max_per_kind)
        outcomes.append(outcome)
        if outcome is None:
            kept.append(at)
    return outcomes


def _clash(
    questions: Sequence[str], at: int, kept: Sequence[int], *, near: bool, max_per_kind: int
) -> Collapsed | None:
    question = questions[at]
    for other in kept:
        if question_key(questions[other]) == question_key(question):
            return Collapsed(Rejection.DUPLICATE, other)
    for other in kept if near else ():
        if is_near_duplicate(questions[other], question):
            return Collapsed(Rejection.NEAR_DUPLICATE, other)
    of_kind = [
        other for other in kept if question_kind(questions[other]) == question_kind(question)
    ]
    return Collapsed(Rejection.KIND_FULL, of_kind[0]) if 0 < max_per_kind <= len(of_kind) else None


def balanced(items: Sequence[T], kind: Callable[[T], str], max_share: float) -> list[T]:
    """The first items of each kind, so that no kind exceeds `max_share` of the result.

    At least one item of each kind stays.
    """
    if max_share >= 1.0:
        return list(items)
    sizes = Counter(map(kind, items))
    return list(_first_of_kinds(items, kind, _largest_quota(sizes.values(), max_share)))


def draw(items: Iterable[T], kind: Callable[[T], str], count: int, max_share: float) -> list[T]:
    """The first `count` items, at most `max_share` of one kind; fewer if other kinds run out."""
    quota = max(1, int(max_share * count + ROUNDING)) if max_share < 1.0 else count
    return list(islice(_first_of_kinds(items, kind, quota), count))


def _largest_quota(sizes: Iterable[int], max_share: float) -> int:
    """The largest quota of items per kind that stays within `max_share` of the items left.

    A larger quota never fits if a smaller one doesn't, so bisection finds it.
    """
    counts = list(sizes)

    def is_exceeded(quota: int) -> bool:
        return quota > max_share * sum(min(size, quota) for size in counts) + ROUNDING

    return max(1, bisect_right(range(1, max(counts, default=0) + 1), False, key=is_exceeded))


def _first_of_kinds(items: Iterable[T], kind: Callable[[T], str], quota: int) -> Iterator[T]:
    taken: Counter[str] = Counter()
    for item in items:
        of = kind(item)
        if taken[of] < quota:
            taken[of] += 1
            yield item
