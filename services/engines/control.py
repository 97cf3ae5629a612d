"""A tokenizer's control tokens, and a way to read text without any of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from services.core.errors import InvalidInput


class ControlTokens:
    """Added and special tokens: they mean more to a model or its processor than their characters.

    Added tokens of blanks only (Gemma's "\\n\\n") are text. So is the token for unknown
    characters, unless it also begins or ends a text: tokenizers without bytes write it for
    ordinary text.

    `marks`: strings with such a meaning that are no tokens of the tokenizer.
    """

    def __init__(self, tokenizer: Any, marks: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        contents = {
            token: added.content
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special or added.content.replace("▁", " ").strip()
        }
        contents |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        self._contents: dict[int, str] = contents
        unknown = tokenizer.unk_token_id
        is_text = unknown is not None and unknown not in (
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
        )
        self._ids = frozenset(contents) - ({unknown} if is_text else set())
        self._marks = (*marks, *([tokenizer.unk_token] if is_text else []))
        self._pattern = _any_of([*contents.values(), *marks])

    def among(self, ids: Iterable[int]) -> list[int]:
        """Control tokens of `ids`, in their order."""
        return [token for token in ids if token in self._ids]

    def is_marked(self, text: str) -> bool:
        """Whether the text has a mark that its token ids may not show."""
        return any(mark in text for mark in self._marks)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each control token that is written in `text`."""
        return [found.span() for found in self._pattern.finditer(text)]

    def plain_ids(self, text: str) -> list[int]:
        """Token ids of a text in which every control token is read as its characters.

        Tokenizers have a setting for that, but for special tokens only; other added tokens are cut
        behind their first character. Raises InvalidInput: a character of the text is itself a
        control token.
        """
        pieces = [text]
        while found := self.among(ids := self._split(pieces)):
            pattern = _any_of([self._contents[token] for token in found])
            finer = [part for piece in pieces for part in _cut(piece, pattern)]
            if len(finer) == len(pieces):
                raise unreadable(self._contents[found[0]])
            pieces = finer
        return ids

    def _split(self, pieces: Sequence[str]) -> list[int]:
        rows = self._tokenizer(list(pieces), add_special_tokens=False, split_special_tokens=True)[
            "input_ids"
        ]
        return [token for row in rows for token in row]


def unreadable(mark: str = "") -> InvalidInput:
    """The error for a text that can't reach the model as ordinary characters."""
    spelled = f" ({mark[:40]})" if mark else ""
    return InvalidInput(
        f"the text spells a control token of this model{spelled}, which can't be read as ordinary "
        "characters: leave it out",
        field="question",
        reason="TEXT_HAS_CONTROL_TOKENS",
    )


def _any_of(contents: Iterable[str]) -> re.Pattern[str]:
    """Pattern that finds the longest of `contents` at each place."""
    longest_first = sorted(set(contents) - {""}, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _cut(text: str, pattern: re.Pattern[str]) -> list[str]:
    edges = [0, *(found.start() + 1 for found in pattern.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(edges) if start < end]
