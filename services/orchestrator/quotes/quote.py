"""A quote: cost and duration of a run over the whole pool, from a pilot through the same steps.

The pilot takes its stages in turn, so that the time of each is one service's own. Its
teacher calls are then in the cache, so the run that follows doesn't pay for them again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.core.errors import NothingToAlign
from services.core.intervals import Interval, wilson
from services.core.parity import STUDENT_RIGHT, Cell
from services.core.usage import Usage
from services.orchestrator import alignment, in_turn
from services.orchestrator.endpoints import connect
from services.orchestrator.endpoints.where import Where
from services.orchestrator.images.opening import open_images
from services.orchestrator.quotes.pilot import draw
from services.orchestrator.quotes.training import Training, learn_pace, predict_training
from services.orchestrator.run.ledger import counts
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.evaluation import JUDGED
from services.orchestrator.steps.guard_sets import guard_cases

OVERLAPPING = ("annotate", "answer", "identify")
ROLES = {
    "annotate": "teacher",
    "answer": "student",
    "identify": "teacher",
    "sample": "teacher",
    "evaluate": "student",
}


@dataclass(frozen=True, slots=True)
class QuotedStage:
    """A stage of the whole run. `seconds` is None if the cache answered every call of the pilot."""

    name: str
    role: str
    calls: int
    seconds: float | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Quote:
    """Cost and duration of the whole run. None if there is no time to estimate from."""

    pool: int
    """Number of images."""
    pilot: int
    """Images of the pilot, and how many of them were `usable`."""
    usable: int
    saved_calls: int
    """Calls of the pilot that the cache answered."""
    stages: tuple[QuotedStage, ...]
    parity_set: Interval
    """Number of samples."""
    training: Training
    wall_s: float | None
    """Whole duration, with the training if its time is known.

    Annotation and identification overlap if the services have machines of their own.
    """
    gpu_hours: float | None
    """Hours of all devices for the whole time."""
    devices_usd: float | None
    provider_usd: float
    pilot_usd: float
    """Part of the provider's bill that the pilot has paid, or the cache has saved."""


async def quote(
    run: Run, where: Where, size: int, devices: int, usd_per_hour: float, progress: Progress
) -> Quote:
    """Makes the quote. Repeated on the same run, it continues."""
    await _draw(run, size, progress)
    if not run.state.identified:
        if where.is_single_device and in_turn.takes_a_device(where):
            with suppress(NothingToAlign):
                await in_turn.annotate_and_identify_in_turn(run, where, None, progress)
            async with connect.student_only(
                where, run.folder, progress, is_serving=False
            ) as student:
                await learn_pace(run, student, progress)
        else:
            async with connect.both(where, run.folder, progress) as (teacher, student):
                await alignment.annotate_only(run, teacher, progress)
                await alignment.settle_base_version(run, student)
                await in_turn.answer(run, student, progress)
                await in_turn.decide(run, teacher, progress)
                await learn_pace(run, student, progress)
    shares_a_machine = where.is_local or where.is_single_device
    return predict(run, devices, usd_per_hour, shares_a_machine=shares_a_machine)


async def _draw(run: Run, size: int, progress: Progress) -> None:
    if run.state.pilot:
        return
    settings = run.settings
    source = open_images(settings.images)
    drawn = await asyncio.to_thread(draw, source, size, settings.limit, settings.seed)
    if ignored := str(source.ignored):
        progress.note(f"ignored, never read: {ignored}: no label is used")
    run.state.pilot = drawn


