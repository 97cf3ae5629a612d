"""A run on a device with room for one model: its stages take turns, each with one service.

1. The student, serving nothing, tells whether it can be trained here.
2. The teacher annotates.
3. The student answers every question.
4. The teacher answers if the student was wrong, and the labelled questions.
5. The student trains, serving nothing.
6. The student is evaluated and promoted.

The records are the same as side by side: a model's answers wait in the ledger until the
other one is up. A teacher that takes no device here (it has an address, or is a
provider's) stays up next to the student; training is alone even then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from services.core.annotation import Rejection
from services.core.errors import STOPS_THE_RUN, InvalidInput, MpaError
from services.orchestrator import alignment
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.images.reading import read_again
from services.orchestrator.production import requests
from services.orchestrator.run.bounded import bounded, images_at_once
from services.orchestrator.run.ledger import FAILED, AnnotationRow
from services.orchestrator.run.ledger.selections import images_in_use
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps import pixels
from services.orchestrator.steps.annotation import unmarked
from services.orchestrator.steps.forecast import require_way_to_the_end
from services.orchestrator.steps.identification import identify, student_answer, teacher_answer
from services.orchestrator.steps.labelled import labelled_images, read_labelled
from services.orchestrator.steps.promotion import Confirm
from services.orchestrator.steps.questioning import sit
from services.orchestrator.steps.sampling import take_samples
from services.orchestrator.stream import IDENTIFIED
from services.rpc.client import Picture, Student, Teacher
from services.together import together

IMAGES_AT_ONCE = 256

Work = Callable[[Picture, AnnotationRow], Coroutine[Any, Any, object]]


def takes_a_device(where: Where, variables: Mapping[str, str] = os.environ) -> bool:
    """Whether the teacher's model is on this machine, where the student needs the device, too."""
    return not where.teacher and variables.get("MPA_TEACHER_ENGINE") != "openai"


async def align(
    run: Run,
    where: Where,
    labelled: Path | None,
    confirm: Confirm,
    progress: Progress,
    *,
    teacher_takes_turns: bool,
) -> None:
    """Runs the stages; each looks in the ledger first.

    Raises NothingToAlign if the student is at parity, and InvalidInput if its recipe repairs: the
    student, which serves nothing while it trains, would have to answer between trainings.
    """
    recipe = run.settings.recipe
    if recipe.repairs and run.state.candidate is None:
        raise InvalidInput(
            f"the recipe {recipe.name} asks the student between its trainings, and one device has "
            "no room for that: leave out --single-device, or give a recipe without +repair and "
            "another --run",
            field="recipe",
        )
    if not (run.state.annotated or run.state.identified):
        async with connect.student_only(where, run.folder, progress, is_serving=False) as student:
            await require_way_to_the_end(run, student, progress, may_try=where.may_try)
    if teacher_takes_turns:
        await annotate_and_identify_in_turn(run, where, labelled, progress)
    elif not run.state.identified:
        async with connect.both(where, run.folder, progress) as (teacher, student):
            await alignment.annotate_and_identify(run, teacher, student, progress)
    if run.state.candidate is None:
        alignment.choose(run)
        async with connect.student_only(where, run.folder, progress, is_serving=False) as student:
            await alignment.train(run, student, confirm, progress)
    if labelled is not None and not teacher_takes_turns:
        async with connect.both(where, run.folder, progress) as (teacher, student):
            await alignment.evaluate_and_promote(
                run, teacher, student, labelled, confirm, progress, may_try=where.may_try
            )
    else:
        async with connect.student_only(where, run.folder, progress) as student:
            await alignment.evaluate_and_promote(
                run, None, student, labelled, confirm, progress, may_try=where.may_try
            )
    progress.note(
        f"to serve the student: MPA_STUDENT_STORE={run.folder.absolute() / 'student'} "
        "mpa-orch serve student"
    )


