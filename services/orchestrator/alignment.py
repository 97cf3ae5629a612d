"""A whole round, top to bottom.

Every step looks in the ledger first, so resuming is a repetition.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from services import tracing
from services.core.errors import Cancelled, MpaError, NothingToAlign, Pending, WrongState
from services.orchestrator.endpoints.panel import require_panel
from services.orchestrator.images.source import Source
from services.orchestrator.production import requests
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.state import Outcome, Version
from services.orchestrator.run.summary import write_summary
from services.orchestrator.steps import pixels
from services.orchestrator.steps.corrections import settle_reviews
from services.orchestrator.steps.evaluation import evaluate, is_evaluated
from services.orchestrator.steps.forecast import require_way_to_the_end
from services.orchestrator.steps.leveling import level
from services.orchestrator.steps.parity_set import ParitySample, write_parity_set
from services.orchestrator.steps.promotion import Confirm, promote
from services.orchestrator.steps.sampling import take_samples
from services.orchestrator.stream import Stream
from services.rpc.client import Student, StudentVersion, Teacher

DECLINED = "nothing was trained: declined at the prompt; repeat the command to be asked again"


def is_finished(run: Run, labelled: Path | None) -> bool:
    """Whether the run is complete: a repeated command answers from the ledger alone."""
    outcome = run.state.outcome
    return outcome is Outcome.NOTHING_TO_ALIGN or (
        outcome is not None and is_evaluated(run, labelled)
    )


async def align(
    run: Run,
    teacher: Teacher,
    student: Student,
    labelled: Path | None,
    confirm: Confirm,
    progress: Progress,
    *,
    may_try: bool = False,
) -> None:
    """Runs every step. Raises NothingToAlign if the student is at parity already."""
    await require_way_to_the_end(run, student, progress, may_try=may_try)
    await annotate_and_identify(run, teacher, student, progress)
    await train(run, student, confirm, progress)
    await evaluate_and_promote(run, teacher, student, labelled, confirm, progress, may_try=may_try)


async def evaluate_and_promote(
    run: Run,
    teacher: Teacher | None,
    student: Student,
    labelled: Path | None,
    confirm: Confirm,
    progress: Progress,
    *,
    may_try: bool = False,
) -> None:
    """Evaluates and promotes.

    `teacher` is None if its answers to the labelled questions are in the ledger.
    """
    evaluation = await evaluate(run, student, teacher, labelled, progress, may_try=may_try)
    write_summary(run)
    if run.state.outcome is None:
        await promote(run, student, evaluation.decision, confirm, progress)
        write_summary(run)


@tracing.stage("annotate")
async def annotate_only(run: Run, teacher: Teacher, progress: Progress) -> None:
    if not run.state.annotated:
        await _flow(run, teacher, None, progress)


@tracing.stage("annotate and identify")
async def annotate_and_identify(
    run: Run, teacher: Teacher, student: Student, progress: Progress
) -> None:
    if not run.state.identified:
        pixels.compare_student(run, await settle_base_version(run, student), progress)
        require_panel(run, teacher)
        await _flow(run, teacher, student, progress)
        await take_samples(run, teacher, progress)
        run.state.identified = True


async def _flow(run: Run, teacher: Teacher, student: Student | None, progress: Progress) -> None:
    await pixels.compare_teacher(run, teacher, progress)
    pool = run.find_images()
    total = await asyncio.to_thread(pool.total)
    is_told = tell_ignored(run, pool, progress)
    if total is not None and run.settings.limit:
        total = min(total, run.settings.limit)
    try:
        await Stream(run, pool, teacher, student).flow(progress, total)
        if not is_told:
            tell_ignored(run, pool, progress)
        await requests.annotate_requests(run, teacher, progress)
        if student is not None:
            await requests.identify_requests(run, teacher, student, progress)
            await require_same_student(run, student)
        require_working_services(run)
        run.state.annotated = True
    finally:
        write_summary(run)


def tell_ignored(run: Run, pool: Source, progress: Progress) -> bool:
    """Notes ignored files next to the images. Returns whether any are known so far."""
    ignored = str(pool.ignored)
    if ignored:
        run.state.ignored = ignored
        progress.note(f"ignored, never read: {ignored}: no label is used")
    return bool(ignored)


def require_working_services(run: Run) -> None:
    """Raises MpaError if most calls failed, which a service causes, not a request.

    A repetition asks again.

    Raises Pending once everything possible is asked, and a provider's batch is under way.
    """
    failed, total, detail = run.ledger.failures()
    if failed * 2 > total:
        raise MpaError(
            f"the teacher or the student failed on {failed} of {total} annotations ({detail}): "
            "read its log, then repeat the command"
        )
    pending, detail = run.ledger.pending()
    if pending:
        raise Pending(f"{pending} annotations have to wait: {detail}")


async def settle_base_version(
    run: Run, student: Student, *, may_load: bool = True
) -> StudentVersion:
    """The student of PI: the version that training starts from, live when the run first asked.

    `may_load` is False if another service will answer. Raises WrongState if the student
    at this address has other weights under that name.
    """
    if mixed := run.state.mixed:
        raise WrongState(mixed)
    base = run.state.base
    before = base.name if base else (await student.pointers()).live
    version = await student.version(before)
    if base and base.weights_sha256 not in ("", version.weights_sha256):
        raise WrongState(
            f"version {before} at {student.address} has other weights than the student "
            "of this run: name that student, or give another --run"
        )
    run.state.base = Version(before, version.weights_sha256, version.contract.processor_sha256)
    if may_load and not version.is_loaded:
        await student.load(before)
    return version


async def require_same_student(run: Run, student: Student) -> None:
    """Raises WrongState if the student's weights have changed since the beginning of the pass.

    A reply names its version, not the weights. So nobody knows which student gave which
    answer, and the run is of no use any more.
    """
    try:
        await settle_base_version(run, student)
    except WrongState as error:
        mixed = f"{str(error).partition(': ')[0]}, and both have answered: give another --run"
        run.state.mixed = mixed
        raise WrongState(mixed) from error


@tracing.stage("train")
async def train(run: Run, student: Student, confirm: Confirm, progress: Progress) -> None:
    if run.state.candidate:
        return
    parity_set = choose(run)
    if not run.state.training_confirmed:
        if not confirm(f"Train {run.state.the_base.name} on {len(parity_set)} samples?"):
            raise Cancelled(DECLINED)
        run.state.training_confirmed = True
    try:
        await level(run, student, parity_set, progress)
    finally:
        write_summary(run)


def choose(run: Run) -> list[ParitySample]:
    """Chooses the parity set.

    Raises NothingToAlign, and WrongState before every image is identified.
    """
    if not run.state.identified:
        raise WrongState(
            f"the run in {run.folder} is not identified yet: "
            f"`mpa-orch identify {run.folder}` does that"
        )
    settle_reviews(run)
    if run.state.outcome is Outcome.NOTHING_TO_ALIGN:  # decided again, perhaps by other reviews
        run.state.outcome = None
    try:
        return write_parity_set(run)
    except NothingToAlign as error:
        run.state.outcome = Outcome.NOTHING_TO_ALIGN
        run.state.reason = str(error)
        raise
    finally:
        write_summary(run)
