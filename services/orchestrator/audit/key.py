"""The key of an audit: the origin of each item. Raters never see it; figures need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from services.core.errors import InvalidInput, NotFound

KEY, PAGE = "key.json", "page.html"
VERSION = 1


class AuditSubject(StrEnum):
    """Subject of an audit."""

    ANNOTATIONS = "annotations"
    """Annotations before and after PI (Table 4)."""
    ERRORS = "errors"
    """The student's errors in the gap (Table 8)."""


class DrawnArm(StrEnum):
    """Origin of drawn items."""

    BEFORE = "before"
    """Every pseudo-annotation, the input of PI (D_PA of the paper)."""
    AFTER = "after"
    """The gap, the output of PI (D_PI)."""
    HUMAN = "human"
    """A labelled data set, mixed in so that an annotation can be mistaken for a human's."""


@dataclass(frozen=True, slots=True)
class DrawnItem:
    """The origin of an item; an annotation that both draws took is one item of both arms.

    `number`, `attempt`: see the ledger.
    """

    arms: tuple[DrawnArm, ...]
    image: str
    image_sha256: str
    question: str
    answer: str
    number: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """The draw of an audit."""

    audit: str
    """Id of the draw."""
    subject: AuditSubject
    """Subject that raters judge."""
    run: str
    """Id of the run."""
    round: int
    """Round of the run."""
    task: str
    """Task of the run."""
    seed: int
    """Seed of the draw."""
    asked: int
    """Number of items wanted of each arm."""
    populations: Mapping[DrawnArm, int]
    """Number of candidates in each arm."""
    items: Mapping[str, DrawnItem]
    """Origins by the id of the item."""

    def of(self, arm: DrawnArm) -> list[str]:
        """The ids of an arm's items."""
        return [name for name, drawn in self.items.items() if arm in drawn.arms]

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Key:
        """The key in the folder of an audit. Raises NotFound, InvalidInput."""
        path = folder / KEY
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(
                f"there is no audit in {folder}: "
                f"`mpa-orch audit draw RUN --output {folder}` draws one"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{path} is no key of an audit ({error}): draw it again, with its seed"
            ) from error
        try:
            if content.pop("version") != VERSION:
                raise InvalidInput(
                    f"{path} is of another version: draw the audit again, with its seed"
                )
            subject = AuditSubject(content.pop("subject"))
            populations = {
                DrawnArm(arm): int(count) for arm, count in content.pop("populations").items()
            }
            items = {
                name: DrawnItem(tuple(map(DrawnArm, fields.pop("arms"))), **fields)
                for name, fields in content.pop("items").items()
            }
            return cls(subject=subject, populations=populations, items=items, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{path} is no key of an audit ({error}): draw it again, with its seed"
            ) from error
