"""The pair's tokenizer: whole words for what is asked, letters for what is printed.

A word that is read is spelled, so that what is learned of a letter in one word helps to read the next.
"""

from __future__ import annotations

import re

from transformers import Qwen2Tokenizer

from benchmarks.minivqa.families import FAMILIES
from benchmarks.minivqa.objects import OBJECTS
from benchmarks.minivqa.parts import Part
from benchmarks.minivqa.picture import Question
from services.core.tasks import TASKS, answer_prompt
from zoo.architecture import train_tokenizer

ENTRIES = 1024
"""At most: the corpus runs out of merges earlier."""
PICTURES = 100
"""Of each family: enough for every wording."""
PRINTED = frozenset(["word", "number"])
"""Kinds of questions whose answers are read."""


def build_tokenizer() -> Qwen2Tokenizer:
    """A BPE of the training part's questions and answers, and of the families' annotation prompts."""
    facts = [fact for thing in OBJECTS for fact in (thing.name, thing.sort, thing.place, thing.use)]
    corpus = 20 * ["user\n", "assistant\n", *facts, *(f"Answer: {fact}" for fact in facts)]
    for family in FAMILIES.values():
        corpus += 20 * [TASKS[family.task].annotation_prompt]
        for number in range(PICTURES):
            for question in family.draw(Part.TRAINING, 0, number).questions:
                corpus += _texts(question)
    return train_tokenizer(corpus, ENTRIES)


def _texts(question: Question) -> list[str]:
    asked = re.sub('".*"', '""', question.text)
    answer = "" if question.kind in PRINTED else question.answer
    return [answer_prompt(asked), answer, f"Question: {asked}\nAnswer: {answer}"]
