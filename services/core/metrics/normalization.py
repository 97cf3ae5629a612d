"""Normalisation of answers in the VQA challenge (EvalAI); the order of its steps matters."""

from __future__ import annotations

import re
from functools import lru_cache

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DOT_BEFORE_NO_DIGIT = re.compile(r"\.(?!\d)")
_MAX_DOTS = 32  # the reference passes re.UNICODE (32) as the count of re.sub
_ARTICLES = {"a", "an", "the"}
_DIGITS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
_DIGITS["none"] = "0"
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
    might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
""".split()
"""Words to which the official contraction table maps spellings with one apostrophe missing.

Entries with capitals are left out, since text is lower-case by then, and so are entries that map a
word to itself.
"""


def _spellings(word: str) -> set[str]:
    """The spellings of a contraction with one of its apostrophes missing."""
    return {word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"}


_CONTRACTIONS = {spelling: word for word in _CONTRACTED for spelling in _spellings(word)}
_CONTRACTIONS["somebody'd"] = "somebodyd"  # a slip of the official table, which has it reversed


def without_punctuation(text: str) -> str:
    """Delete each mark that stands next to a blank anywhere in `text`; put a blank for the others.

    Full stops are deleted afterwards, unless decimals follow.
    """
    seen = text
    for mark in _PUNCTUATION:
        text = text.replace(mark, "" if f"{mark} " in seen or f" {mark}" in seen else " ")
    return _DOT_BEFORE_NO_DIGIT.sub("", text, count=_MAX_DOTS)


@lru_cache(maxsize=4096)
def normalize_vqa_answer(answer: str) -> str:
    """The form of an answer that the VQA challenge's evaluation compares."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    words = (_DIGITS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def squeeze(text: str) -> str:
    """Lower case without white space and non-word characters (the authors' preprocessing)."""
    return re.sub(r"\W", "", text.lower())
