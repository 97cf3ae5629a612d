"""Many questions to several models: an image is read once, for all its questions to all models."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass

from services.core.errors import STOPS_THE_RUN, MpaError, Pending
from services.orchestrator.images.reading import Accepted, RefusedImage
from services.orchestrator.run.bounded import bounded
from services.orchestrator.run.progress import Meter, Progress
from services.rpc.client import Picture
from services.together import together

Respond = Callable[[Picture, str], Coroutine[None, None, str]]
Read = Callable[[str], Accepted | RefusedImage]
"""Reads the image of a case's path, in any thread."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question with its references.

    `path` is its key in the source; `image_sha256` is "" until it is known.
    """

    path: str
    image_sha256: str
    question: str
    references: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Sat:
    """A case with the answer of each respondent."""

    case: Case
    image_sha256: str
    answers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exam:
    """Answers to all cases.

    `sat` is in the order of the cases; `skipped` counts questions that could not be asked
    (unusable image, refused question).
    """

    sat: tuple[Sat, ...]
    skipped: int


async def sit(
    read: Read,
    cases: Sequence[Case],
    respondents: Mapping[str, Respond],
    progress: Progress,
    name: str,
    at_once: int,
) -> Exam:
    """Puts every case to every respondent. `at_once`: number of images under way.

    Answers are in the ledger, so an interrupted exam continues.

    Raises Pending, once everything is asked, if answers come in a provider's batch.
    """
    by_image: dict[str, list[int]] = defaultdict(list)
    for number, case in enumerate(cases):
        by_image[case.path].append(number)
    sat: dict[int, Sat] = {}
    pending: list[Pending] = []
    with progress.stage(name, "questions", len(cases)) as meter:

        async def one(path: str) -> None:
            numbers = by_image[path]
            await _sit_image(read, path, cases, numbers, respondents, sat, pending, meter)

        await bounded(by_image, one, at_once)
    if pending:
        raise Pending(f"{len(pending)} questions have to wait: {pending[0]}")
    return Exam(tuple(sat[number] for number in sorted(sat)), len(cases) - len(sat))


async def _sit_image(
    read: Read,
    path: str,
    cases: Sequence[Case],
    numbers: Sequence[int],
    respondents: Mapping[str, Respond],
    sat: dict[int, Sat],
    pending: list[Pending],
    meter: Meter,
) -> None:
    found = await asyncio.to_thread(read, path)
    if isinstance(found, RefusedImage):
        meter.advance(f"skipped: {found.detail}", by=len(numbers))
        return
    picture = found.picture

    async def put(number: int) -> None:
        case = cases[number]
        try:
            async with together() as group:
                asked = {
                    name: group.create_task(respond(picture, case.question))
                    for name, respond in respondents.items()
                }
        except STOPS_THE_RUN:
            raise
        except Pending as error:
            pending.append(error)
            return
        except MpaError as error:
            meter.advance(f"skipped: {error}")
            return
        sat[number] = Sat(
            case, picture.sha256, {name: task.result() for name, task in asked.items()}
        )
        meter.advance()

    async with together() as group:
        for number in numbers:
            group.create_task(put(number))
