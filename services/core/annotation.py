"""Pseudo Annotator (paper, Section 3.1, Algorithm 2).

It turns the teacher's reply into a question and an answer, or into the reason why there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from services.core.metrics import normalize_vqa_answer
from services.core.tasks import Task

READER = "annotation@1"
"""Version of the rules that read replies: caches store replies as they were read.

A change of the rules below or of a task's limits gets a new number.
"""
MAX_QUESTION_CHARS = 300
ANNOTATION_PATTERN = r"Question: [^\n]{3,300}\nAnswer: [^\n]{1,80}"
"""The only replies that guided decoding allows a teacher.

It is the scaffold of Appendix D, with one line for the question and one for the answer.
"""
_LETTERS_A_WORD = 10

_MARKUP = re.compile(r"[*_`#>]+|^\s*(?:[-•]|\d+[.)])\s+", re.MULTILINE)
_PAIR = re.compile(
    r"\bquestion\s*\d*\s*[:：]\s*(?P<question>.+?)[\s,;.]*\banswer\s*\d*\s*[:：]\s*(?P<answer>.*?)"
    r"(?=[\s,;]*\bquestion\s*\d*\s*[:：]|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def annotation_pattern(task: Task) -> str:
    """ANNOTATION_PATTERN, with room for the longest answers of the task."""
    return ANNOTATION_PATTERN.replace("80", str(max(80, _LETTERS_A_WORD * task.max_answer_words)))


class Rejection(StrEnum):
    """Why an annotation is not used. It is stored with the record: rejected records are kept."""

    NO_QUESTION = "no_question"
    NO_ANSWER = "no_answer"
    PLACEHOLDER = "placeholder"
    QUESTION_TOO_LONG = "question_too_long"
    ANSWER_TOO_LONG = "answer_too_long"
    ANSWER_IN_QUESTION = "answer_in_question"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    KIND_FULL = "kind_full"
    LOW_AGREEMENT = "low_agreement"
    IMAGE = "image"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    CUT_OFF = "cut_off"
    TEACHER_ERROR = "teacher_error"
    STUDENT_ERROR = "student_error"
    PENDING = "pending"


UNPARSED = frozenset(
    {Rejection.NO_QUESTION, Rejection.NO_ANSWER, Rejection.PLACEHOLDER, Rejection.CUT_OFF}
)
"""Replies that could not be read as a question and an answer: the teacher is asked again."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A pseudo-annotation. The question keeps its "?"; `answer` is A, the training label."""

    question: str
    answer: str


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[0] if lines else ""


def _clean(text: str) -> str:
    return " ".join(text.split()).strip().strip("\"'“”").strip()


def parse_annotation(reply: str, task: Task) -> Annotation | Rejection:
    """The first usable question and answer in the teacher's reply.

    Markdown, line breaks, a missing "?", a "?" inside quotes and several pairs are accepted. The
    task limits the answer (`max_answer_words`), since it asks for a word or a phrase.
    """
    text = _MARKUP.sub("", reply)
    pairs = list(_PAIR.finditer(text))
    if not pairs:
        return (
            Rejection.NO_ANSWER
            if re.search(r"question\s*\d*\s*[:：]", text, re.IGNORECASE)
            else Rejection.NO_QUESTION
        )
    first: Annotation | Rejection | None = None
    for pair in pairs:
        found = _accept(
            _clean(pair["question"]), _clean(_first_line(pair["answer"])).rstrip(".").strip(), task
        )
        if isinstance(found, Annotation):
            return found
        first = first or found
    assert first is not None
    return first


def _accept(question: str, answer: str, task: Task) -> Annotation | Rejection:
    if not question:
        return Rejection.NO_QUESTION
    if not answer:
        return Rejection.NO_ANSWER
    if question.rstrip("?") == "Q" or answer == "A":
        return Rejection.PLACEHOLDER
    if len(question) > MAX_QUESTION_CHARS:
        return Rejection.QUESTION_TOO_LONG
    if len(answer.split()) > task.max_answer_words:
        return Rejection.ANSWER_TOO_LONG
    if contains_answer(question, answer):
        return Rejection.ANSWER_IN_QUESTION
    return Annotation(task.question or question, answer)


def contains_answer(question: str, answer: str) -> bool:
    """Does the question contain its own answer, word for word? ("yes" and "no" don't count.)"""
    wanted = normalize_vqa_answer(answer)
    if not wanted or wanted in {"yes", "no"}:
        return False
    return f" {wanted} " in f" {normalize_vqa_answer(question)} "


@lru_cache(maxsize=4096)
def question_key(question: str) -> str:
    """Key of a question: two questions about one image with the same key are the same."""
    return " ".join(re.sub(r"[^\w\s]", " ", question.lower()).split())
