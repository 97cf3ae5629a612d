"""Label noise: teachers answer again, several times at a temperature, about each training sample.

A record whose samples agree too little with the annotation is rejected
(Rejection.LOW_AGREEMENT). If a rehearsed record is rejected, the next in the order of the
draw replaces it and is sampled, too; one that replaces a record that people rejected later is not.
The set is the same however often a run is interrupted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from services.core.agreement import Agreement
from services.core.annotation import Rejection
from services.core.errors import STOPS_THE_RUN, MpaError, Pending
from services.orchestrator.endpoints.panel import panel_of, require_same_teacher
from services.orchestrator.images.reading import read_again
from services.orchestrator.run.bounded import bounded, images_at_once
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow
from services.orchestrator.run.ledger.opinions import Label, OpinionKind, add_opinion, agreements
from services.orchestrator.run.matching import NO_ANSWER
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.corrections import settle_reviews
from services.orchestrator.steps.parity_set import ParitySample, chosen
from services.rpc.client import Picture, Teacher
from services.together import together

ROLE = "sample"
"""Role of sampled answers, apart from blind ones, which are compared and exported."""


async def take_samples(run: Run, teacher: Teacher, progress: Progress) -> None:
    """Samples until every record of the parity set has its samples and none agrees too little.

    The whole gap comes first, since the size of the rehearsal depends on how much of it
    stays.
    """
    recipe = run.settings.recipe
    if not recipe.samples:
        return
    settle_reviews(run)
    with run.timed("sample"):
        for ratio, max_share in ((0.0, 1.0), (recipe.rehearsal_ratio, recipe.max_share_per_kind)):
            while True:
                parity_set = chosen(run, ratio, max_share)
                known = agreements(run.ledger, run.settings.teachers)
                due = [parity for parity in parity_set if parity.label not in known]
                if not due and not _reject_low(run, parity_set, known):
                    break
                await _sample(run, teacher, due, progress)


def _reject_low(
    run: Run, parity_set: Sequence[ParitySample], known: Mapping[Label, Agreement]
) -> bool:
    """Rejects records with low agreement. Returns whether there were any.

    A record that people have reviewed stays: their verdict is above the samples.
    """
    least = run.settings.recipe.min_agreement
    low = [
        parity for parity in parity_set if not parity.reviewed and known[parity.label].share < least
    ]
    with run.ledger.at_once():
        for parity in low:
            row = next(
                row
                for row in run.ledger.annotations(parity.sample.image_sha256)
                if _is_of(row, parity)
            )
            found = known[parity.label]
            run.ledger.reject(
                row, Rejection.LOW_AGREEMENT, f"{found.agreed} of {found.asked} samples agree"
            )
    return bool(low)


def _is_of(row: AnnotationRow, parity: ParitySample) -> bool:
    return (row.question, row.answer, row.rejection) == (
        parity.sample.question,
        parity.sample.answer,
        "",
    )


async def _sample(
    run: Run, teacher: Teacher, due: Sequence[ParitySample], progress: Progress
) -> None:
    """Stores opinions when all are in, so that a failing teacher leaves none.

    Answers that were given are never asked for again. Raises Pending while a provider's
    batch is under way, and MpaError if a teacher failed most of its calls. A teacher that
    fails a few has no opinion there.
    """
    by_image: dict[str, list[ParitySample]] = defaultdict(list)
    for parity in due:
        by_image[parity.path].append(parity)
    source = run.find_images()
    sampling = _Sampling(run, panel_of(teacher))
    with progress.stage("sample", "records", len(due)) as meter:

        async def one(path: str) -> None:
            of_image = by_image[path]
            picture = await asyncio.to_thread(
                read_again,
                source,
                path,
                of_image[0].sample.image_sha256,
                run.settings.pixel_budget,
            )
            async with together() as group:
                for parity in of_image:
                    group.create_task(sampling.hear(picture, parity.label)).add_done_callback(
                        lambda _: meter.advance()
                    )

        # Neighbours in the source are read together.
        at_once = images_at_once(teacher.in_flight, run.settings.pixel_budget)
        await bounded(sorted(by_image), one, at_once)
    sampling.store()


class _Sampling:
    """Asks every teacher about labels, and remembers answers and failures of each seat."""

    def __init__(self, run: Run, panel: Sequence[Teacher]) -> None:
        self._run = run
        self._panel = panel
        self._opinions: dict[tuple[Label, int], Agreement] = {}
        self._failures: dict[int, list[MpaError]] = defaultdict(list)

    async def hear(self, picture: Picture, label: Label) -> None:
        async with together() as group:
            for seat in range(len(self._panel)):
                group.create_task(self._hear_one(picture, label, seat))

    async def _hear_one(self, picture: Picture, label: Label, seat: int) -> None:
        async with together() as group:
            asked = [
                group.create_task(self._ask(picture, label[1], seat, number))
                for number in range(self._run.settings.recipe.samples)
            ]
        given = [answer for task in asked if (answer := task.result()) is not None]
        matches = self._run.settings.the_matcher.matches
        self._opinions[label, seat] = Agreement(
            sum(matches(answer, label[2]) for answer in given), len(given)
        )

    async def _ask(self, picture: Picture, question: str, seat: int, number: int) -> str | None:
        """One answer; None if it was declined, cut off or failed."""
        try:
            row = await sampled_answer(
                self._run, self._panel[seat], picture, question, seat, number
            )
        except STOPS_THE_RUN:
            raise
        except MpaError as error:
            self._failures[seat].append(error)
            return None
        return None if row.provenance.finish_reason in NO_ANSWER else row.answer

    def store(self) -> None:
        asked = len(self._opinions) // len(self._panel) * self._run.settings.recipe.samples
        for failures in self._failures.values():
            if pending := [error for error in failures if isinstance(error, Pending)]:
                raise Pending(f"{len(pending)} samples have to wait: {pending[0]}")
            if 2 * len(failures) > asked:
                raise MpaError(
                    f"a teacher failed on {len(failures)} of {asked} samples "
                    f"({failures[0]}): read its log, then repeat the command"
                )
        with self._run.ledger.at_once():
            for (label, seat), opinion in self._opinions.items():
                add_opinion(self._run.ledger, label, seat, OpinionKind.SAMPLE, opinion)


async def sampled_answer(
    run: Run, teacher: Teacher, picture: Picture, question: str, seat: int, number: int
) -> AnswerRow:
    """Sample `number` of this teacher's answer. It is asked for at most once.

    The ledger keeps it under the version "FINGERPRINT#NUMBER".
    """
    known = run.ledger.answer(picture.sha256, question, ROLE, f"{run.state.teacher(seat)}#{number}")
    if known is not None:
        return known
    settings = run.settings
    decoding = settings.sample_decoding(picture.sha256, question, number)
    reply = await teacher.answer(picture, question, settings.recipe.answer_template, decoding)
    require_same_teacher(run, teacher, reply.version, seat)
    row = AnswerRow(
        image_sha256=picture.sha256,
        question=question,
        role=ROLE,
        version=f"{reply.version}#{number}",
        answer=reply.answer,
        conditions=settings.sample_conditions,
        step="sample",
        provenance=reply.provenance,
    )
    run.ledger.add_answer(row)
    return row
