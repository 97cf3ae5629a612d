"""Equality of two answers: the named, versioned matchers of Eq. 1.

Each record stores the name and version of the matcher that decided it: a changed rule gets a new
version. An empty string matches nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from services.core.metrics import anls, normalize_vqa_answer, rouge_l, squeeze

ANLS_THRESHOLD = 0.5
CAPTION_THRESHOLD = 0.5

_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen twenty".split()
    )
}
_NUMBER = re.compile(
    r"([$€£¥]?)\s*([+-]?)\s*([$€£¥]?)\s*((?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?)\s*(%|percent)?"
)


@dataclass(frozen=True, slots=True)
class Matcher:
    """A rule that compares two answers. `identity` is stored with each record that it decided."""

    name: str
    version: int
    compare: Callable[[str, str], bool]

    @property
    def identity(self) -> str:
        return f"{self.name}@{self.version}"

    def matches(self, prediction: str, reference: str) -> bool:
        """E(X) of Eq. 1, with `reference` for the annotation A."""
        return (
            bool(prediction.strip())
            and bool(reference.strip())
            and self.compare(prediction, reference)
        )


def _exact(prediction: str, reference: str) -> bool:
    left, right = (
        normalize_vqa_answer(text.strip().rstrip(".!")) for text in (prediction, reference)
    )
    return bool(left) and left == right


def _contains(prediction: str, reference: str) -> bool:
    needle = squeeze(reference)
    return bool(needle) and needle in squeeze(prediction)


def parse_number(text: str) -> tuple[float, str] | None:
    """The value of `text` with its unit: "%", a currency sign or "".

    None if it is not one number.
    """
    text = text.strip().lower().rstrip(".")
    text = _NUMBER_WORDS.get(text, text)
    found = _NUMBER.fullmatch(text)
    if not found or not found[4]:
        return None
    before, sign, after, digits, percent = found.groups()
    return float(sign + digits.replace(",", "")), "%" if percent else before or after


def _numeric(prediction: str, reference: str) -> bool:
    left = parse_number(prediction)
    right = parse_number(reference)
    if left is None or right is None:
        return left is None and right is None and _exact(prediction, reference)
    return left == right


def _anls(prediction: str, reference: str) -> bool:
    return anls(prediction, [reference]) >= ANLS_THRESHOLD


def _word(prediction: str, reference: str) -> bool:
    left = _letters(prediction)
    return bool(left) and left == _letters(reference)


def _letters(text: str) -> str:
    """Letters with their marks, and digits, of any script."""
    return "".join(letter for letter in text.casefold() if unicodedata.category(letter)[0] in "LMN")


def _caption(prediction: str, reference: str) -> bool:
    left, right = (normalize_vqa_answer(text) for text in (prediction, reference))
    return rouge_l([left], [[right]]) >= CAPTION_THRESHOLD


MATCHERS: dict[str, Matcher] = {
    matcher.name: matcher
    for matcher in (
        Matcher("exact", 1, _exact),
        Matcher("contains", 1, _contains),
        Matcher("numeric", 1, _numeric),
        Matcher("anls", 1, _anls),
        Matcher("word", 1, _word),
        Matcher("caption", 1, _caption),
    )
}
"""Matchers by name.

    exact      Eq. 1 on normalised text
    contains   the authors' rule, kept for reproduction (it erases signs and decimal points)
    numeric    numbers by value and unit, all other answers like `exact`
    anls       similar spelling suffices
    word       the same letters and digits, in either case (OCR)
    caption    half of the words in the same order (ROUGE-L)
"""
