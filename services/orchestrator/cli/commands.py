"""Work of each command, given its run: reach the services, take the steps, return the result."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.core import extras
from services.core.errors import InvalidInput, NothingToAlign, WrongState
from services.files import written_whole
from services.orchestrator import alignment, in_turn, rounds
from services.orchestrator.audit import tagging
from services.orchestrator.audit.tagging import Tagged
from services.orchestrator.cli.request import NO_GUARDS, GuardChoice
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.billing import within
from services.orchestrator.endpoints.budget import NO_LIMITS, Limits
from services.orchestrator.endpoints.where import Where
from services.orchestrator.exports.model_folder import complete
from services.orchestrator.images.folder import Folder
from services.orchestrator.images.reading import RefusedImage, read_image
from services.orchestrator.images.store import open_store
from services.orchestrator.production import requests
from services.orchestrator.quotes import quote as quoting
from services.orchestrator.rounds import ONE_ROUND, StoppingRule
from services.orchestrator.run.history import has_new_reviews
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.state import Outcome
from services.orchestrator.run.summary import Summary, write_summary
from services.orchestrator.run.verdict import find_subject
from services.orchestrator.steps import confrontation, evaluation, promotion
from services.orchestrator.steps.forecast import require_way_to_level
from services.orchestrator.steps.guard_sets import set_guards
from services.orchestrator.steps.labelled import read_labelled
from services.orchestrator.steps.leaks import look_for_leaks
from services.orchestrator.steps.promotion import Confirm
from services.rpc.client import VersionList, VersionPointers


async def align(
    run: Run,
    where: Where,
    labelled: Path | None,
    confirm: Confirm,
    progress: Progress,
    rule: StoppingRule = ONE_ROUND,
    limits: Limits = NO_LIMITS,
    production: Sequence[Path] = (),
    guards: GuardChoice = NO_GUARDS,
) -> Summary:
    """The whole run. `limits` hold over all commands that work on it.

    Raises NothingToAlign, also when repeated, and BudgetSpent before the limits are exceeded.
    """
    run, where = _acquainted(run, where)
    if labelled is not None:
        read_labelled(labelled)
    set_guards(run, guards.paths, guards.tolerance)
    rounds.set_rule(run, rule)
    await look_for_leaks(run, labelled, progress)
    requests.set_folders(run, production)
    if not rounds.is_finished(run, labelled):
        async with within(limits, run, where.cache) as budget:
            await _align(run, replace(where, budget=budget), labelled, confirm, progress)
    elif production:
        progress.note(
            f"round {run.ledger.round} is over: further requests are audited in the next one "
            "(--rounds)"
        )
    elif has_new_reviews(run.ledger):
        progress.note(
            f"round {run.ledger.round} is over: reviews since are for the next one (--rounds)"
        )
    if run.ledger.round == 1 and run.state.outcome is Outcome.NOTHING_TO_ALIGN:
        raise NothingToAlign(run.state.reason)
    return write_summary(run)


async def _align(
    run: Run, where: Where, labelled: Path | None, confirm: Confirm, progress: Progress
) -> None:
    if where.is_single_device:
        takes_turns = in_turn.takes_a_device(where)
        one = partial(
            in_turn.align, run, where, labelled, confirm, progress, teacher_takes_turns=takes_turns
        )
        await rounds.repeat(run, one)
    elif where.is_ray:
        extras.require("ray", "ray", "--engine ray")
        from services.orchestrator.distributed import flow

        await rounds.repeat(run, partial(flow.align, run, where, labelled, confirm, progress))
    else:
        async with connect.both(where, run.folder, progress) as (teacher, student):
            one = partial(
                alignment.align,
                run,
                teacher,
                student,
                labelled,
                confirm,
                progress,
                may_try=where.may_try,
            )
            await rounds.repeat(run, one)


async def annotate(run: Run, where: Where, progress: Progress) -> Summary:
    run, where = _acquainted(run, where)
    await look_for_leaks(run, None, progress)
    if not run.state.annotated:
        async with connect.teacher_only(where, run.folder, progress) as teacher:
            await alignment.annotate_only(run, teacher, progress)
    return write_summary(run)


async def identify(run: Run, where: Where, progress: Progress) -> Summary:
    """Raises NothingToAlign if the gap is too small to train on."""
    run, where = _acquainted(run, where)
    if not run.state.annotated:
        raise WrongState(
            f"the run in {run.folder} is not annotated yet: repeat its `mpa-orch annotate`"
        )
    if not run.state.identified:
        async with connect.both(where, run.folder, progress) as (teacher, student):
            await alignment.annotate_and_identify(run, teacher, student, progress)
    alignment.choose(run)
    return write_summary(run)


async def level(
    run: Run, where: Where, confirm: Confirm, progress: Progress, *, reviewed: bool = False
) -> Summary:
    """`reviewed`: people's reviews decide on labels."""
    run, where = _acquainted(run, where)
    if run.state.candidate is None:
        run.state.uses_reviews = reviewed
        alignment.choose(run)
        async with connect.student_only(where, run.folder, progress) as student:
            await require_way_to_level(run, student)
            await alignment.train(run, student, confirm, progress)
    return write_summary(run)