def predict(run: Run, devices: int, usd_per_hour: float, *, shares_a_machine: bool) -> Quote:
    ledger = run.ledger
    drawn = run.state.pilot
    assert drawn is not None
    pool = drawn.pool
    pilot = len(drawn.keys)
    seconds = run.state.seconds
    found = {
        name: counts.stage_calls(ledger, name)
        for name in counts.FINISHED
        if name != "sample" or run.settings.recipe.samples
    }
    stages = [_stage(name, *found[name], seconds.get(name, 0.0), pool / pilot) for name in found]
    judged = sum(record.held_out and record.cell in JUDGED for record in ledger.records())
    stages.append(_evaluation(stages[1], found["answer"][0], judged))
    if guards := guard_cases(run):
        questions = sum(len(cases) for _, cases, _ in guards)
        stages.append(_guard(stages[1], found["answer"][0], 2 * questions, pool / pilot))
    gap, parity_set = _parity_set(run, pool, pilot)
    training = predict_training(run, gap, parity_set.expected)
    wall_s = _wall_s(stages, shares_a_machine=shares_a_machine)
    if wall_s is not None:
        wall_s += training.seconds or 0.0
    usable = counts.usable_images(ledger)
    return Quote(
        pool=pool,
        pilot=pilot,
        usable=usable,
        saved_calls=sum(finished - made for finished, made, _ in found.values()),
        stages=tuple(stages),
        parity_set=parity_set,
        training=training,
        wall_s=wall_s,
        gpu_hours=None if wall_s is None else devices * wall_s / 3600,
        devices_usd=None if wall_s is None or not usd_per_hour else usd_per_hour * wall_s / 3600,
        provider_usd=sum(stage.usage.cost_usd for stage in stages),
        pilot_usd=sum(usage.cost_usd for _, _, usage in found.values()),
    )


def _stage(
    name: str, finished: int, made: int, usage: Usage, pilot_s: float, factor: float
) -> QuotedStage:
    calls = round(finished * factor)
    seconds = pilot_s / made * calls if made else None if finished else 0.0
    return QuotedStage(name, ROLES[name], calls, seconds, _scaled(usage, factor))


def _evaluation(answer: QuotedStage, answered: int, judged: int) -> QuotedStage:
    """The candidate's answers to held-out questions; the live version's are known."""
    share = judged / answered if answered else 0.0
    seconds = None if answer.seconds is None else answer.seconds * share
    return QuotedStage(
        name="evaluate",
        role=ROLES["evaluate"],
        calls=round(answer.calls * share),
        seconds=seconds,
        usage=_scaled(answer.usage, share),
    )


def _guard(answer: QuotedStage, answered: int, calls: int, factor: float) -> QuotedStage:
    """Answers of both versions to guard sets, each as long as one to the pilot's questions."""
    share = calls / (answered * factor) if answered else 0.0
    seconds = None if answer.seconds is None else answer.seconds * share
    return QuotedStage("guard", "student", calls, seconds, _scaled(answer.usage, share))


def _scaled(usage: Usage, factor: float) -> Usage:
    return Usage(
        prompt_tokens=round(usage.prompt_tokens * factor),
        completion_tokens=round(usage.completion_tokens * factor),
        cached_prompt_tokens=round(usage.cached_prompt_tokens * factor),
        cost_usd=usage.cost_usd * factor,
    )


def _wall_s(stages: Sequence[QuotedStage], *, shares_a_machine: bool) -> float | None:
    """Seconds without the training; None if a stage's time is unknown."""
    side_by_side = [stage for stage in stages if stage.name in OVERLAPPING]
    after_s = _total(stage.seconds for stage in stages if stage.name not in OVERLAPPING)
    teacher_s = _total(stage.seconds for stage in side_by_side if stage.role == "teacher")
    student_s = _total(stage.seconds for stage in side_by_side if stage.role == "student")
    if teacher_s is None or student_s is None or after_s is None:
        return None
    return after_s + (teacher_s + student_s if shares_a_machine else max(teacher_s, student_s))


def _total(seconds: Iterable[float | None]) -> float | None:
    known = list(seconds)
    return None if None in known else sum(each for each in known if each is not None)


def _parity_set(run: Run, pool: int, pilot: int) -> tuple[float, Interval]:
    """Training samples: the gap alone, and with the rehearsal, outside the held-out images.

    A trial is an image, not a question: questions about one image have similar results,
    and counting them apart would promise more than the pilot knows.
    """
    recipe = run.settings.recipe
    cells = Counter(record.cell for record in run.ledger.records() if not record.held_out)
    per_image = recipe.questions_per_image
    gap = wilson(cells[Cell.GAP] / per_image, pilot, pool).times(pool * per_image)
    known = sum(cells[cell] for cell in STUDENT_RIGHT) * pool / pilot

    def with_rehearsal(samples: float) -> float:
        ratio = recipe.rehearsal_ratio
        return round(samples + (known if ratio is None else min(ratio * samples, known)))

    return gap.expected, Interval(
        with_rehearsal(gap.expected), with_rehearsal(gap.low), with_rehearsal(gap.high)
    )
