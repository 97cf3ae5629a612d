"""Tokenizer of the pair: whole words for questions and facts, single letters for printed words.

A printed word is spelled, so that a letter learned in one word helps to read the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from services.core.tasks import TASKS, answer_prompt
from zoo.architecture import CONTEXT_LENGTH, PAD
from zoo.families.architectures import QWEN2_VL, Architecture
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.lexicon import COLORS
from zoo.minivqa.objects import OBJECTS
from zoo.minivqa.parts import Part

PICTURES = 100
"""Pictures of each family: enough for every wording."""
PRINTED = frozenset(["word", "number"])
"""Kinds of questions whose answers are read."""


def build_tokenizer(architecture: Architecture = QWEN2_VL) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer like Qwen2's: words of the corpus are single tokens."""
    like = Qwen2Tokenizer().backend_tokenizer
    words = {
        word
        for text in _corpus()
        for word, _ in like.pre_tokenizer.pre_tokenize_str(text)
        if len(word) > 1
    }
    entries = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *sorted(words)]
    built = Tokenizer(
        BPE({entry: number for number, entry in enumerate(entries)}, [], ignore_merges=True)
    )
    built.normalizer = like.normalizer
    built.pre_tokenizer = like.pre_tokenizer
    built.decoder = like.decoder
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        eos_token=architecture.end_of_turn,
        pad_token=PAD,
        extra_special_tokens=list(architecture.marks),
        model_max_length=CONTEXT_LENGTH,
    )


def _corpus() -> Iterator[str]:
    """Questions about training pictures, facts, and the prompts."""
    known = [
        fact
        for thing in OBJECTS
        for fact in (thing.name, thing.sort, thing.place, thing.use)
        if fact
    ]
    for fact in (*known, *COLORS, "yes", "no"):
        yield from (fact, f"Answer: {fact}")
    yield from ("user\n", "assistant\n", "You are a helpful assistant.")
    for family in FAMILIES.values():
        yield TASKS[family.task].annotation_prompt
        for number in range(PICTURES):
            for question in family.draw(Part.TRAINING, 0, number).questions:
                asked = re.sub('".*"', '""', question.text)
                yield from (answer_prompt(asked), f"Question: {asked}\nAnswer:")
