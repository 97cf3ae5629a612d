"""The summary of a run, always computed from its ledger; `summary.json` is its copy for people and tools."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

from services.core.evaluation import Comparison
from services.core.parity import Cell
from services.core.usage import Usage
from services.files import write_atomically
from services.orchestrator.run.evaluation import Accuracy, Example, RunEvaluation
from services.orchestrator.run.history import Round, history, why_stop
from services.orchestrator.run.ledger import Ledger, counts
from services.orchestrator.run.ledger.selections import first_leak
from services.orchestrator.run.opinions import LabelNoise, measured_noise
from services.orchestrator.run.run import Run
from services.orchestrator.run.settings import Settings
from services.orchestrator.run.state import Outcome, State, Swap


@dataclass(frozen=True, slots=True)
class Images:
    """`refused` by reason; `held_out` of the accepted ones; `ignored`: what lay beside them and was never read.

    `leak`: what one of the images that are in an evaluation set, too, was found by; `leaks_used`: those that were trained on
    before the set was named.
    """

    accepted: int
    held_out: int
    refused: dict[str, int] = field(default_factory=dict)
    ignored: str = ""
    leak: str = ""
    leaks_used: int = 0


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions on one set of questions. `skipped`: questions that could not be put (an unusable image)."""

    questions: int
    before: Accuracy
    after: Accuracy
    fixed: int
    broken: int
    mcnemar_p: float
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class RunVersions:
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Summary:
    """`zero_shot`, `aligned`, `fixed`, `broken`, `mcnemar_p`: on the labelled set where one was given, else on the held-out
    records; None until there is an evaluation. Accuracies 0 to 1, `seconds` by stage. `annotations` counts the usable ones,
    `rejected` the others by reason, refused images included. `usage`: tokens and dollars by role, evaluation included.
    Cells, parity set, accuracies and outcome are the last round's; `rounds` has each, `stopped` says why no other began.
    `audited`: users' requests by their cell, or by what they were rejected for.
    `teacher_calls_saved`: by the teacher cache, evaluation included; they are in no other count, nor in `usage`.
    """

    run: str
    images: int
    image_files: Images
    annotations: int
    rejected: dict[str, int]
    retried: int
    cells: dict[str, int]
    parity_set: int
    label_noise: LabelNoise | None
    teacher_calls: int
    teacher_calls_saved: int
    student_calls: int
    sample_calls: int
    evaluation_calls: dict[str, int]
    usage: dict[str, Usage]
    zero_shot: Accuracy | None
    aligned: Accuracy | None
    teacher: Accuracy | None
    fixed: int | None
    broken: int | None
    mcnemar_p: float | None
    measured_on: str
    held_out: VersionComparison | None
    labelled: VersionComparison | None
    examples: tuple[Example, ...]
    version: RunVersions
    outcome: str
    promoted: bool
    reason: str
    swap: Swap
    seconds: dict[str, float]
    recipe: str
    matcher: str
    settings: Settings
    rounds: tuple[Round, ...]
    stopped: str
    audited: dict[str, int]


def summarise(ledger: Ledger) -> Summary:
    state = State(ledger)
    settings, evaluation = Settings.from_json(state.settings), state.evaluation
    base, made = state.base, state.candidate
    held_out = _measured(evaluation.held_out) if evaluation else None
    found = evaluation.labelled if evaluation else None
    labelled = _measured(found.comparison, found.skipped) if found else None
    shown = labelled or held_out
    images, last = _images(ledger), counts.last_rejections(ledger)
    calls = counts.finished_calls(ledger)
    outcome = state.outcome
    return Summary(
        run=state.id,
        images=images.accepted,
        image_files=images,
        annotations=last.pop("", 0),
        rejected={**last, **({"image": sum(images.refused.values())} if images.refused else {})},
        retried=counts.retried(ledger),
        cells=_cells(ledger),
        parity_set=state.parity_set or 0,
        label_noise=measured_noise(ledger),
        teacher_calls=calls["annotate"] + calls["teacher identify"],
        teacher_calls_saved=calls["saved"],
        student_calls=calls["student identify"],
        sample_calls=calls["sample sample"],
        evaluation_calls={
            "teacher": calls["teacher evaluate"],
            "student": calls["student evaluate"],
        },
        usage=ledger.usage(),
        zero_shot=shown.before if shown else None,
        aligned=shown.after if shown else None,
        teacher=found.teacher if found else None,
        fixed=shown.fixed if shown else None,
        broken=shown.broken if shown else None,
        mcnemar_p=shown.mcnemar_p if shown else None,
        measured_on=_measured_on(evaluation),
        held_out=held_out,
        labelled=labelled,
        examples=found.examples if found else (),
        version=RunVersions(base.name if base else "", made.name if made else ""),
        outcome=outcome or "unfinished",
        promoted=outcome is Outcome.PROMOTED,
        reason=state.reason,
        swap=state.swap,
        seconds={name: round(spent, 2) for name, spent in state.seconds.items()},
        recipe=settings.recipe.name,
        matcher=settings.matcher,
        settings=settings,
        rounds=history(ledger),
        stopped=why_stop(ledger),
        audited=counts.audited_requests(ledger),
    )


def write_summary(run: Run) -> Summary:
    summary = summarise(run.ledger)
    write_atomically(
        run.folder / "summary.json",
        json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n",
    )
    return summary


def _cells(ledger: Ledger) -> dict[str, int]:
    found = Counter(record.cell for record in ledger.records())
    return {str(cell): found[cell] for cell in Cell}


def _images(ledger: Ledger) -> Images:
    state = State(ledger)
    refused = counts.refused_images(ledger)
    return Images(
        counts.images(ledger) - refused.total(),
        counts.held_out_images(ledger),
        dict(refused),
        state.ignored,
        first_leak(ledger),
        state.leaked_into_training,
    )


def _measured(comparison: Comparison, skipped: int = 0) -> VersionComparison:
    overall = comparison.overall
    return VersionComparison(
        overall.questions,
        Accuracy(overall.before, {kind: tally.before for kind, tally in comparison.kinds.items()}),
        Accuracy(overall.after, {kind: tally.after for kind, tally in comparison.kinds.items()}),
        overall.fixed,
        overall.broken,
        comparison.mcnemar_p,
        skipped,
    )


def _measured_on(evaluation: RunEvaluation | None) -> str:
    if evaluation is None:
        return ""
    return evaluation.labelled.path if evaluation.labelled else "held-out records"
