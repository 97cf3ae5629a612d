"""Images that must not be met again, found by content and by likeness."""

from __future__ import annotations

from collections.abc import Iterable

from services.orchestrator.images.likeness import Likenesses

DISTANCE = 4
"""Bits within which an image counts as the same one, unless the run sets its own distance."""


class Leaks:
    """Images that must not be met again: evaluation sets in a run, the pool in an evaluation."""

    def __init__(self, images: Iterable[tuple[str, str, bytes]], distance: int = DISTANCE) -> None:
        """`images`: name, sha256 and likeness of each."""
        self._by_content: dict[str, str] = {}
        self._names: list[str] = []
        self._by_likeness = Likenesses(distance)
        for name, content, likeness in images:
            self._by_content.setdefault(content, name)
            self._by_likeness.add(likeness)
            self._names.append(name)

    def find(self, content: str, likeness: bytes) -> str:
        """The name of the same image, and how it was recognised; "" if there is none."""
        if name := self._by_content.get(content):
            return f"the same bytes as {name}"
        if likeness and (found := self._by_likeness.find(likeness)):
            numbers, bits = found
            return f"looks like {self._names[numbers[0]]} ({bits} bits differ)"
        return ""
