"""The evaluation of a round, as the ledger stores it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from services.core.evaluation import Comparison, Decision, GuardResult, Tally
from services.core.intervals import Interval
from services.core.noninferiority import Conclusion, NonInferiority


@dataclass(frozen=True, slots=True)
class Accuracy:
    accuracy: float
    kinds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """A question that the training fixed."""

    image: str
    question: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """Results of both versions and the teacher on the labelled set at `path`."""

    path: str
    comparison: Comparison
    teacher: Accuracy
    skipped: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class GuardSets:
    """Labelled sets that must not suffer, and the loss that each may have, 0 to 1.

    `contents`: sha256 of each file when a command last named or repeated the sets; empty if none
    has since contents are kept.
    """

    paths: tuple[str, ...] = ()
    tolerance: float = 0.05
    contents: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> GuardSets:
        """The sets; none for the text ""."""
        fields = json.loads(text or "{}")
        lists = {name: tuple(fields.get(name, ())) for name in ("paths", "contents")}
        return cls(**{**fields, **lists})


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """A labelled set as it was scored last: sha256 of its file, and the version that answered.

    `skipped`: questions that could not be put to each model.
    """

    content: str
    version: str
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class RunEvaluation:
    held_out: Comparison
    decision: Decision
    labelled: Labelled | None = None
    guards: tuple[GuardResult, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> RunEvaluation:
        fields = json.loads(text)
        labelled = fields["labelled"]
        return cls(
            _comparison(fields["held_out"]),
            Decision(**fields["decision"]),
            labelled
            and Labelled(
                labelled["path"],
                _comparison(labelled["comparison"]),
                Accuracy(**labelled["teacher"]),
                labelled["skipped"],
                tuple(Example(**example) for example in labelled["examples"]),
            ),
            tuple(map(_guard, fields.get("guards", ()))),
        )


def _comparison(fields: dict[str, dict[str, dict[str, float]]]) -> Comparison:
    kinds = {kind: _tally(tally) for kind, tally in fields["kinds"].items()}
    return Comparison(_tally(fields["overall"]), kinds)  # type: ignore[arg-type]


def _guard(fields: dict[str, Any]) -> GuardResult:
    found = fields["found"]
    read = {
        "difference": Interval(**found["difference"]),
        "conclusion": Conclusion(found["conclusion"]),
    }
    measured = NonInferiority(**{**found, **read})
    return GuardResult(fields["path"], measured, fields["skipped"], fields.get("sha256", ""))


def _tally(fields: dict[str, float]) -> Tally:
    return Tally(**fields)  # type: ignore[arg-type]
