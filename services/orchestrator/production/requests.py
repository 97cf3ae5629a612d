"""Production disagreement: users' questions that the student answered wrong join the gap.

The teacher audits users' requests: its answer to a question, given as in identification,
is the annotation. From there the record is like any other: its image's hash decides
whether it is held out, the student of the round answers, and each round gives it a cell.
But only the teacher supports that answer, and the same model asked in the same way can't
contradict itself. So a record of the gap stays only if most of SAMPLES answers, at a
temperature, agree with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from services.core.agreement import Agreement
from services.core.annotation import MAX_QUESTION_CHARS, Rejection, question_key
from services.core.errors import STOPS_THE_RUN, MpaError
from services.core.parity import Cell
from services.orchestrator.endpoints.panel import panel_of
from services.orchestrator.images.reading import read_image
from services.orchestrator.production.samples import (
    Request,
    keep,
    kept,
    read_requests,
    require_samples,
)
from services.orchestrator.run.bounded import bounded, images_at_once
from services.orchestrator.run.ledger import FAILED, PRODUCTION, AnnotationRow
from services.orchestrator.run.ledger.selections import audited_gap, audited_images
from services.orchestrator.run.matching import NO_ANSWER
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import KEPT, Run
from services.orchestrator.steps.admission import Admission
from services.orchestrator.steps.annotation import failure, unmarked
from services.orchestrator.steps.identification import identify, teacher_answer
from services.orchestrator.steps.sampling import sampled_answer
from services.rpc.client import Picture, Student, Teacher
from services.together import together

SAMPLES = 3
FIRST_NUMBER = 1000
"""Number of the first user's question about an image; the teacher's own are counted from 0."""

Questions = list[tuple[int, str]]
"""Questions about one image, with their numbers."""
Work = Callable[[str], Coroutine[Any, Any, None]]


def set_folders(run: Run, folders: Sequence[Path]) -> None:
    """Sets the folders of this command: any round may begin to learn from production.

    Raises NotFound if a folder isn't there.
    """
    require_samples(folders)
    run.state.production = tuple(str(folder.absolute()) for folder in folders)


def is_asked_for(run: Run) -> bool:
    return bool(_folders(run))


def _folders(run: Run) -> list[Path]:
    return [Path(folder) for folder in run.state.production]


async def annotate_requests(run: Run, teacher: Teacher, progress: Progress) -> None:
    """Gets the teacher's answer to every sampled question that isn't in the run yet."""
    requests = await asyncio.to_thread(read_requests, _folders(run))
    due = await _admitted(
        run, {image: _due(run, image, asked) for image, asked in requests.items()}, requests
    )

    async def one(image_sha256: str) -> None:
        picture = await asyncio.to_thread(kept, run, image_sha256)
        async with together() as group:
            for number, question in due[image_sha256]:
                group.create_task(_annotate(run, teacher, picture, number, question))

    await _over(run, teacher, list(due), one, progress, "audit")


async def _admitted(
    run: Run, due: Mapping[str, Questions], requests: Mapping[str, Sequence[Request]]
) -> dict[str, Questions]:
    """Questions about images that the run uses, by the same rules as for those of its source.

    An image that is in the source, too, is the same image.
    """
    admission = Admission(run)
    source = run.find_images()
    found: dict[str, Questions] = {}
    for image_sha256, questions in due.items():
        if not questions or not await asyncio.to_thread(
            keep, run, image_sha256, requests[image_sha256]
        ):
            continue
        key = KEPT + image_sha256
        if run.ledger.path_of(image_sha256) or admission.admit(
            await asyncio.to_thread(read_image, source, key)
        ):
            found[image_sha256] = questions
    return found


def _due(run: Run, image_sha256: str, requests: Sequence[Request]) -> Questions:
    """Questions that have no answer yet. A question keeps its number over interruptions."""
    rows = run.ledger.annotations(image_sha256)
    known = {
        question_key(row.text if row.origin == PRODUCTION else row.question): row for row in rows
    }
    taken = {row.number for row in rows}
    free = (number for number in count(FIRST_NUMBER) if number not in taken)
    due: Questions = []
    for request in requests:
        row = known.get(question_key(request.question))
        if row is None:
            due.append((next(free), request.question))
        elif row.rejection in FAILED and not row.question:
            due.append((row.number, request.question))
    return due


async def _annotate(run: Run, teacher: Teacher, picture: Picture, number: int, asked: str) -> None:
    """Adds an annotation.

    `text` is the user's question; `question` is "" if there is no usable answer.
    """
    answer, rejection, detail = "", "", ""
    if len(asked) > MAX_QUESTION_CHARS:
        rejection = str(Rejection.QUESTION_TOO_LONG)
    else:
        try:
            answer = (await teacher_answer(run, teacher, picture, asked)).strip()
            rejection = _fault(run, answer)
        except STOPS_THE_RUN:
            raise
        except MpaError as error:
            rejection, detail = str(failure(error)), str(error)
    question = "" if rejection else asked
    row = AnnotationRow(
        image_sha256=picture.sha256,
        number=number,
        attempt=0,
        text=asked,
        question=question,
        answer=answer,
        rejection=rejection,
        seed=0,
        model_fingerprint="",
        detail=detail,
        origin=PRODUCTION,
    )
    run.ledger.add_annotation(row)


def _fault(run: Run, answer: str) -> str:
    if not answer:
        return str(Rejection.NO_ANSWER)
    is_long = len(answer.split()) > run.settings.the_task.max_answer_words
    return str(Rejection.ANSWER_TOO_LONG) if is_long else ""


async def identify_requests(
    run: Run, teacher: Teacher, student: Student, progress: Progress
) -> None:
    """Gives every audited record, those of earlier rounds included, its cell in this round."""
    images = audited_images(run.ledger)

    async def one(image_sha256: str) -> None:
        rows = _audited(run, image_sha256)
        picture = await asyncio.to_thread(kept, run, image_sha256)
        async with together() as group:
            for row in rows:
                group.create_task(identify(run, teacher, student, picture, unmarked(run, row)))

    await _over(run, teacher, images, one, progress, "compare")
    await require_agreement(run, teacher, progress)


def _audited(run: Run, image_sha256: str) -> list[AnnotationRow]:
    """Annotations that stand, even if a later call about them failed."""
    rows = run.ledger.annotations(image_sha256)
    return [
        row
        for row in rows
        if row.origin == PRODUCTION and row.question and row.rejection in ("", *FAILED)
    ]


async def require_agreement(run: Run, teacher: Teacher, progress: Progress) -> None:
    """Rejects records of the gap whose annotation the teacher doesn't repeat."""
    images = audited_gap(run.ledger)

    async def one(image_sha256: str) -> None:
        picture = await asyncio.to_thread(kept, run, image_sha256)
        async with together() as group:
            for row in _audited(run, image_sha256):
                if run.ledger.cell(image_sha256, row.number) == Cell.GAP:
                    group.create_task(_ask_again(run, teacher, picture, unmarked(run, row)))

    await _over(run, teacher, images, one, progress, "agree")


