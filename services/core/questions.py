"""Kinds of questions, by their opening: parity sets are balanced and results listed by kind."""

from __future__ import annotations

import re
from functools import lru_cache

_YES_NO = frozenset(
    "is are was were am do does did has have had can could will would shall should may might must "
    "isn't aren't wasn't weren't doesn't don't didn't".split()
)
_ATTRIBUTE_OF = re.compile(r"(what|which) (?:is|are|was|were) the (\w+) of\b")


@lru_cache(maxsize=4096)
def question_kind(question: str) -> str:
    """The kind of a question: "yes/no", or its opening, such as "how many" or "what color".

    "what is the color of" counts as "what color". A text without words is "other".
    """
    words = re.findall(r"[\w']+", question.lower())
    if not words:
        return "other"
    if words[0] in _YES_NO:
        return "yes/no"
    if attribute := _ATTRIBUTE_OF.match(" ".join(words)):
        return " ".join(attribute.groups())
    return " ".join(words[:2])
