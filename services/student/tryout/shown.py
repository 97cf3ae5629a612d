"""Answers that people have seen and may judge, each once. Kept in memory, within limits."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass

from services.core.errors import NotFound

MOST = 1024
MOST_OF_CALLER = 64


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """A student's answer. `caller` is the account that has asked."""

    caller: str
    image_sha256: str
    question: str
    answer: str
    version: str


class ShownAnswers:
    """The latest answers of each caller, by names that nobody can guess."""

    def __init__(self) -> None:
        self._shown: dict[str, ShownAnswer] = {}
        self._of_caller: Counter[str] = Counter()

    def keep(self, shown: ShownAnswer) -> str:
        """Returns the answer's name. The oldest ones make room."""
        if self._of_caller[shown.caller] >= MOST_OF_CALLER:
            own = (name for name, each in self._shown.items() if each.caller == shown.caller)
            self.forget(next(own))
        elif len(self._shown) >= MOST:
            self.forget(next(iter(self._shown)))
        name = secrets.token_urlsafe(16)
        self._shown[name] = shown
        self._of_caller[shown.caller] += 1
        return name

    def find(self, name: str, caller: str) -> ShownAnswer:
        """Raises NotFound: no such answer, or another caller's, or it is judged already."""
        shown = self._shown.get(name)
        if shown is None or shown.caller != caller:
            raise NotFound(
                "this answer can't be judged: it is judged already, or too old; ask again",
                reason="ANSWER_NOT_FOUND",
            )
        return shown

    def forget(self, name: str) -> None:
        shown = self._shown.pop(name, None)
        if shown is not None:
            self._of_caller[shown.caller] -= 1
            if not self._of_caller[shown.caller]:
                del self._of_caller[shown.caller]
