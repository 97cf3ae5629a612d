"""The verdict on a run: whether its student may answer in the teacher's place, and at what price.

Everything is read from the ledger. The models are compared on labels, or on held-out records, whose
reference is the teacher's own annotation: then the verdict is about agreement, not about truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.core.errors import InvalidInput, NothingToAlign, WrongState
from services.core.metrics import CORPUS_METRICS
from services.core.noninferiority import (
    Conclusion,
    NonInferiorityByKind,
    ScorePair,
    compare_kinds,
)
from services.core.parity import NOISE, Cell
from services.engines.images import sha256
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.scores import (
    HELD_OUT,
    held_out_cells,
    scored_sets,
    scores,
)
from services.orchestrator.run.run import Run
from services.orchestrator.run.running_costs import Economy, ModelPrice, measure_economy
from services.orchestrator.run.state import Outcome, State

NO_PRICE = ModelPrice()
MOST_LISTED = 5
"""Kinds that the sentence names."""
HELD_OUT_RECORDS = "held-out records"


@dataclass(frozen=True, slots=True)
class Subject:
    """The version that a verdict is about, the round that trained it, and whether it went live."""

    version: str
    round: int
    is_promoted: bool


@dataclass(frozen=True, slots=True)
class ReplacementVerdict:
    """Whether the student may replace the teacher.

    `new` of the comparison is the student, `old` the teacher. `on`: path of the labelled set, or
    HELD_OUT_RECORDS. `notes`: everything that limits the verdict, for people.
    """

    run: str
    subject: Subject
    teacher: str
    """Fingerprint."""
    on: str
    is_by_labels: bool
    margin: float
    """Largest loss of accuracy that is accepted, 0 to 1."""
    comparison: NonInferiorityByKind
    economy: Economy
    notes: tuple[str, ...]

    @property
    def conclusion(self) -> Conclusion:
        return self.comparison.overall.conclusion

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        student = self.subject.version
        kinds = {
            of: [kind for kind, found in self.comparison.kinds.items() if found.conclusion is of]
            for of in Conclusion
        }
        if self.conclusion is Conclusion.YES:
            but = f", but not for {_listed(kinds[Conclusion.NO])}" if kinds[Conclusion.NO] else ""
            return f"yes: {student} may replace the teacher{but}"
        where = f"; it may for {_listed(kinds[Conclusion.YES])}" if kinds[Conclusion.YES] else ""
        if self.conclusion is Conclusion.NO:
            return f"no: {student} may not replace the teacher{where}"
        more = self.comparison.overall.more
        needed = (
            f"about {more:,} more questions would probably decide"
            if more
            else "the difference is so close to the margin that no number of questions would decide"
        )
        if not self.comparison.overall.questions:
            needed = "no question has been asked"
        return f"not enough evidence whether {student} may replace the teacher: {needed}{where}"

    def document(self) -> dict[str, object]:
        """The verdict for programs."""
        return {"conclusion": self.conclusion, "sentence": self.sentence, **asdict(self)}


def find_subject(ledger: Ledger) -> Subject:
    """The version that was promoted last; if none was, the candidate that was evaluated last.

    Raises NothingToAlign if the run trained none, WrongState if it has evaluated none yet.
    """
    evaluated = None
    for number in range(ledger.round, 0, -1):
        state = State(ledger, of_round=number)
        if state.candidate is None or state.evaluation is None:
            continue
        found = Subject(state.candidate.name, number, state.outcome is Outcome.PROMOTED)
        if found.is_promoted:
            return found
        evaluated = evaluated or found
    first = State(ledger, of_round=1)
    if evaluated is None and first.outcome is Outcome.NOTHING_TO_ALIGN:
        raise NothingToAlign(first.reason)
    if evaluated is None:
        raise WrongState(
            "the run has evaluated no student that it trained, so there is nothing to judge: "
            "finish `mpa-orch align`, or `mpa-orch evaluate`"
        )
    return evaluated


def is_answered(ledger: Ledger, subject: Subject, labelled: Path) -> bool:
    """Whether both models' answers to a labelled set are in the ledger, and scored.

    Not if its file has changed since. Sets of releases that kept no content count by their path.
    """
    of_set = str(labelled.absolute())
    if of_set not in scored_sets(ledger, subject.version, State(ledger).teacher()):
        return False
    scored = State(ledger).scored.get(of_set)
    if scored is None or not labelled.is_file():
        return True
    return scored == replace(scored, content=sha256(labelled.read_bytes()), version=subject.version)


def has_skipped(ledger: Ledger, labelled: Path) -> bool:
    """Whether a question of the set could not be put to both models."""
    scored = State(ledger).scored.get(str(labelled.absolute()))
    return scored is not None and scored.skipped > 0


def read_verdict(
    run: Run,
    margin: float,
    labelled: Path | None = None,
    teacher: ModelPrice = NO_PRICE,
    student: ModelPrice = NO_PRICE,
) -> ReplacementVerdict:
    """The verdict on held-out records, or on a labelled set whose answers the ledger has.

    `margin`: 0 to 1. Raises what `find_subject` does, and InvalidInput for labels that are
    captions, whose scores are no shares of right answers.
    """
    if labelled is not None and run.settings.the_task.metric in CORPUS_METRICS:
        raise InvalidInput(
            f"{labelled} is scored by {run.settings.the_task.metric}, which counts no right "
            "answers: leave out --eval",
            field="eval",
        )
    ledger = run.ledger
    subject = find_subject(ledger)
    pairs = list(
        _held_out_pairs(ledger, subject) if labelled is None else _pairs(run, subject, labelled)
    )
    return ReplacementVerdict(
        run=run.id,
        subject=subject,
        teacher=State(ledger).teacher(),
        on=HELD_OUT_RECORDS if labelled is None else str(labelled.absolute()),
        is_by_labels=labelled is not None,
        margin=margin,
        comparison=compare_kinds(pairs, margin),
        economy=measure_economy(ledger, teacher, student),
        notes=tuple(_notes(ledger, subject, labelled)),
    )


def _held_out_pairs(ledger: Ledger, subject: Subject) -> Iterator[ScorePair]:
    """The teacher is right by definition: its annotation is the reference, and a record that it
    contradicts judges nobody.
    """
    for row in scores(ledger, HELD_OUT, "after", subject.version):
        yield ScorePair(row.image_sha256, row.kind, row.score, 1.0, row.score >= 0.5)


def _pairs(run: Run, subject: Subject, labelled: Path) -> Iterator[ScorePair]:
    ledger, teacher = run.ledger, run.state.teacher()
    of_set = str(labelled.absolute())
    by_teacher = {
        (row.image_sha256, row.question): row.score
        for row in scores(ledger, of_set, "teacher", teacher)
    }
    for row in scores(ledger, of_set, "after", subject.version):
        key = (row.image_sha256, row.question)
        if key not in by_teacher:
            continue
        mine = ledger.answer(*key, "student", subject.version)
        theirs = ledger.answer(*key, "teacher", teacher)
        is_alike = (
            mine is not None
            and theirs is not None
            and run.settings.the_student_matcher.matches(mine.answer, theirs.answer)
        )
        yield ScorePair(row.image_sha256, row.kind, row.score, by_teacher[key], is_alike)


def _notes(ledger: Ledger, subject: Subject, labelled: Path | None) -> Iterator[str]:
    if not subject.is_promoted:
        yield f"{subject.version} was not promoted: {State(ledger, of_round=subject.round).reason}"
    if labelled is not None:
        scored = State(ledger).scored.get(str(labelled.absolute()))
        if scored and scored.version == subject.version and scored.skipped:
            yield (
                f"{scored.skipped:,} questions of the set could not be put to both models, and "
                "are left out: name the services to ask again"
            )
        if leaked := State(ledger).leaked_into_training:
            yield (
                f"{leaked:,} images of the run are in its labelled sets, too, or are like theirs, "
                "and were found after its training had begun: it may have seen them"
            )
        return
    yield (
        "this is agreement with the teacher, not truth: its own annotations are the reference, "
        "so what it gets wrong counts as right"
    )
    if State(ledger, of_round=subject.round).review_limit:
        yield "people's reviews are the reference of the records that they decided on"
    cells = held_out_cells(ledger, subject.round)
    if unasked := cells[Cell.UNASKED]:
        yield (
            f"the teacher was not asked again about {unasked:,} of the records, and counts as "
            "right there"
        )
    if noise := sum(cells[cell] for cell in NOISE):
        yield f"{noise:,} held-out records that the teacher contradicts itself are left out"
    for path in scored_sets(ledger, subject.version, State(ledger).teacher()):
        yield f"the run has answers to labels, too: --eval {path}"


def _listed(kinds: Sequence[str]) -> str:
    shown = ", ".join(f'"{kind}"' for kind in kinds[:MOST_LISTED])
    others = len(kinds) - MOST_LISTED
    return f"{shown} and {others} other kinds" if others > 0 else shown
