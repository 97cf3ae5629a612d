"""Scores of one answer against its references, 0 to 1, equal to the benchmarks' own code.

Each raises InvalidInput without references: the question can't be scored, and a 0 would hide that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from services.core.errors import InvalidInput
from services.core.metrics.normalization import normalize_vqa_answer, squeeze, without_punctuation

AnswerMetric = Callable[[str, Sequence[str]], float]

_RELATIVE_TOLERANCE = 0.05
_LEAST_SIMILARITY = 0.5
_NO_LETTER = re.compile("[^a-z0-9^\u4e00-\u9fa5]")  # the second "^" is a slip of the reference


def _require(references: Sequence[str]) -> None:
    if not references:
        raise InvalidInput(
            "there are no reference answers to score against: give at least one", field="references"
        )


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """TextVQA, OKVQA: mean over annotators of min(1, agreeing other annotators / 3), normalised.

    With a single reference there are no other annotators: 1 if it agrees, else 0.
    """
    _require(references)
    given = normalize_vqa_answer(prediction)
    agreeing = [normalize_vqa_answer(reference) == given for reference in references]
    if len(agreeing) < 2:
        return float(any(agreeing))
    matches = sum(agreeing)
    return sum(min(1.0, (matches - agrees) / 3) for agrees in agreeing) / len(agreeing)


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals one of the references."""
    _require(references)
    return float(prediction in references)


def _relaxed_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_accuracy(prediction: str, references: Sequence[str]) -> float:
    """ChartQA: numbers within 5 % of the reference, inclusive; texts equal, ignoring case."""
    _require(references)

    def correct(reference: str) -> bool:
        given = _relaxed_number(prediction)
        wanted = _relaxed_number(reference)
        if given is not None and wanted:
            return abs(given - wanted) / abs(wanted) <= _RELATIVE_TOLERANCE
        return prediction.lower() == reference.lower()

    return float(any(map(correct, references)))


def chartqapro_accuracy(
    prediction: str, references: Sequence[str], *, is_year: bool = False
) -> float:
    """ChartQAPro: relaxed accuracy, with lists such as "[a, b]" compared element by element.

    Text scores its ANLS above .5; a year (`is_year`) must be equal.
    """
    _require(references)

    def correct(given: str, wanted: str) -> float:
        if is_year:
            return float(given.strip().lower() == wanted.strip().lower())
        given = given.strip().strip("%").strip()
        wanted = wanted.strip().strip("%").strip()
        value = _relaxed_number(given)
        target = _relaxed_number(wanted)
        if value is None or target is None:
            similarity = anls(given, [wanted])
            return similarity if similarity > _LEAST_SIMILARITY else 0.0
        if not target:
            return float(value == target)
        return float(abs(value - target) / abs(target) <= _RELATIVE_TOLERANCE)

    def mean(reference: str) -> float:
        given = _elements(prediction)
        wanted = _elements(reference)
        return sum(map(correct, given, wanted)) / max(len(given), len(wanted))

    return max(map(mean, references))


def _elements(text: str) -> list[str]:
    text = text.strip()
    is_list = text.startswith("[") and text.endswith("]")
    return [element.strip(" '\"") for element in text[1:-1].split(",")] if is_list else [text]


def _levenshtein(left: str, right: str) -> int:
    above = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
        above = row
    return above[-1]


def anls(prediction: str, references: Sequence[str]) -> float:
    """ST-VQA: the best 1 - Levenshtein distance / longer length; below .5 counts as 0."""
    _require(references)

    def similarity(reference: str) -> float:
        left, right = (" ".join(text.lower().split()) for text in (prediction, reference))
        return 1 - _levenshtein(left, right) / (max(len(left), len(right)) or 1)

    best = max(map(similarity, references))
    return best if best >= _LEAST_SIMILARITY else 0.0


def word_recognition(prediction: str, references: Sequence[str]) -> float:
    """ICDAR 2015 (WRR): equal ASCII letters (ignoring case), digits and CJK characters."""
    _require(references)
    return float(_letters(prediction) in map(_letters, references))


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", text.lower())


def ignore_case_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals one of the references, ignoring case."""
    _require(references)
    return float(prediction.lower() in [reference.lower() for reference in references])


def yes_or_no(text: str) -> str:
    """The whole word "yes" or "no" in `text`; "" (unknown) for neither or both."""
    found = {"yes", "no"}.intersection(without_punctuation(text.lower()).split())
    return found.pop() if len(found) == 1 else ""


def yes_no_accuracy(prediction: str, references: Sequence[str]) -> float:
    """PathVQA's yes/no questions: an answer with neither or both is wrong."""
    _require(references)
    said = yes_or_no(prediction)
    return float(bool(said) and said in map(yes_or_no, references))


def contains_accuracy(prediction: str, references: Sequence[str]) -> float:
    """The authors' released score: the prediction contains the most common reference.

    White space and marks are deleted from both.
    """
    _require(references)
    wanted = max(references, key=list(references).count)
    return float(squeeze(wanted) in squeeze(prediction))
