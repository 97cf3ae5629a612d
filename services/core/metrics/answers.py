"""Scores of one answer against its references, 0 to 1, as the benchmarks' own implementations give them.

Each raises InvalidInput where there are no references: such a question can't be scored, and a 0 would hide it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from services.core.errors import InvalidInput
from services.core.metrics.normalization import normalize_vqa_answer, squeeze, without_punctuation

AnswerMetric = Callable[[str, Sequence[str]], float]

_RELATIVE_TOLERANCE = 0.05
_LEAST_SIMILARITY = 0.5
_NO_LETTER = re.compile(
    "[^a-z0-9^\u4e00-\u9fa5]"
)  # "^" is in the reference's class by a slip, and so it stays


def _require(references: Sequence[str]) -> None:
    if not references:
        raise InvalidInput(
            "there are no reference answers to score against: give at least one", field="references"
        )


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """TextVQA, OKVQA: mean over the annotators of min(1, agreeing other annotators / 3), on normalised answers.

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
    """1 if the prediction equals one of the references, as they are."""
    _require(references)
    return float(prediction in references)


def _relaxed_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_accuracy(prediction: str, references: Sequence[str]) -> float:
    """ChartQA: numbers within 5 % of the reference, inclusive; anything else equal but for case."""
    _require(references)

    def correct(reference: str) -> bool:
        given, wanted = _relaxed_number(prediction), _relaxed_number(reference)
        if given is not None and wanted:
            return abs(given - wanted) / abs(wanted) <= _RELATIVE_TOLERANCE
        return prediction.lower() == reference.lower()

    return float(any(map(correct, references)))


def chartqapro_accuracy(
    prediction: str, references: Sequence[str], *, is_year: bool = False
) -> float:
    """ChartQAPro's variant: "[a, b]" compares element by element, text by ANLS above .5, and a year (`is_year`) exactly."""
    _require(references)

    def correct(given: str, wanted: str) -> float:
        given, wanted = given.strip(), wanted.strip()
        if is_year:
            return float(given.lower() == wanted.lower())
        given, wanted = given.strip("%").strip(), wanted.strip("%").strip()
        numbers = _relaxed_number(given), _relaxed_number(wanted)
        if numbers[0] is None or numbers[1] is None:
            similarity = anls(given, [wanted])
            return similarity if similarity > _LEAST_SIMILARITY else 0.0
        if not numbers[1]:
            return float(numbers[0] == numbers[1])
        return float(abs(numbers[0] - numbers[1]) / abs(numbers[1]) <= _RELATIVE_TOLERANCE)

    def mean(reference: str) -> float:
        given, wanted = _elements(prediction), _elements(reference)
        return sum(map(correct, given, wanted)) / max(len(given), len(wanted))

    return max(map(mean, references))


def _elements(text: str) -> list[str]:
    text = text.strip()
    is_list = text.startswith("[") and text.endswith("]")
    return [element.strip(" '\"") for element in text[1:-1].split(",")] if is_list else [text]


def _levenshtein(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def anls(prediction: str, references: Sequence[str]) -> float:
    """ST-VQA: the best 1 - Levenshtein / longer length; below .5 counts as 0."""
    _require(references)

    def similarity(reference: str) -> float:
        left, right = (" ".join(text.lower().split()) for text in (prediction, reference))
        return 1 - _levenshtein(left, right) / (max(len(left), len(right)) or 1)

    best = max(map(similarity, references))
    return best if best >= _LEAST_SIMILARITY else 0.0


def word_recognition(prediction: str, references: Sequence[str]) -> float:
    """ICDAR 2015 (WRR): equal once lower-cased and stripped of all but ASCII letters, digits and CJK characters."""
    _require(references)
    return float(_letters(prediction) in map(_letters, references))


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", text.lower())


def ignore_case_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals one of the references but for case."""
    _require(references)
    return float(prediction.lower() in [reference.lower() for reference in references])


def yes_or_no(text: str) -> str:
    """The whole word "yes" or "no" in `text`; "" (unknown) where there is neither, or both."""
    found = {"yes", "no"}.intersection(without_punctuation(text.lower()).split())
    return found.pop() if len(found) == 1 else ""


def yes_no_accuracy(prediction: str, references: Sequence[str]) -> float:
    """PathVQA's yes/no questions: what says neither, or both, is wrong."""
    _require(references)
    said = yes_or_no(prediction)
    return float(bool(said) and said in map(yes_or_no, references))


def contains_accuracy(prediction: str, references: Sequence[str]) -> float:
    """The authors' released score: the most common reference occurs in the prediction, white space and marks deleted."""
    _require(references)
    wanted = max(references, key=list(references).count)
    return float(squeeze(wanted) in squeeze(prediction))
