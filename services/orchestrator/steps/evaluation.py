"""Candidate against live, on held-out records and on a labelled set.

Held-out records and guard sets decide on promotion; a labelled set, if given, only measures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from services import tracing
from services.core.errors import WrongState
from services.core.evaluation import (
    Judgement,
    compare,
    should_promote,
)
from services.core.noninferiority import OTHER, SMALLEST_KIND
from services.core.parity import STUDENT_RIGHT, Cell
from services.core.questions import question_kind
from services.engines.images import sha256
from services.orchestrator.images.source import Source
from services.orchestrator.run.bounded import images_at_once
from services.orchestrator.run.evaluation import (
    Accuracy,
    Example,
    Labelled,
    RunEvaluation,
    ScoredSet,
)
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.corrections import corrected_records
from services.orchestrator.steps.guard_sets import are_checked, check_guards, guard_cases
from services.orchestrator.steps.identification import student_answer, teacher_answer
from services.orchestrator.steps.labelled import labelled_images, read_labelled
from services.orchestrator.steps.questioning import Case, Exam, Respond, Sat, sit
from services.orchestrator.steps.scorekeeping import (
    Score,
    keep_scored_set,
    keep_scores,
    official,
)
from services.rpc.client import Student, Teacher

JUDGED = STUDENT_RIGHT | {Cell.GAP}
EXAMPLES = 3
ONE_MODEL_FITS = "ONE_MODEL_FITS"
"""Reason of a student that can't load a version next to the live one."""


def is_evaluated(run: Run, labelled: Path | None) -> bool:
    """Whether the run is evaluated with its guard sets, and with this labelled set if one is
    named.
    """
    done = run.state.evaluation
    if done is None or not are_checked(run, done):
        return False
    if labelled is None:
        return True
    return done.labelled is not None and done.labelled.path == str(labelled.absolute())


def require_candidate(run: Run) -> None:
    if run.state.candidate is None:
        raise WrongState(
            f"the run in {run.folder} has no candidate yet: "
            f"`mpa-orch level {run.folder}` trains one"
        )


async def require_served_as_judged(run: Run, student: Student, version: str) -> None:
    """Raises WrongState if the service would ask that version differently than the run does."""
    differing = (await student.version(version)).contract.differences(run.settings.contract)
    if differing:
        raise WrongState(
            f"{version} at {student.address} would be served differently than it is judged "
            f"({'; '.join(differing)}): a service of an earlier release trained it. "
            "Train it again with this release, in another --run"
        )


def held_out_cases(run: Run) -> list[Case]:
    """Annotations of held-out images that a model confirmed: the annotation is the reference.

    If the run uses people's reviews, their verdicts and corrections replace the models'.

    Kinds with fewer than SMALLEST_KIND questions are judged together, as "other": a
    generated question opens in odd ways, and one answer of a kind of its own must not
    decide.
    """
    records = [
        record for record in corrected_records(run) if record.held_out and record.cell in JUDGED
    ]
    sizes = Counter(question_kind(record.question) for record in records)

    def kind(question: str) -> str:
        found = question_kind(question)
        return found if sizes[found] >= SMALLEST_KIND else OTHER

    return [
        Case(r.path, r.image_sha256, r.question, (r.answer,), kind(r.question)) for r in records
    ]


@tracing.stage("evaluate")
async def evaluate(
    run: Run,
    student: Student,
    teacher: Teacher | None,
    labelled: Path | None,
    progress: Progress,
    *,
    may_try: bool = False,
) -> RunEvaluation:
    """Scores the base version and the candidate; every answer is written to the ledger.

    Both are asked in the run's words (Eq. 1; docs/decisions/contract.md), which are the
    candidate's own. `teacher` is asked on the labelled set only; it is None if it isn't
    up, and its answers are in the ledger. If the student has room for one model,
    `may_try` lets the candidate answer in the live version's place. Raises WrongState if
    that isn't allowed.
    """
    if is_evaluated(run, labelled):
        found = run.state.evaluation
        assert found is not None
        return found
    require_candidate(run)
    before = run.state.the_base.name
    after = run.state.the_candidate.name
    await require_served_as_judged(run, student, after)
    with run.timed("evaluate"):
        if not await _load_both(student, before, after):
            await _ask_in_turn(run, student, labelled, progress, may_try=may_try)
        versions: dict[str, Respond] = {
            "before": partial(student_answer, run, student, version=before, step="evaluate"),
            "after": partial(student_answer, run, student, version=after, step="evaluate"),
        }
        read = run.reading(run.find_images())
        at_once = images_at_once(student.in_flight, run.settings.pixel_budget)
        exam = await sit(read, held_out_cases(run), versions, progress, "evaluate", at_once)
        matches = run.settings.the_matcher.matches

        def matched(given: Sequence[str], wanted: Sequence[Sequence[str]]) -> Sequence[float]:
            return [matches(a, w[0]) for a, w in zip(given, wanted, strict=True)]

        comparison = compare(_scored(run, "held_out", exam, matched))
        guards = await check_guards(run, versions, progress, at_once)
        done = run.state.evaluation
        decision = should_promote(comparison, guards=guards)
        if done is not None and run.state.outcome is not None:
            decision = done.decision
            if not are_checked(run, done):
                progress.note("guard: the round was decided before, so these sets only measure")
        evaluation = RunEvaluation(comparison, decision, done.labelled if done else None, guards)
        if labelled is not None:
            respondents: dict[str, Respond] = {
                **versions,
                "teacher": partial(teacher_answer, run, teacher, step="evaluate"),
            }
            content = sha256(labelled.read_bytes())
            exam = await sit(
                run.reading(labelled_images(labelled)),
                read_labelled(labelled),
                respondents,
                progress,
                "labelled",
                at_once,
            )
            evaluation = replace(evaluation, labelled=_labelled(run, labelled, exam))
            scored = ScoredSet(content, after, exam.skipped)
            keep_scored_set(run, str(labelled.absolute()), scored)
    run.state.evaluation = evaluation
    return evaluation


