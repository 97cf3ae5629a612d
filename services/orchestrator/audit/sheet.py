"""A sheet: items, and the questions that a rater answers about each; nothing about their origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class SheetChoice:
    """A choice: `value` is saved, `text` is shown."""

    value: str
    text: str


@dataclass(frozen=True, slots=True)
class SheetQuestion:
    """A question with several choices. `hint`: how to decide."""

    key: str
    text: str
    choices: tuple[SheetChoice, ...]
    hint: str = ""

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(choice.value for choice in self.choices)


@dataclass(frozen=True, slots=True)
class SheetItem:
    """An item to rate.

    `image` is a data URI. `texts`: (label, text), such as ("Question", "what does the sign say?").
    """

    id: str
    image: str
    texts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page's content.

    `audit`: id of the draw, written into every file that a rater saves. `guide`: the first text.
    """

    audit: str
    title: str
    guide: str
    questions: Sequence[SheetQuestion]
    items: Sequence[SheetItem]

    def to_document(self) -> dict[str, object]:
        """The sheet as a JSON object."""
        return asdict(self)
