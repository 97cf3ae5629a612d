"""Questions to raters about an annotation: the four measures of Table 4 (Section 4.1.1 iii)."""

from __future__ import annotations

from dataclasses import dataclass

from services.orchestrator.audit.sheet import SheetChoice, SheetQuestion

YES, NO = "yes", "no"
HUMAN, MACHINE = "human", "machine"
_YES_NO = (SheetChoice(YES, "yes"), SheetChoice(NO, "no"))


@dataclass(frozen=True, slots=True)
class Criterion:
    """One measure: the share of ratings that equal `counted`.

    `name` is for people, `symbol` is the paper's.
    """

    name: str
    symbol: str
    counted: str
    question: SheetQuestion

    @property
    def key(self) -> str:
        return self.question.key


CRITERIA = (
    Criterion(
        "answerability",
        "A",
        YES,
        SheetQuestion("answerable", "Can the question be answered from the image?", _YES_NO),
    ),
    Criterion(
        "answer correctness",
        "AC",
        YES,
        SheetQuestion(
            "correct",
            "Is the answer correct?",
            _YES_NO,
            "Suppose that the question is a valid one.",
        ),
    ),
    Criterion(
        "task relevance",
        "TR",
        YES,
        SheetQuestion(
            "relevant", "Does the question fit the task?", _YES_NO, "The task is described above."
        ),
    ),
    Criterion(
        "human-likeness",
        "HLS",
        HUMAN,
        SheetQuestion(
            "author",
            "Who wrote question and answer?",
            (SheetChoice(HUMAN, "a human"), SheetChoice(MACHINE, "a machine")),
            "Go by your impression.",
        ),
    ),
)

TASKS_FOR_RATERS: dict[str, str] = {
    "textvqa": "Questions about an image that are answered by reading the text in it.",
    "stvqa": "Questions about an image that are answered by reading the text in it.",
    "chartqa": "Questions about a chart: its values, comparisons between them, trends.",
    "okvqa": "Questions about an image that take knowledge of the world beyond what is seen in it.",
    "vqa": "Questions about an image that are answered by looking at it.",
    "pathvqa": "Questions about a pathology image that are answered by yes or no.",
    "ocr": "Reading: the answer is the text in the image, exactly as it is written.",
    "captioning": "Captions: the answer is one sentence that says what is in the image and what "
    "can be read there.",
}
"""Descriptions of the tasks, by name."""
