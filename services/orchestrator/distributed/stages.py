"""Stages that run on the cluster's machines: images are looked at in tasks, models work in actors.

A stage does to a batch what the local stream does to an image, by the same functions, in
a ledger of its own that lasts as long as the batch. The rows of that ledger travel to the
next stage and finally to the driver.
"""

from __future__ import annotations

import asyncio
import pickle
import tempfile
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa

from services.core.annotation import Rejection
from services.core.errors import STOPS_THE_RUN, MpaError, WrongState
from services.orchestrator.distributed.brake import Brake
from services.orchestrator.distributed.models import Source
from services.orchestrator.distributed.work import Parcel, Stopped, Work
from services.orchestrator.images.opening import open_images
from services.orchestrator.images.reading import Accepted, RefusedImage, read_again, read_image
from services.orchestrator.run.ledger import SCHEMA_VERSION, AnnotationRow, Ledger
from services.orchestrator.run.ledger.excerpt import Excerpt, Excerpts
from services.orchestrator.run.run import Run
from services.orchestrator.steps.annotation import annotate
from services.orchestrator.steps.identification import identify, student_answer
from services.rpc.client import AnsweringStudent, Picture, Teacher
from services.together import together


class Step(StrEnum):
    """Steps in their order: Eq. 2 needs the teacher only if the student was wrong."""

    ANNOTATE = "annotate"
    ANSWER = "answer"
    IDENTIFY = "identify"


ROLES = {Step.ANNOTATE: "teacher", Step.ANSWER: "student", Step.IDENTIFY: "teacher"}


def to_table(parcels: list[Parcel]) -> pa.Table:
    return pa.table(
        {
            "path": pa.array([parcel.path for parcel in parcels], pa.string()),
            "image_sha256": pa.array([parcel.image_sha256 for parcel in parcels], pa.string()),
            "excerpt": pa.array(
                [parcel.excerpt.to_json() for parcel in parcels], pa.large_string()
            ),
            "error": pa.array([pickle.dumps(parcel.error) for parcel in parcels], pa.binary()),
        }
    )


def from_table(table: pa.Table) -> list[Parcel]:
    rows = table.to_pylist()
    return [
        Parcel(
            row["path"],
            row["image_sha256"],
            Excerpt.from_json(row["excerpt"]),
            pickle.loads(row["error"]),
        )
        for row in rows
    ]


def look(paths: pa.Table, images: str) -> pa.Table:
    """Reads and checks each image as the local stream does; its bytes stay on the machine."""
    source = open_images(images)
    found = [read_image(source, path) for path in paths.column("path").to_pylist()]
    return pa.table(
        {"found": pa.array([pickle.dumps(_without_bytes(one)) for one in found], pa.binary())}
    )


def _without_bytes(found: Accepted | RefusedImage) -> Accepted | RefusedImage:
    return (
        replace(found, picture=Picture(found.picture.sha256, b""))
        if isinstance(found, Accepted)
        else found
    )


class Stage:
    """One step of every image, in an actor that holds one model or one connection to it."""

    def __init__(self, work: Work, step: Step, source: Source, brake: Brake) -> None:
        self._work = work
        self._step = step
        self._source = source
        self._brake = brake
        self._images = open_images(work.settings.images)
        self._model: asyncio.Task[Any] | None = None

    async def __call__(self, batch: pa.Table) -> pa.Table:
        if self._work.schema != SCHEMA_VERSION:
            raise WrongState(
                "a machine of the cluster has another version of this program "
                f"(ledger schema {SCHEMA_VERSION}, the driver's is {self._work.schema}): "
                "install the same on all of them"
            )
        parcels = from_table(batch)
        if not await self._may_work(parcels):
            return to_table([_stopped(parcel) for parcel in parcels])
        with tempfile.TemporaryDirectory(prefix="mpa-stage-") as folder:
            ledger = self._ledger(Path(folder), parcels)
            try:
                run = Run(Path(folder), self._work.run_id, self._work.settings, ledger)
                with ledger.in_batches():
                    done = await self._do(run, parcels)
            finally:
                ledger.close()
        if any(parcel.error for parcel in done):
            await self._brake.pull()
        return to_table(done)

    async def _may_work(self, parcels: list[Parcel]) -> bool:
        if self._step is Step.ANNOTATE:
            return await self._brake.may_begin(parcels[0].path)
        return not await self._brake.is_pulled()

    def _ledger(self, folder: Path, parcels: list[Parcel]) -> Ledger:
        """A ledger like the run's own, with these images alone."""
        ledger = Ledger(folder / "ledger.sqlite")
        ledger.set_metas(self._work.meta)
        ledger.close()
        ledger = Ledger(folder / "ledger.sqlite")
        excerpts = Excerpts(ledger)
        with ledger.at_once():
            for parcel in parcels:
                excerpts.put(parcel.excerpt)
        return ledger

    async def _do(self, run: Run, parcels: list[Parcel]) -> list[Parcel]:
        """Does the step.

        An image with an error stops there; the others of its batch are finished, and none
        is asked about twice.
        """
        errors = await asyncio.gather(*(self._one(run, parcel) for parcel in parcels))
        excerpts = Excerpts(run.ledger)
        return [
            replace(
                parcel, excerpt=excerpts.take(parcel.image_sha256, self._work.meta), error=error
            )
            for parcel, error in zip(parcels, errors, strict=True)
        ]

    async def _one(self, run: Run, parcel: Parcel) -> MpaError | None:
        if parcel.error is not None:
            return parcel.error
        try:
            picture = await asyncio.to_thread(
                read_again,
                self._images,
                parcel.path,
                parcel.image_sha256,
                run.settings.pixel_budget,
            )
            await self._step_of(run, picture)
        except MpaError as error:
            return error
        return None

    async def _step_of(self, run: Run, picture: Picture) -> None:
        model = await self._loaded()
        if self._step is Step.ANNOTATE:
            await annotate(run, model, picture)
            return
        do = _answer if self._step is Step.ANSWER else _identify
        async with together() as group:
            for row in run.ledger.annotations(picture.sha256):
                if not row.rejection:
                    group.create_task(do(run, model, picture, row))

    async def _loaded(self) -> Any:
        """The model, loaded once in the actor's event loop, which it can't leave."""
        if self._model is None:
            load = self._source.teacher if ROLES[self._step] == "teacher" else self._source.student
            self._model = asyncio.ensure_future(load())
        return await self._model


def _stopped(parcel: Parcel) -> Parcel:
    return replace(parcel, error=parcel.error or Stopped("an error of another image stopped it"))


async def _answer(
    run: Run, student: AnsweringStudent, picture: Picture, row: AnnotationRow
) -> None:
    try:
        await student_answer(run, student, picture, row.question)
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        run.ledger.reject(row, Rejection.STUDENT_ERROR, str(error))


async def _identify(run: Run, teacher: Teacher, picture: Picture, row: AnnotationRow) -> None:
    await identify(run, teacher, None, picture, row)
