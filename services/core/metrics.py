"""Scores of one prediction against its references, 0 to 1, as the benchmarks' own implementations give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DOT_BEFORE_NO_DIGIT = re.compile(r"\.(?!\d)")
_MAX_DOTS = 32  # the reference passes re.UNICODE (32) where re.sub takes its count
_ARTICLES = {"a", "an", "the"}
_DIGITS = {word: str(value) for value, word in enumerate("zero one two three four five six seven eight nine ten".split())}
_DIGITS["none"] = "0"
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
    how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
    oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've
    who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've
    you'd you'd've you'll you're you've
""".split()
"""The words of the VQA evaluation's contraction table; its entries with capitals can't match and are left out."""


def _spellings(word: str) -> set[str]:
    """The ways of writing a contraction with one of its apostrophes missing."""
    return {word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"}


_CONTRACTIONS = {spelling: word for word in _CONTRACTED for spelling in _spellings(word)}


def normalize_vqa_answer(answer: str) -> str:
    """The answer as the VQA challenge's evaluation (EvalAI) compares it: the order of the steps matters."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    seen = text
    for mark in _PUNCTUATION:
        text = text.replace(mark, "" if f"{mark} " in seen or f" {mark}" in seen else " ")
    text = _DOT_BEFORE_NO_DIGIT.sub("", text, count=_MAX_DOTS)
    words = (_DIGITS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """Mean over the annotators of min(1, agreeing other annotators / 3), on normalised answers.

    With a single reference there are no other annotators: 1 if it agrees, else 0.
    """
    given = normalize_vqa_answer(prediction)
    agreeing = [normalize_vqa_answer(reference) == given for reference in references]
    if len(agreeing) < 2:
        return float(any(agreeing))
    matches = sum(agreeing)
    return sum(min(1.0, (matches - agrees) / 3) for agrees in agreeing) / len(agreeing)


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals one of the references, as they are."""
    return float(prediction in references)


def _relaxed_number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def relaxed_accuracy(prediction: str, references: Sequence[str]) -> float:
    """ChartQA: numbers within 5 % of the reference, inclusive; anything else equal but for case."""

    def correct(reference: str) -> bool:
        given, wanted = _relaxed_number(prediction), _relaxed_number(reference)
        if given is not None and wanted:
            return abs(given - wanted) / abs(wanted) <= 0.05
        return prediction.lower() == reference.lower()

    return float(any(correct(reference) for reference in references))


def _levenshtein(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def anls(prediction: str, references: Sequence[str]) -> float:
    """ST-VQA: the best 1 - Levenshtein / longer length; below .5 counts as 0."""

    def similarity(reference: str) -> float:
        left, right = (" ".join(text.lower().split()) for text in (prediction, reference))
        return 1 - _levenshtein(left, right) / (max(len(left), len(right)) or 1)

    best = max(map(similarity, references), default=0.0)
    return best if best >= 0.5 else 0.0


def contains_accuracy(prediction: str, references: Sequence[str]) -> float:
    """The authors' released score: the most common reference occurs in the prediction, white space and marks deleted."""
    if not references:
        return 0.0
    wanted = max(references, key=list(references).count)
    return float(squeeze(wanted) in squeeze(prediction))


def squeeze(text: str) -> str:
    """Lower case without white space and non-word characters (the authors' preprocessing)."""
    return re.sub(r"\W", "", text.lower())


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    metric.__name__: metric for metric in (vqa_accuracy, exact_match, relaxed_accuracy, anls, contains_accuracy)
}
