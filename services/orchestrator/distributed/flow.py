"""The driver: admits images in the order of the pool, hands out unfinished ones, commits results.

The run's ledger is the checkpoint. Whatever ended a driver or a cluster, resuming hands
out the images that the ledger lacks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from services.core.errors import MpaError
from services.core.parity import Cell
from services.orchestrator import alignment
from services.orchestrator.distributed import cluster
from services.orchestrator.distributed.models import Loaded, Served, Source, loaded
from services.orchestrator.distributed.work import Parcel, Stopped, Work
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.panel import require_teachers
from services.orchestrator.endpoints.where import Where
from services.orchestrator.images.source import Source as Images
from services.orchestrator.production import requests
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.ledger.counts import images_of_source
from services.orchestrator.run.ledger.excerpt import Excerpts
from services.orchestrator.run.ledger.selections import count_unfinished, unfinished
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.run.run import KEPT, Run
from services.orchestrator.run.summary import write_summary
from services.orchestrator.steps import pixels
from services.orchestrator.steps.admission import Admission
from services.orchestrator.steps.forecast import require_way_to_the_end
from services.orchestrator.steps.promotion import Confirm
from services.orchestrator.steps.sampling import take_samples
from services.orchestrator.stream import IDENTIFIED
from services.rpc.client import Student, StudentVersion, Teacher

STALLED_S = 600.0
"""Seconds without progress before a pipeline is given up.

Actors of a lost machine may have no room on the others; a prompt may kill every engine
that gets it.
"""
CLOSING_S = 5.0
IMAGES_AT_ONCE = 200_000
"""Images of one pipeline: they bound the driver's memory, and models are loaded once for them."""
PIPELINES = 3
"""Pipelines in a row that may fail without any result; after that the cluster is at fault."""

T = TypeVar("T")


async def align(
    run: Run, where: Where, labelled: Path | None, confirm: Confirm, progress: Progress
) -> None:
    """A round: PA and PI on the cluster, the rest as elsewhere. Raises NothingToAlign."""
    if not run.state.identified:
        await annotate_and_identify(run, where, progress)
    async with connect.both(where, run.folder, progress) as (teacher, student):
        if not run.state.identified:
            await complete(run, teacher, student, progress)
        await alignment.align(
            run, teacher, student, labelled, confirm, progress, may_try=where.may_try
        )


async def complete(run: Run, teacher: Teacher, student: Student, progress: Progress) -> None:
    """The steps that don't go image by image through the pool: users' requests, and samples.

    Raises WrongState if the student is not the one that the cluster began with.
    """
    await requests.annotate_requests(run, teacher, progress)
    await requests.identify_requests(run, teacher, student, progress)
    await alignment.require_same_student(run, student)
    alignment.require_working_services(run)
    await take_samples(run, teacher, progress)
    run.state.identified = True


async def annotate_and_identify(run: Run, where: Where, progress: Progress) -> None:
    """Annotates and identifies every image, with the same records as the local stream.

    Models without an address are loaded by the actors.
    """
    require_teachers(run, where.teachers)
    base = await _base_version(run, where, progress)
    pixels.compare_student(run, base, progress)
    if not where.starts("teacher"):
        async with connect.teacher_only(where, run.folder, progress) as teacher:
            await pixels.compare_teacher(run, teacher, progress)
    try:
        with cluster.joined(where.ray_address, where.patience_s), run.timed("identify"):
            flow = Flow(run, _sources(run, where, base), progress)
            await flow.admit()
            await flow.identify()
        alignment.require_working_services(run)
        run.state.annotated = True
    finally:
        write_summary(run)


async def _base_version(run: Run, where: Where, progress: Progress) -> StudentVersion:
    """The student's version. A student that the actors load is up only long enough to name it."""
    is_loaded_there = where.starts("student")
    async with connect.student_only(
        where, run.folder, progress, is_serving=not is_loaded_there
    ) as student:
        await require_way_to_the_end(run, student, progress, may_try=where.may_try)
        return await alignment.settle_base_version(run, student, may_load=not is_loaded_there)


def _sources(run: Run, where: Where, base: StudentVersion) -> dict[str, Source]:
    addresses = {
        "teacher": (where.teacher, *where.further_teachers),
        "student": (where.student,),
    }
    sources: dict[str, Source] = {}
    for role, named in addresses.items():
        if where.starts(role):
            sources[role] = loaded(role, cluster.gpus())
        else:
            sources[role] = Served(named, where.patience_s)
    student = sources["student"]
    if isinstance(student, Loaded):
        folder = run.folder.absolute() / "student" / "versions" / base.name
        sources["student"] = replace(
            student,
            model=str(folder),
            system_prompt=base.contract.system_prompt,
            weights_sha256=base.weights_sha256,
            image_processor={},  # the version has its own
        )
    return sources