async def annotate_and_identify_in_turn(
    run: Run, where: Where, labelled: Path | None, progress: Progress
) -> None:
    if not run.state.annotated:
        async with connect.teacher_only(where, run.folder, progress) as teacher:
            await alignment.annotate_only(run, teacher, progress)
    if not (run.state.answered or run.state.identified):
        async with connect.student_only(where, run.folder, progress) as student:
            base = await alignment.settle_base_version(run, student)
            pixels.compare_student(run, base, progress)
            await answer(run, student, progress)
    if not run.state.identified or _is_labelled_due(run, labelled):
        async with connect.teacher_only(where, run.folder, progress) as teacher:
            await decide(run, teacher, progress)
            alignment.choose(run)
            if labelled is not None:
                await answer_labelled(run, teacher, labelled, progress)


async def answer(run: Run, student: Student, progress: Progress) -> None:
    """The student answers every usable annotation's question.

    Failed calls are recorded as `identify` does.
    """
    base = run.state.the_base.name

    def is_due(row: AnnotationRow) -> bool:
        return run.ledger.answer(row.image_sha256, row.question, "student", base) is None

    async def ask(picture: Picture, row: AnnotationRow) -> None:
        try:
            await student_answer(run, student, picture, row.question)
        except STOPS_THE_RUN:
            raise
        except MpaError as error:
            run.ledger.reject(row, Rejection.STUDENT_ERROR, str(error))

    await _over_images(run, "answer", is_due, ask, progress)
    alignment.require_working_services(run)
    run.state.answered = True


async def decide(run: Run, teacher: Teacher, progress: Progress) -> None:
    """The teacher answers if necessary, and every record gets its cell."""
    if run.state.identified:
        return

    def is_due(row: AnnotationRow) -> bool:
        return row.rejection != Rejection.STUDENT_ERROR and not run.ledger.cell(
            row.image_sha256, row.number
        )

    async def ask(picture: Picture, row: AnnotationRow) -> None:
        await identify(run, teacher, None, picture, row)

    await _over_images(run, "identify", is_due, ask, progress, step=IDENTIFIED)
    await requests.require_agreement(run, teacher, progress)
    alignment.require_working_services(run)
    await take_samples(run, teacher, progress)
    run.state.identified = True


async def answer_labelled(run: Run, teacher: Teacher, labelled: Path, progress: Progress) -> None:
    """Gets the teacher's answers for `evaluate`, while it is up."""
    respondents = {"teacher": partial(teacher_answer, run, teacher, step="evaluate")}
    with run.timed("evaluate"):
        await sit(
            run.reading(labelled_images(labelled)),
            read_labelled(labelled),
            respondents,
            progress,
            "labelled",
            images_at_once(teacher.in_flight, run.settings.pixel_budget),
        )
    run.state.labelled = str(labelled.absolute())


def _is_labelled_due(run: Run, labelled: Path | None) -> bool:
    return labelled is not None and run.state.labelled != str(labelled.absolute())


async def _over_images(
    run: Run,
    name: str,
    is_due: Callable[[AnnotationRow], bool],
    ask: Work,
    progress: Progress,
    step: int = 0,
) -> None:
    """Does `ask` for every usable annotation that is due, an image at a time.

    The image is at `step` afterwards.
    """
    source = run.find_images()
    images = images_in_use(run.ledger)
    with run.timed(name), progress.stage(name, "images", len(images)) as meter:

        def due_images() -> Iterator[tuple[str, str, list[AnnotationRow]]]:
            for path, image_sha256 in images:
                rows = run.ledger.annotations(image_sha256)
                due = [row for row in rows if _is_usable(row) and is_due(row)]
                if due:
                    yield path, image_sha256, due
                else:
                    run.ledger.set_step(image_sha256, step)
                    meter.advance(counts=False)

        async def one(of_image: tuple[str, str, list[AnnotationRow]]) -> None:
            path, image_sha256, due = of_image
            budget = run.settings.pixel_budget
            picture = await asyncio.to_thread(read_again, source, path, image_sha256, budget)
            async with together() as group:
                for row in due:
                    group.create_task(ask(picture, unmarked(run, row)))
            run.ledger.set_step(image_sha256, step)
            meter.advance()

        await bounded(due_images(), one, IMAGES_AT_ONCE)


def _is_usable(row: AnnotationRow) -> bool:
    """Whether the question stands, even if the call that answered it failed."""
    return bool(row.question) and row.rejection in ("", *FAILED)
