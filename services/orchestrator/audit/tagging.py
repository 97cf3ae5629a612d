"""Table 8 by machine: each error of a sample gets its category by rule, else by the teacher.

The teacher is asked by its Answer call, so its verdicts are cached; any teacher can be the judge.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.core.decoding import Decoding
from services.core.errors import STOPS_THE_RUN, MpaError, Pending
from services.core.knowledge_gaps import (
    CATEGORIES,
    RULES,
    Category,
    Mistake,
    by_rule,
    judge_prompt,
    read_verdict,
)
from services.core.pixels import PixelBudget
from services.files import write_atomically
from services.orchestrator.audit.candidates import Candidate, after, require_gap, sample
from services.orchestrator.audit.key import DrawnArm, DrawnItem
from services.orchestrator.audit.mistakes import mistake
from services.orchestrator.audit.studies import require_categories
from services.orchestrator.images.shrinking import shrunk
from services.orchestrator.run.bounded import bounded, images_at_once
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.rpc.client import Picture, Teacher

VERDICT = Decoding(max_new_tokens=16)


@dataclass(frozen=True, slots=True)
class Tag:
    """An error and its category; None if undecided.

    `by`: RULES, or the judge's fingerprint; "" if nobody was asked. `said`: the judge's reply, or
    its error.
    """

    drawn: DrawnItem
    mistake: Mistake
    category: Category | None = None
    by: str = ""
    said: str = ""

    @property
    def is_by_rule(self) -> bool:
        return self.by == RULES


@dataclass(frozen=True, slots=True)
class Tagged:
    """`tags` of a sample of the gap's `population` errors; `asked`: the size that was wanted."""

    task: str
    asked: int
    population: int
    tags: Sequence[Tag]


async def tag(
    run: Run, count: int, seed: int, teacher: Teacher | None, progress: Progress
) -> Tagged:
    """Tag the sample that `audit draw --of errors` draws for people.

    `teacher` None: by rules alone. Raises WrongState if there is no gap, InvalidInput if the task
    has no categories, Pending while the judge's provider works on its batch.
    """
    task = run.settings.task
    require_gap(run)
    require_categories(task)
    chosen, population = sample(after(run), count, seed, DrawnArm.AFTER)
    categories = CATEGORIES[task]
    tags = [_by_rule(run, candidate, categories) for candidate in chosen]
    if teacher is not None:
        pairs = list(zip(chosen, tags, strict=True))
        tags = await _by_judge(teacher, pairs, categories, run.settings.pixel_budget, progress)
    return Tagged(task, count, population, tags)


def _by_rule(run: Run, candidate: Candidate, categories: Sequence[Category]) -> Tag:
    found = Tag(candidate.drawn, mistake(run, candidate.drawn))
    category = by_rule(found.mistake, categories)
    return replace(found, category=category, by=RULES) if category else found


async def _by_judge(
    teacher: Teacher,
    tags: Sequence[tuple[Candidate, Tag]],
    categories: Sequence[Category],
    budget: PixelBudget,
    progress: Progress,
) -> list[Tag]:
    found = [tag for _, tag in tags]
    pending: list[Pending] = []
    due = [number for number, tag in enumerate(found) if not tag.category]
    with progress.stage("judge", "errors", len(due)) as meter:

        async def judge(number: int) -> None:
            candidate, tag = tags[number]
            original = Picture(tag.drawn.image_sha256, await asyncio.to_thread(candidate.load))
            picture = await asyncio.to_thread(shrunk, original, budget)
            template = judge_prompt(tag.mistake, categories)
            try:
                reply = await teacher.answer(picture, tag.drawn.question, template, VERDICT)
            except STOPS_THE_RUN:
                raise
            except Pending as error:
                pending.append(error)
            except MpaError as error:
                found[number] = replace(tag, said=str(error))
            else:
                category = read_verdict(reply.answer, categories)
                found[number] = replace(tag, category=category, by=reply.version, said=reply.answer)
            finally:
                meter.advance()

        await bounded(due, judge, images_at_once(teacher.in_flight, budget))
    if pending:
        raise Pending(f"{len(pending):,} errors have to wait for the judge: {pending[0]}")
    return found


def write(tagged: Tagged, path: Path) -> None:
    """Write a line of JSON for each error."""
    write_atomically(
        path, "".join(json.dumps(_line(tag), ensure_ascii=False) + "\n" for tag in tagged.tags)
    )


def _line(tag: Tag) -> dict[str, str | None]:
    return {
        "image": tag.drawn.image,
        "sha256": tag.drawn.image_sha256,
        "question": tag.mistake.question,
        "answer": tag.mistake.reference,
        "student_answer": tag.mistake.prediction,
        "category": tag.category.name if tag.category else None,
        "by": tag.by or None,
        "said": tag.said or None,
    }
