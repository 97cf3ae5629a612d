"""Content of a run's first page: cells, rejections, stages, kinds, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from services.core.evaluation import Comparison, GuardResult
from services.core.parity import Cell
from services.core.usage import NO_USAGE, Usage
from services.orchestrator.run.calibration import Calibration
from services.orchestrator.run.evaluation import RunEvaluation
from services.orchestrator.run.expenses import NO_CALLS, Expenses
from services.orchestrator.run.ledger import browsing
from services.orchestrator.run.ledger.facets import Facet
from services.orchestrator.run.run import is_at_work
from services.orchestrator.run.settings import Settings
from services.orchestrator.run.state import LossPoint
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document, standing
from services.orchestrator.ui.upkeep import CALIBRATION, EXPENSES, Renewed

STAGES = ("annotate", "answer", "identify", "sample", "level", "evaluate", "promote")
MOST_KINDS = 40
"""Kinds of questions on the page, the most frequent first."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """A stage of the run. `seconds`: wall time over all interruptions.

    `calls`: calls of models that were made for it; None for a stage without calls, or if they
    have not been counted yet.
    """

    name: str
    seconds: float
    calls: int | None
    cost_usd: float | None

    @property
    def per_second(self) -> float | None:
        return self.calls / self.seconds if self.calls is not None and self.seconds else None


@dataclass(frozen=True, slots=True)
class KindLine:
    """Entries of a kind of questions by cell."""

    kind: str
    cells: Mapping[str, int]

    @property
    def records(self) -> int:
        return sum(self.cells.values())


@dataclass(frozen=True, slots=True)
class JudgedLine:
    """Questions of a kind in an evaluation. Accuracies 0 to 1; `teacher` None: not measured."""

    kind: str
    questions: int
    before: float
    after: float
    teacher: float | None
    fixed: int
    broken: int


@dataclass(frozen=True, slots=True)
class Judged:
    """An evaluation: `lines` by kind, after the line of all questions. `on`: what was asked."""

    on: str
    lines: tuple[JudgedLine, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The page. Numbers of entries are the catalogue's, which `renewed` tells the age of."""

    run: str
    state: str
    outcome: str
    sentence: str
    round: int
    settings: Settings
    base: str
    candidate: str
    teachers: tuple[str, ...]
    """Fingerprints."""
    parity_set: int | None
    cells: Mapping[str, int]
    rejected: Mapping[str, int]
    refused: Mapping[str, int]
    expenses: Expenses
    stages: tuple[StageLine, ...]
    kinds: tuple[KindLine, ...]
    other_kinds: int
    """Number of kinds that are not on the page."""
    evaluations: tuple[Judged, ...]
    losses: tuple[LossPoint, ...]
    """Loss curve of the round's last training."""
    calibration: Calibration
    """Reliability of both versions on held-out records."""
    guards: tuple[GuardResult, ...]
    """Abilities that the candidate must not lose: the gate's other condition."""
    renewed: Renewed

    @property
    def records(self) -> int:
        """Identified records."""
        return sum(self.cells.get(cell, 0) for cell in Cell)

    @property
    def gap_rate(self) -> float | None:
        return self.cells.get(Cell.GAP, 0) / self.records if self.records else None

    @property
    def usage(self) -> Usage:
        """Tokens and dollars of all models."""
        return sum(self.expenses.usage.values(), NO_USAGE)

    def document(self) -> Document:
        found = asdict(self)
        found["stages"] = [
            {**asdict(stage), "per_second": stage.per_second} for stage in self.stages
        ]
        found["calibration"] = {
            name: {
                "answers": of.answers,
                "error": of.error if of.answers else None,
                "bins": [
                    {**asdict(part), "probability": part.probability, "share": asdict(part.share)}
                    for part in of.bins
                ],
            }
            for name, of in (
                ("before", self.calibration.before),
                ("after", self.calibration.after),
            )
        }
        return {**found, "records": self.records, "gap_rate": self.gap_rate}


def read_overview(opened: OpenedRun) -> Overview:
    run, state = opened.run, opened.run.state
    found = browsing.count(opened.catalogue).facets
    expenses = Expenses.from_json(opened.catalogue.note(EXPENSES))
    kinds = _kinds(opened)
    base, candidate, evaluation = state.base, state.candidate, state.evaluation
    standing_now, outcome, sentence = standing(state, is_at_work(run.folder))
    return Overview(
        run=opened.name,
        state=standing_now,
        outcome=outcome,
        sentence=sentence,
        round=run.ledger.round,
        settings=run.settings,
        base=base.name if base else "",
        candidate=candidate.name if candidate else "",
        teachers=tuple(state.teachers),
        parity_set=state.parity_set,
        cells=dict(found[Facet.CELL]),
        rejected=dict(found[Facet.REJECTED].most_common()),
        refused=dict(found[Facet.REFUSED].most_common()),
        expenses=expenses,
        stages=_stages(state.seconds, expenses),
        kinds=tuple(kinds[:MOST_KINDS]),
        other_kinds=max(0, len(kinds) - MOST_KINDS),
        evaluations=_evaluations(evaluation),
        losses=state.losses,
        calibration=Calibration.from_json(opened.catalogue.note(CALIBRATION)),
        guards=evaluation.guards if evaluation else (),
        renewed=opened.renewed,
    )


def _stages(seconds: Mapping[str, float], expenses: Expenses) -> tuple[StageLine, ...]:
    """Stages in the order of the flow, then any others."""
    called = {name: stage for name, stage in expenses.stages.items() if stage.finished}
    if "answer" in called and "answer" not in seconds:  # both models answered in one stage
        called["identify"] = called.get("identify", NO_CALLS) + called.pop("answer")
    return tuple(
        StageLine(
            name,
            round(seconds.get(name, 0.0), 2),
            called[name].made if name in called else None,
            called[name].usage.cost_usd if name in called else None,
        )
        for name in sorted({**seconds, **called}, key=_place)
    )


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def _kinds(opened: OpenedRun) -> list[KindLine]:
    crossed = browsing.cross(opened.catalogue, Facet.KIND, Facet.CELL)
    lines = [KindLine(kind, dict(cells)) for kind, cells in crossed.items()]
    return sorted(lines, key=lambda line: (-line.records, line.kind))


def _evaluations(of: RunEvaluation | None) -> tuple[Judged, ...]:
    if of is None:
        return ()
    found = [Judged("held-out records", judged_lines(of.held_out))]
    if labelled := of.labelled:
        teacher = {"all": labelled.teacher.accuracy, **labelled.teacher.kinds}
        found.append(Judged(labelled.path, judged_lines(labelled.comparison, teacher)))
    return tuple(found)


def judged_lines(
    of: Comparison, teacher: Mapping[str, float] | None = None
) -> tuple[JudgedLine, ...]:
    return tuple(
        JudgedLine(
            kind,
            tally.questions,
            tally.before,
            tally.after,
            (teacher or {}).get(kind),
            tally.fixed,
            tally.broken,
        )
        for kind, tally in {"all": of.overall, **of.kinds}.items()
    )
