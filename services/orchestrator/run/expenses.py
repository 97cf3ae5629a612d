"""Expenses of a run: calls, tokens and dollars of each stage, and the images they went to.

Counting them reads the whole ledger, which takes seconds for a million records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from services.core.usage import NO_USAGE, Usage
from services.orchestrator.run.ledger import Ledger, counts


@dataclass(frozen=True, slots=True)
class StageCalls:
    """Finished calls of a stage. `made`: without those that the teacher cache answered."""

    finished: int = 0
    made: int = 0
    usage: Usage = NO_USAGE

    def __add__(self, other: StageCalls) -> StageCalls:
        return StageCalls(
            self.finished + other.finished, self.made + other.made, self.usage + other.usage
        )


NO_CALLS = StageCalls()


@dataclass(frozen=True, slots=True)
class Expenses:
    """`stages` by the name of the stage, `usage` by role, evaluation included."""

    stages: Mapping[str, StageCalls] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)
    images: int = 0
    """Accepted images."""
    held_out: int = 0
    """Held-out images among them."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Expenses:
        """The expenses; none for the text ""."""
        known = json.loads(text or "{}")
        stages = {
            name: StageCalls(**{**stage, "usage": Usage(**stage["usage"])})
            for name, stage in known.pop("stages", {}).items()
        }
        usage = {role: Usage(**used) for role, used in known.pop("usage", {}).items()}
        return cls(stages, usage, **known)


def count_expenses(ledger: Ledger) -> Expenses:
    return Expenses(
        stages={stage: StageCalls(*counts.stage_calls(ledger, stage)) for stage in counts.FINISHED},
        usage=ledger.usage(),
        images=counts.accepted_images(ledger),
        held_out=counts.held_out_images(ledger),
    )
