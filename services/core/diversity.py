"""Different questions: near-duplicates about one image are collapsed, and no kind of question takes more than its share."""

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
"""The reasons of `collapse`: they depend on the image's other questions, and on nothing else."""

TOLD = "These questions were asked about this image before. Ask about something else.\n"
FEWEST_SHARED = 3
"""Words that two questions share at least where one of them may have one more."""
ROUNDING = 1e-9

_IN_THE_IMAGE = re.compile(
    r"\b(?:shown |seen |visible )?in (?:the|this) (?:image|picture|photo|photograph|scene|chart|graph)\b"
)
_EMPTY = frozenset(
    "a an the this that these those is are was were be being do does did what which of s".split()
)
"""Words that two wordings of one question may differ in. Prepositions aren't among them: on the table, under the table."""
_TELLING = frozenset("no not never without".split())


@dataclass(frozen=True, slots=True)
class Collapsed:
    """Why a question is left out, and the index of the one that stays in its stead."""

    reason: Rejection
    kept: int


def told(prompt: str, asked: Sequence[str]) -> str:
    """The annotation prompt for a further question about an image; the first one's is `prompt` as it is.

    What was asked comes first, so that the prompt still ends in the form of the reply.
    """
    if not asked:
        return prompt
    return TOLD + "".join(f"- {question}\n" for question in asked) + f"\n{prompt}"


def focused(prompt: str, kind: str) -> str:
    """The annotation prompt for a question of `kind` (`question_kind`); "" leaves the kind to the teacher."""
    if not kind:
        return prompt
    how = "is answered by yes or no" if kind == "yes/no" else f'begins with "{kind}"'
    return f"Ask a question that {how}.\n\n{prompt}"


def allotted(counts: Mapping[str, int], lot: float) -> str:
    """A kind, each for a share of the lots in [0, 1) that is its share of `counts`; "" where nothing is counted."""
    kinds = sorted(counts)
    upto = list(accumulate(counts[kind] for kind in kinds))
    return kinds[bisect_right(upto, lot * upto[-1])] if upto else ""


def is_near_duplicate(one: str, other: str) -> bool:
    """The same words in the same order, or all but one, whatever articles, plurals and "in the image" do.

    Of a number or a negation each word counts, and a yes/no question is no other one: "is the car red?", "which car is red?".
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
    """What becomes of each question about one image, in the order they were asked for: None stays.

    The same question twice is always collapsed, with `near` another wording of it, too; with `max_per_kind` an image keeps
    that many of a kind.
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
    """The first of each kind, so many that no kind has more than `max_share` of the result (one of each stays at least)."""
    if max_share >= 1.0:
        return list(items)
    sizes = Counter(map(kind, items))
    return list(_first_of_kinds(items, kind, _largest_quota(sizes.values(), max_share)))


def draw(items: Iterable[T], kind: Callable[[T], str], count: int, max_share: float) -> list[T]:
    """The first `count`, a kind taking at most `max_share` of them; fewer where the other kinds have no more."""
    quota = max(1, int(max_share * count + ROUNDING)) if max_share < 1.0 else count
    return list(islice(_first_of_kinds(items, kind, quota), count))


def _largest_quota(sizes: Iterable[int], max_share: float) -> int:
    """The largest number c of each kind with c <= max_share * the number that are left: the more a quota, the less it fits."""
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
