"""The summary of a run, always computed from its ledger. `summary.json` is a copy."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

from services.core.evaluation import Comparison, GuardResult
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
    """Images of a run.

    `refused` by reason; `held_out` out of the accepted ones; `ignored`: files next to the
    images that were never read. `leak`: how one image of an evaluation set was found;
    `leaks_used`: images that had been trained on before the set was named.
    """

    accepted: int
    held_out: int
    refused: dict[str, int] = field(default_factory=dict)
    ignored: str = ""
    leak: str = ""
    leaks_used: int = 0


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions on the same questions.

    `skipped`: questions that could not be asked (unusable image).
    """

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
    """Outcome of a run in numbers.

    Cells, parity set, accuracies and outcome are the last round's. Accuracies are 0 to 1.
    """

    run: str
    """Name of the run in requests and manifests."""
    images: int
    """Accepted images."""
    image_files: Images
    annotations: int
    """Usable annotations."""
    rejected: dict[str, int]
    """Rejected annotations by reason, and refused images."""
    retried: int
    """Replies that repeat a question whose first reply was rejected."""
    cells: dict[str, int]
    """Records by cell."""
    parity_set: int
    """Number of training samples."""
    label_noise: LabelNoise | None
    teacher_calls: int
    """Calls for annotation and identification."""
    teacher_calls_saved: int
    """Calls that the teacher cache answered, evaluation included.

    They are in no other count, nor in `usage`.
    """
    student_calls: int
    """Calls for identification."""
    sample_calls: int
    """Calls of the teachers for label noise."""
    evaluation_calls: dict[str, int]
    """Calls by role."""
    usage: dict[str, Usage]
    """Tokens and dollars by role, evaluation included."""
    zero_shot: Accuracy | None
    """Accuracy of the base version: on the labelled set if there is one, else on held-out records.

    `aligned`, `fixed`, `broken` and `mcnemar_p` are measured on the same questions. None until
    there is an evaluation.
    """
    aligned: Accuracy | None
    """Accuracy of the candidate."""
    teacher: Accuracy | None
    """Accuracy on the labelled set."""
    fixed: int | None
    """Questions that only the candidate answers right."""
    broken: int | None
    """Questions that only the base version answers right."""
    mcnemar_p: float | None
    measured_on: str
    """Path of the labelled set, or "held-out records"."""
    held_out: VersionComparison | None
    labelled: VersionComparison | None
    examples: tuple[Example, ...]
    """Some fixed questions of the labelled set."""
    version: RunVersions
    outcome: str
    """How the round ended, or "unfinished"."""
    promoted: bool
    reason: str
    """Reason of the outcome, for people."""
    swap: Swap
    seconds: dict[str, float]
    """Wall time by stage."""
    recipe: str
    matcher: str
    settings: Settings
    rounds: tuple[Round, ...]
    """Results of every round."""
    stopped: str
    """Reason why no other round begins; "" if one does."""
    audited: dict[str, int]
    """Users' requests by their cell, or by the reason of their rejection."""
    guards: tuple[GuardResult, ...] = ()
    """Candidate against base version on each guard set."""


def summarise(ledger: Ledger) -> Summary:
    state = State(ledger)
    settings = Settings.from_json(state.settings)
    evaluation = state.evaluation
    base = state.base
    made = state.candidate
    held_out = _measured(evaluation.held_out) if evaluation else None
    found = evaluation.labelled if evaluation else None
    labelled = _measured(found.comparison, found.skipped) if found else None
    shown = labelled or held_out
    images = _images(ledger)
    last = counts.last_rejections(ledger)
    annotations = last.pop("", 0)
    if images.refused:
        last["image"] = sum(images.refused.values())
    calls = counts.finished_calls(ledger)
    outcome = state.outcome
    return Summary(
        run=state.id,
        images=images.accepted,
        image_files=images,
        annotations=annotations,
        rejected=dict(last),
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
        guards=evaluation.guards if evaluation else (),
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
        accepted=counts.images(ledger) - refused.total(),
        held_out=counts.held_out_images(ledger),
        refused=dict(refused),
        ignored=state.ignored,
        leak=first_leak(ledger),
        leaks_used=state.leaked_into_training,
    )


def _measured(comparison: Comparison, skipped: int = 0) -> VersionComparison:
    overall = comparison.overall
    kinds = comparison.kinds
    return VersionComparison(
        questions=overall.questions,
        before=Accuracy(overall.before, {kind: kinds[kind].before for kind in kinds}),
        after=Accuracy(overall.after, {kind: kinds[kind].after for kind in kinds}),
        fixed=overall.fixed,
        broken=overall.broken,
        mcnemar_p=comparison.mcnemar_p,
        skipped=skipped,
    )


def _measured_on(evaluation: RunEvaluation | None) -> str:
    if evaluation is None:
        return ""
    return evaluation.labelled.path if evaluation.labelled else "held-out records"
