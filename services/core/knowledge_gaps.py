"""Knowledge gaps of a student: the error categories of Table 8 (paper, Section 4.1.1 vii).

The paper's authors looked at each error themselves. Here a rule decides if the texts alone say
enough. A judge who sees the image decides the rest: the teacher, by JUDGE, or a person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.agreement import NOT_SAMPLED, Agreement
from services.core.metrics import anls, normalize_vqa_answer, yes_or_no

RULES = "rules@1"
"""Version of the rules below, stored with each tag that a rule gave; a change gets a new number."""
MISREAD = 0.5
"""Least ANLS of a text and its misreading; it is the metric's own threshold."""
FEWEST_LETTERS = 4
"""Fewest letters of a misread text: shorter words are similar by chance."""


@dataclass(frozen=True, slots=True)
class Category:
    """A category of errors, with the paper's title. `meaning` completes "the model ...".

    An error that is not `is_gap` is no lack of skill.
    """

    name: str
    title: str
    meaning: str
    is_gap: bool = True


GROUNDING = Category(
    "shallow_grounding",
    "Shallow OCR grounding",
    "read text that is in the image, but not the text that the question points to",
)
OCR = Category(
    "noisy_ocr",
    "Noisy or hallucinated OCR",
    "misread the text, or gave a text that isn't in the image",
)
ENTITY = Category(
    "entity_misalignment",
    "Entity misalignment",
    "gave what the chart says of another entity than the one that is asked about",
)
CONDITION = Category(
    "condition",
    "Conditional/chart understanding errors",
    "failed at a condition, comparison or computation, such as the smallest difference",
)
TREND = Category(
    "trend", "Trend misinterpretation", "misread how values change: their direction or their slope"
)
KNOWLEDGE = Category(
    "no_knowledge",
    "Lack of internal knowledge grounding",
    "gave no answer, or lacks the knowledge of the world that it takes",
)
GUESSWORK = Category(
    "guesswork",
    "Visual guesswork",
    "guessed from vague visual cues instead of what is clearly seen",
)
VERBOSE = Category(
    "verbose",
    "Correct but Verbose",
    "is right, in more words than the right answer has",
    is_gap=False,
)
NOISY = Category(
    "noisy",
    "Noisy/Task-Irrelevant samples",
    "can't be blamed: the question or the right answer is wrong, or doesn't fit the task",
    is_gap=False,
)

_READING = (GROUNDING, OCR, VERBOSE, NOISY)
_SEEING = (KNOWLEDGE, GUESSWORK, VERBOSE, NOISY)
CATEGORIES: dict[str, tuple[Category, ...]] = {
    "textvqa": _READING,
    "stvqa": _READING,
    "ocr": _READING,
    "chartqa": (ENTITY, CONDITION, TREND, VERBOSE, NOISY),
    "okvqa": _SEEING,
    "vqa": _SEEING,
    "pathvqa": _SEEING,
}
"""Categories by the name of a task.

The paper has textvqa, stvqa, chartqa and okvqa; the others take the categories of the nearest one.
"""

JUDGE = """\
A model was asked about this image, and its answer was counted as wrong. \
Say what kind of mistake it is.
Asked: {question}
Right answer: {reference}
The model's answer: {prediction}

The model
{categories}

Reply with one letter."""
"""Prompt of the teacher as judge. The wording is this project's own: the paper asked people."""

_LETTERS = "ABCDEFGHI"
_NO_ANSWER = re.compile(
    r"(i (do not|don'?t|can ?not|can'?t) (know|tell|say|see)|unknown|unanswerable|unsure|not sure"
    r"|n/?a)\b.*"
)
_UNSETTLING = frozenset("no not never without or maybe probably possibly perhaps either".split())
_CHANGING = re.compile(
    r"\b(increas|decreas|declin|ris(e|es|ing)\b|rose\b|fall(s|ing)?\b|fell\b|grow(s|ing|n)?\b"
    r"|grew\b|drop|trend|upward|downward)"
)
_DIRECTIONS = frozenset(
    "up down increase increasing increased decrease decreasing decreased rising falling "
    "upward downward".split()
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """An answer that PI counted as wrong.

    `samples`: the teacher's sampled opinions on the annotation.
    """

    question: str
    reference: str
    prediction: str
    samples: Agreement = NOT_SAMPLED


def by_rule(mistake: Mistake, categories: Sequence[Category]) -> Category | None:
    """The first of `categories` whose rule holds; None if the texts don't decide.

    NOISY     the teacher's own samples contradict the annotation
    VERBOSE   the right answer word for word, and other words that don't contradict it
    KNOWLEDGE no answer, or one such as "I don't know"
    TREND     a question about a change whose right answer is yes, no or a direction
    OCR       nearly the right text, letter by letter
    """
    rules = (
        (NOISY, mistake.samples.is_outvoted),
        (VERBOSE, _is_verbose(mistake)),
        (KNOWLEDGE, _is_no_answer(mistake.prediction)),
        (TREND, _is_about_change(mistake)),
        (OCR, _is_misread(mistake)),
    )
    return next((category for category, holds in rules if holds and category in categories), None)


def _is_verbose(mistake: Mistake) -> bool:
    reference, prediction = (
        normalize_vqa_answer(text).split() for text in (mistake.reference, mistake.prediction)
    )
    if not reference or len(prediction) <= len(reference):
        return False
    at = next(
        (n for n in range(len(prediction)) if prediction[n : n + len(reference)] == reference), None
    )
    if at is None:
        return False
    around = prediction[:at] + prediction[at + len(reference) :]
    return not any(
        word in _UNSETTLING or any(letter.isdigit() for letter in word) for word in around
    )


def _is_no_answer(prediction: str) -> bool:
    return not prediction.strip() or bool(
        _NO_ANSWER.fullmatch(prediction.strip().lower().rstrip("."))
    )


def _is_about_change(mistake: Mistake) -> bool:
    if not _CHANGING.search(mistake.question.lower()):
        return False
    reference = normalize_vqa_answer(mistake.reference)
    return bool(yes_or_no(reference)) or reference in _DIRECTIONS


def _is_misread(mistake: Mistake) -> bool:
    letters = sum(letter.isalpha() for letter in mistake.reference)
    return (
        letters >= FEWEST_LETTERS and MISREAD <= anls(mistake.prediction, [mistake.reference]) < 1.0
    )


def judge_prompt(mistake: Mistake, categories: Sequence[Category]) -> str:
    """JUDGE, filled in except for "{question}", which the request to the teacher fills in.

    The braces of a "{question}" inside the answers are set apart, so that only one is filled in.
    """
    listed = "\n".join(
        f"{letter}. {category.meaning}"
        for letter, category in zip(_LETTERS, categories, strict=False)
    )
    filled = {
        "reference": mistake.reference,
        "prediction": mistake.prediction or "(none)",
        "categories": listed,
    }
    texts = {name: text.replace("{question}", "{ question }") for name, text in filled.items()}
    return re.sub(r"\{(reference|prediction|categories)\}", lambda found: texts[found[1]], JUDGE)


def read_verdict(reply: str, categories: Sequence[Category]) -> Category | None:
    """The category that a judge's reply names, by letter or title; None for none or several."""
    text = reply.strip()
    letter = re.match(r"\W*([A-I])(?:\W*$|[.):])", text)
    if letter and _LETTERS.index(letter[1]) < len(categories):
        return categories[_LETTERS.index(letter[1])]
    named = [category for category in categories if category.title.lower() in text.lower()]
    return named[0] if len(named) == 1 else None