async def _load_both(student: Student, *versions: str) -> bool:
    """Whether both are loaded; False if the student has room for one model."""
    try:
        for version in versions:
            if not (await student.version(version)).is_loaded:
                await student.load(version)
    except WrongState as error:
        if error.reason != ONE_MODEL_FITS:
            raise
        return False
    return True


async def _ask_in_turn(
    run: Run, student: Student, labelled: Path | None, progress: Progress, *, may_try: bool
) -> None:
    """Asks the live version first, then the candidate in its place, until both have answered.

    The answers wait in the ledger.
    """
    before = run.state.the_base.name
    after = run.state.the_candidate.name
    if not may_try:
        raise WrongState(
            f"the student at {student.address} has room for one model, "
            f"so {after} can't be judged next to {before}: "
            "give it room, or let the candidate answer everybody while it is judged (--trial)",
            reason=ONE_MODEL_FITS,
        )
    sets: list[tuple[Source, list[Case], str]] = [
        (run.find_images(), held_out_cases(run), "evaluate")
    ]
    if labelled is not None:
        sets.append((labelled_images(labelled), read_labelled(labelled), "labelled"))
    sets += guard_cases(run)
    if (await student.pointers()).live == after:  # an earlier try was interrupted
        await student.promote(before, expected_live=after)
    at_once = images_at_once(student.in_flight, run.settings.pixel_budget)
    try:
        for version in (before, after):
            if version == after:
                progress.note(
                    f"evaluate: one model fits, so {after} answers in the place of {before}"
                )
                await student.promote(after, expected_live=before)
            respondent: dict[str, Respond] = {
                version: partial(student_answer, run, student, version=version, step="evaluate")
            }
            for source, cases, name in sets:
                read = run.reading(source)
                await sit(read, cases, respondent, progress, f"{name} {version}", at_once)
    finally:
        if (await student.pointers()).live == after:
            await student.promote(before, expected_live=after)


def _scored(run: Run, question_set: str, exam: Exam, score: Score) -> list[Judgement]:
    roles = {
        "before": ("before", run.state.the_base.name),
        "after": ("after", run.state.the_candidate.name),
        "teacher": ("teacher", run.state.teacher()),
    }
    scores = keep_scores(run, question_set, exam, score, roles)
    return [
        Judgement(sat.case.kind, scores["before"][number], scores["after"][number])
        for number, sat in enumerate(exam.sat)
    ]


def _labelled(run: Run, path: Path, exam: Exam) -> Labelled:
    by_metric = official(run.settings.the_task.metric)
    judgements = _scored(run, str(path.absolute()), exam, by_metric)
    scores = by_metric(
        [sat.answers["teacher"] for sat in exam.sat], [sat.case.references for sat in exam.sat]
    )
    by_kind: dict[str, list[float]] = defaultdict(list)
    for sat, value in zip(exam.sat, scores, strict=True):
        by_kind[sat.case.kind].append(value)
    teacher = Accuracy(
        _mean(scores), {kind: _mean(of_kind) for kind, of_kind in sorted(by_kind.items())}
    )
    fixed = [
        sat
        for sat, judged in zip(exam.sat, judgements, strict=True)
        if judged.before < 0.5 <= judged.after
    ]
    return Labelled(
        str(path.absolute()), compare(judgements), teacher, exam.skipped, _examples(fixed)
    )


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0


def _examples(fixed: Sequence[Sat]) -> tuple[Example, ...]:
    """Examples, of different kinds if possible."""
    kinds: dict[str, Sat] = {}
    for sat in fixed:
        kinds.setdefault(sat.case.kind, sat)
    others = [sat for sat in fixed if sat is not kinds[sat.case.kind]]
    chosen = [*kinds.values(), *others][:EXAMPLES]
    return tuple(
        Example(
            image=sat.case.path,
            question=sat.case.question,
            reference=sat.case.references[0],
            before=sat.answers["before"],
            after=sat.answers["after"],
        )
        for sat in chosen
    )