async def evaluate(
    run: Run,
    where: Where,
    labelled: Path | None,
    progress: Progress,
    guards: GuardChoice = NO_GUARDS,
) -> Summary:
    run, where = _acquainted(run, where)
    evaluation.require_candidate(run)
    set_guards(run, guards.paths, guards.tolerance)
    await look_for_leaks(run, labelled, progress)
    if (
        labelled is not None
        and read_labelled(labelled)
        and not evaluation.is_evaluated(run, labelled)
    ):
        async with connect.both(where, run.folder, progress) as (teacher, student):
            await evaluation.evaluate(
                run, student, teacher, labelled, progress, may_try=where.may_try
            )
    elif not evaluation.is_evaluated(run, labelled):
        async with connect.student_only(where, run.folder, progress) as student:
            await evaluation.evaluate(run, student, None, None, progress, may_try=where.may_try)
    return write_summary(run)


async def promote(
    run: Run, where: Where, confirm: Confirm, progress: Progress, *, force: bool
) -> Summary:
    run, where = _acquainted(run, where)
    found = run.state.evaluation
    if found is None:
        raise WrongState(
            f"the candidate of {run.folder} is not evaluated yet: "
            f"`mpa-orch evaluate {run.folder}` does that"
        )
    outcome = run.state.outcome
    if not outcome and not force and not evaluation.is_evaluated(run, None):
        raise WrongState(
            f"the candidate of {run.folder} is not evaluated with its guard sets yet: "
            f"`mpa-orch evaluate {run.folder}` does that, or --force promotes without it"
        )
    if not outcome or (force and outcome is not Outcome.PROMOTED):
        async with connect.student_only(where, run.folder, progress) as student:
            await promotion.promote(run, student, found.decision, confirm, progress, force=force)
    return write_summary(run)


async def quote(
    run: Run,
    where: Where,
    pilot: int,
    devices: int,
    limits: Limits,
    progress: Progress,
    guards: GuardChoice = NO_GUARDS,
) -> quoting.Quote:
    """`pilot`: number of images, 0 for the usual share. `devices`: number used at the same time."""
    set_guards(run, guards.paths, guards.tolerance)
    async with within(limits, run, where.cache) as budget:
        return await quoting.quote(
            run,
            replace(where, budget=budget, run=run.id),
            pilot,
            devices,
            limits.usd_per_hour,
            progress,
        )


async def confront(run: Run, where: Where, labelled: Path, progress: Progress) -> None:
    """Asks both models the labelled questions of a verdict."""
    run, where = _acquainted(run, where)
    subject = find_subject(run.ledger)
    read_labelled(labelled)
    await look_for_leaks(run, labelled, progress)
    async with connect.both(where, run.folder, progress) as (teacher, student):
        await confrontation.confront(run, teacher, student, subject, labelled, progress)


async def rollback(folder: Path, where: Where, progress: Progress) -> VersionPointers:
    """`folder`: the run whose student starts, with --local."""
    async with connect.student_only(where, folder, progress) as student:
        return await student.rollback()


async def stored_versions(folder: Path, where: Where, progress: Progress) -> VersionList:
    """`folder`: the run whose student starts, with --local."""
    async with connect.student_only(where, folder, progress, is_serving=False) as student:
        return await student.stored()


async def export_version(
    folder: Path, where: Where, name: str, output: Path, progress: Progress
) -> str:
    """Writes a version as a model folder of the hub; the SHA-256 of its weights.

    `folder` as above. Raises MpaError: `output` exists; InvalidInput: the files are damaged.
    """
    with written_whole(output) as target:
        async with connect.student_only(where, folder, progress, is_serving=False) as student:
            version = await student.version(name)
            await student.export(name, target)
        await asyncio.to_thread(complete, target, version)
    return version.weights_sha256


async def delete_versions(
    folder: Path, where: Where, names: Sequence[str], progress: Progress, *, unload: bool = False
) -> int:
    """Bytes that the versions took. `folder` as above."""
    async with connect.student_only(where, folder, progress, is_serving=False) as student:
        return sum([await student.delete(name, unload=unload) for name in names])


async def ask(
    image: Path, question: str, version: str, folder: Path | None, where: Where, progress: Progress
) -> str:
    """The student's answer, with the version that gave it."""
    found = read_image(Folder(open_store(str(image.absolute().parent))), image.name)
    if isinstance(found, RefusedImage):
        raise InvalidInput(f"{image}: {found.detail}")
    with tempfile.TemporaryDirectory(prefix="mpa-ask-") as nowhere:
        async with connect.student_only(where, folder or Path(nowhere), progress) as student:
            reply = await student.answer(found.picture, question, version=version)
    return f"{reply.answer}  (version {reply.version})"


async def tag_errors(
    run: Run, where: Where | None, count: int, seed: int, progress: Progress
) -> Tagged:
    """`where` None: by rules alone, no teacher is asked."""
    if where is None:
        return await tagging.tag(run, count, seed, None, progress)
    run, where = _acquainted(run, where)
    async with connect.teacher_only(where, run.folder, progress) as teacher:
        return await tagging.tag(run, count, seed, teacher, progress)


def _acquainted(run: Run, where: Where) -> tuple[Run, Where]:
    return replace(run, patience_s=where.patience_s), replace(where, run=run.id)