async def _ask_again(run: Run, teacher: Teacher, picture: Picture, row: AnnotationRow) -> None:
    member = panel_of(teacher)[0]
    try:
        async with together() as group:
            asked = [
                group.create_task(sampled_answer(run, member, picture, row.question, 0, number))
                for number in range(SAMPLES)
            ]
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        run.ledger.reject(row, failure(error), str(error))
        return
    given = [
        answer
        for task in asked
        if (answer := task.result()).provenance.finish_reason not in NO_ANSWER
    ]
    found = Agreement(
        sum(run.settings.the_matcher.matches(answer.answer, row.answer) for answer in given),
        SAMPLES,
    )
    if found.is_outvoted:
        run.ledger.reject(
            row, Rejection.LOW_AGREEMENT, f"{found.agreed} of {found.asked} samples agree"
        )


async def _over(
    run: Run, teacher: Teacher, images: Sequence[str], work: Work, progress: Progress, name: str
) -> None:
    """Works on the images in a stage. Most runs audit nothing and have no such stage."""
    if not images:
        return
    with progress.stage(name, "images", len(images)) as meter:

        async def one(image_sha256: str) -> None:
            await work(image_sha256)
            meter.advance()

        at_once = images_at_once(teacher.in_flight, run.settings.pixel_budget)
        await bounded(images, one, at_once)
