"""A sheet: items that are shown, and the questions that a rater answers about each of them. It says nothing of their origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class SheetChoice:
    """`value` is what is saved, `text` what is read."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class SheetQuestion:
    """One choice of several. `hint`: how to decide."""

    key: str
    text: str
    choices: tuple[SheetChoice, ...]
    hint: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(choice.value for choice in self.choices)


@dataclass(frozen=True, slots=True)
class SheetItem:
    """`image` is a data URI. `texts`: (what it is, text), such as ("Question", "what does the sign say?")."""

    id: str
    image: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """`audit` names the draw; it stands in every file that a rater saves. `guide`: what raters read first."""

    audit: str
    title: str
    guide: str
    questions: Sequence[SheetQuestion]
    items: Sequence[SheetItem]

    def to_document(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)