class Flow:
    """One run on one cluster. After `stalled_s` without progress a pipeline is built again."""

    def __init__(
        self, run: Run, sources: dict[str, Source], progress: Progress, stalled_s: float = STALLED_S
    ) -> None:
        self._run = run
        self._sources = sources
        self._progress = progress
        self._stalled_s = stalled_s
        self._images = run.find_images()
        self._excerpts = Excerpts(run.ledger)
        self._cells: Counter[str] = Counter(run.ledger.cell_counts())

    async def admit(self) -> None:
        """Looks at every new image on the cluster, and admits it here, in order."""
        from services.orchestrator.distributed.pipeline import looked_at

        total = await asyncio.to_thread(self._images.total)
        admission = Admission(self._run)
        if total is not None and self._run.settings.limit:
            total = min(total, self._run.settings.limit)
        with self._progress.stage("look", "images", total) as meter:
            meter.advance(by=images_of_source(self._run.ledger, KEPT), counts=False)
            async with aclosing(_apart(unknown(self._run, self._images))) as pages:
                async for page in pages:
                    async with aclosing(
                        _apart(looked_at(page, self._run.settings.images))
                    ) as blocks:
                        async for block in blocks:
                            with self._run.ledger.at_once():
                                for found in block:
                                    admission.admit(found)
                            meter.advance(by=len(block))
        alignment.tell_ignored(self._run, self._images, self._progress)

    async def identify(self) -> None:
        """Identifies the images.

        Raises the error that stopped one; earlier results are in the ledger.
        """
        total = count_unfinished(self._run.ledger, IDENTIFIED, KEPT)
        with self._progress.stage("identify", "images", total) as meter:
            last = ""
            while parcels := self._unfinished(last):
                last = parcels[-1].path
                await self._identify(parcels, meter)

    async def _identify(self, parcels: list[Parcel], meter: Meter) -> None:
        """Runs pipelines until all is done.

        After a failure the next one gets the images without results.
        """
        left = {parcel.path: parcel for parcel in parcels}
        failures = 0
        while left:
            before = len(left)
            try:
                await self._pass(left, meter)
            except cluster.ClusterFailed as error:
                failures = failures + 1 if len(left) == before else 1
                if failures == PIPELINES:
                    raise
                self._progress.note(
                    f"{error}; beginning again with the {len(left):,} images that are left"
                )

    async def _pass(self, left: dict[str, Parcel], meter: Meter) -> None:
        """Runs a pipeline, and removes from `left` the images with results.

        Raises the first error of an image, after the results of all blocks that had begun.
        """
        from services.orchestrator.distributed.brake import Brake
        from services.orchestrator.distributed.pipeline import identified

        work = Work(self._run.settings, self._run.id, self._run.ledger.metas())
        brake = Brake()
        waiting = set(left)
        begun: set[str] | None = None
        error: MpaError | None = None
        try:
            async with aclosing(
                _apart(identified(list(left.values()), work, self._sources, brake, self._stalled_s))
            ) as blocks:
                async for block in blocks:
                    self._commit(block, meter)
                    for parcel in block:
                        waiting.remove(parcel.path)
                        if not isinstance(parcel.error, Stopped):
                            del left[parcel.path]
                            error = error or parcel.error
                    if begun is None and any(parcel.error for parcel in block):
                        begun = await brake.pull()
                    if begun is not None and begun.isdisjoint(waiting):
                        raise error or cluster.ClusterFailed(
                            "the Ray cluster lost an actor, and the error of its image"
                        )
        except cluster.ClusterFailed:
            if error is None:
                raise
            raise error from None

    def _unfinished(self, after: str) -> list[Parcel]:
        known = self._run.ledger.metas()
        rows = unfinished(self._run.ledger, IDENTIFIED, after, KEPT, IMAGES_AT_ONCE)
        return [Parcel(path, sha256, self._excerpts.take(sha256, known)) for path, sha256 in rows]

    def _commit(self, block: list[Parcel], meter: Meter) -> None:
        with self._run.ledger.at_once():
            for parcel in block:
                self._excerpts.put(parcel.excerpt)
                if parcel.error is None:
                    self._run.ledger.set_step(parcel.image_sha256, IDENTIFIED)
                self._cells.update(
                    str(row["cell"]) for row in parcel.excerpt.rows.get("records", ())
                )
        meter.advance(
            "  ".join(f"{cell} {count}" for cell in Cell if (count := self._cells[cell])),
            by=sum(not isinstance(parcel.error, Stopped) for parcel in block),
        )


def unknown(run: Run, images: Images) -> Generator[list[str], None, None]:
    """Pages of keys of images that the ledger has not seen, in order; only names are read.

    Reads the ledger over a connection of its own, so that any one thread may go through
    it.
    """
    ledger = Ledger(run.folder / "ledger.sqlite", read_only=True)
    try:
        keys = (
            item.key for item in islice(images.walk(lambda _: True), run.settings.limit or None)
        )
        news = (key for key in keys if ledger.image(key) is None)
        while page := list(islice(news, IMAGES_AT_ONCE)):
            yield page
    finally:
        ledger.close()


async def _apart(blocks: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """The values of `blocks`. A thread waits for them, so that the event loop stays free.

    Use it within `aclosing`.
    """
    executor = ThreadPoolExecutor(1, cluster.WAITING)
    loop = asyncio.get_running_loop()
    try:
        while (block := await loop.run_in_executor(executor, next, blocks, None)) is not None:
            yield block
    finally:
        # After a cancelled wait the thread ends with the pipelines of the cluster.
        closing = loop.run_in_executor(executor, blocks.close)
        closing.add_done_callback(lambda closed: closed.cancelled() or closed.exception())
        await asyncio.wait([closing], timeout=CLOSING_S)
        executor.shutdown(wait=False)
