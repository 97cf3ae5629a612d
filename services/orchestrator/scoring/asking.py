"""Asking one respondent every question of some data sets that has no stored answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

from services.core.decoding import Decoding
from services.core.errors import STOPS_THE_RUN, InvalidImage, MpaError, Pending
from services.core.pixels import UNLIMITED, PixelBudget
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.run.bounded import bounded, images_at_once
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.scoring.predictions import Kept, predicted
from services.orchestrator.scoring.respondents import Respondent
from services.rpc.client import Picture

IMAGES_REMEMBERED = 64
"""Most data sets list the questions about an image together, so that it is read once."""

Claim = Callable[[str], None]
"""Called with the model of each answer; raises WrongState if it isn't the model of before."""


class Asking:
    def __init__(
        self,
        respondent: Respondent,
        template: str,
        decoding: Decoding,
        budget: PixelBudget,
        kept: Kept,
        claim: Claim,
    ) -> None:
        self._respondent = respondent
        self._template = template
        self._decoding = decoding
        self._kept = kept
        self._claim = claim
        self._pending: list[Pending] = []
        self._budget = budget
        read = partial(read_picture, budget=budget)
        self._read = lru_cache(IMAGES_REMEMBERED)(read)

    async def ask(
        self, datasets: Sequence[Dataset], questions: int, limit: int, progress: Progress
    ) -> None:
        """Ask every question that has no answer yet. `limit`: questions per data set, 0 for all.

        Raises Pending after the last question if answers come in a provider's batch.
        """
        with progress.stage("evaluate", "questions", questions) as meter:

            def unanswered() -> Iterator[tuple[Dataset, LabelledRecord]]:
                for dataset in datasets:
                    for record in islice(dataset.read(), limit or None):
                        if self._kept.has((dataset.name, record.id)):
                            meter.advance(counts=False)
                        else:
                            yield dataset, record

            async def one(question: tuple[Dataset, LabelledRecord]) -> None:
                await self._ask(*question, meter)

            at_once = images_at_once(self._respondent.in_flight, self._budget)
            await bounded(unanswered(), one, at_once)
        if self._pending:
            raise Pending(f"{len(self._pending):,} questions have to wait: {self._pending[0]}")

    async def _ask(self, dataset: Dataset, record: LabelledRecord, meter: Meter) -> None:
        found = await asyncio.to_thread(picture_of, dataset, record, self._budget, self._read)
        if isinstance(found, str):
            self._fail(dataset, record, found, meter)
            return
        try:
            said = await self._respondent.answer(
                found, record.question, self._template, self._decoding
            )
        except STOPS_THE_RUN:
            raise
        except Pending as error:
            self._pending.append(error)
            return
        except MpaError as error:
            self._fail(dataset, record, str(error), meter)
            return
        self._claim(said.by)
        self._kept.add(
            predicted(dataset.name, record, said.answer, said.finish_reason, usage=said.usage)
        )
        meter.advance()

    def _fail(self, dataset: Dataset, record: LabelledRecord, reason: str, meter: Meter) -> None:
        self._kept.add(predicted(dataset.name, record, "", error=reason or "no reason given"))
        meter.advance(f"failed: {reason}")


def picture_of(
    dataset: Dataset,
    record: LabelledRecord,
    budget: PixelBudget = UNLIMITED,
    read: Callable[[Path], Picture | str] | None = None,
) -> Picture | str:
    """The picture within the budget, or why there is none.

    `read` takes the place of `read_picture`.
    """
    if record.data:
        return _checked(record.data, budget)
    file = dataset.images.find(record.image)
    if file is None:
        return f"there is no image {record.image}"
    return read(file) if read else read_picture(file, budget)


def read_picture(file: Path, budget: PixelBudget = UNLIMITED) -> Picture | str:
    try:
        return _checked(file.read_bytes(), budget)
    except OSError as error:
        return f"{file} can't be read: {error.strerror}"


def _checked(data: bytes, budget: PixelBudget) -> Picture | str:
    from services.engines.images import load_image
    from services.orchestrator.images.shrinking import as_sent

    try:
        return as_sent(load_image(data), budget)
    except InvalidImage as error:
        return str(error)
