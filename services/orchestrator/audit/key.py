"""The key of an audit: where each item is from. Raters never see it; without it their answers mean nothing."""

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
    """What raters judge."""

    ANNOTATIONS = "annotations"
    """Before and after PI (Table 4)."""
    ERRORS = "errors"
    """What the student got wrong, in the gap (Table 8)."""


class DrawnArm(StrEnum):
    """Where items are drawn from."""

    BEFORE = "before"
    """Every pseudo-annotation: what PI is given (D_PA of the paper)."""
    AFTER = "after"
    """The gap: what PI leaves (D_PI)."""
    HUMAN = "human"
    """A labelled data set, mixed in so that there is something to mistake an annotation for."""


@dataclass(frozen=True, slots=True)
class DrawnItem:
    """An item's origin. An annotation that both draws took is one item of both arms. `number`, `attempt`: see the ledger."""

    arms: tuple[DrawnArm, ...]
    image: str
    image_sha256: str
    question: str
    answer: str
    number: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """`asked`: items of each arm; `populations`: how many there were to draw from."""

    audit: str
    subject: AuditSubject
    run: str
    round: int
    task: str
    seed: int
    asked: int
    populations: Mapping[DrawnArm, int]
    items: Mapping[str, DrawnItem]

    def of(self, arm: DrawnArm) -> list[str]:
        """The ids of its items."""
        return [name for name, drawn in self.items.items() if arm in drawn.arms]

    def to_json(self) -> str:
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Key:
        """Raises NotFound, InvalidInput."""
        path = folder / KEY
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise NotFound(
                f"there is no audit in {folder}: `mpa-orch audit draw RUN --output {folder}` draws one"
            ) from error
        except ValueError as error:
            raise InvalidInput(
                f"{path} is no key of an audit ({error}): draw it again, with its seed"
            ) from error
        try:
            if content.pop("version") != VERSION:
                raise InvalidInput(
                    f"{path} is another program's: draw the audit again, with its seed"
                )
            subject = AuditSubject(content.pop("subject"))
            populations = {
                DrawnArm(arm): int(count) for arm, count in content.pop("populations").items()
            }
            items = {
                name: DrawnItem(tuple(map(DrawnArm, of.pop("arms"))), **of)
                for name, of in content.pop("items").items()
            }
            return cls(subject=subject, populations=populations, items=items, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"{path} is no key of an audit ({error}): draw it again, with its seed"
            ) from error
