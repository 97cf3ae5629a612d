"""A finished run of any size, with reviews, written row by row for the benchmark explorer.py."""

from __future__ import annotations

import hashlib
import random
from contextlib import closing
from itertools import islice
from pathlib import Path

from benchmarks.folders import BUILD
from services.core.agreement import Agreement
from services.core.evaluation import Judgement, compare, should_promote
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.questions import question_kind
from services.core.reviews import checked_review
from services.core.usage import Usage
from services.files import written_whole
from services.orchestrator.run.evaluation import RunEvaluation
from services.orchestrator.run.ledger import (
    SCHEMA_VERSION,
    AnnotationRow,
    AnswerRow,
    ImageRow,
    Ledger,
)
from services.orchestrator.run.ledger.losses import keep_losses
from services.orchestrator.run.ledger.opinions import Label, OpinionKind, add_opinion
from services.orchestrator.run.ledger.review_book import FILE, writing_reviews
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import Outcome, State, Version

AT_ONCE = 10_000
PROVENANCE = Provenance(FinishReason.STOP, Usage(900, 20, 0, 0.0001))
TEACHER = "t" * 64
OPENINGS = (
    "what color is", "what is the shape of", "how many", "is there", "which side is", "where is",
    "what number is on", "who holds", "what brand is", "does it show", "why is", "what kind of",
    "what time is", "how big is", "which animal is near", "what does the label say about",
)  # fmt: skip
THINGS = ("cube", "sphere", "sign", "car", "dog", "cup", "street", "table", "person", "tree")
PLACES = ("left", "right", "top", "bottom", "middle", "corner", "front", "back")
ANSWERS = ("red", "blue", "two", "yes", "no", "stop", "a wooden chair", "seven", "the left side")
EPOCHS = 3
REVIEWED_EVERY = 20
REJECTED_EVERY, SAMPLED_EVERY, HELD_OUT_EVERY, REFUSED_EVERY = 20, 10, 10, 100


def ledger_of(count: int) -> Path:
    """A run's folder, filled once for all measurements with this schema."""
    folder = BUILD / f"explorer-{SCHEMA_VERSION}-{count}" / "run"
    if not folder.exists():
        with written_whole(folder) as target:
            fill(target, count)
    if not (folder / FILE).exists():
        review(folder)
    return folder


def review(folder: Path) -> None:
    """Reviews of two people who differ now and then."""
    with (
        closing(Ledger(folder / "ledger.sqlite", read_only=True)) as ledger,
        writing_reviews(folder) as book,
        book.at_once(),
    ):
        records = enumerate(islice(ledger.records(), 0, None, REVIEWED_EVERY))
        for number, record in records:
            label = record.image_sha256, record.question, record.answer
            for reviewer, every in (("Ann", 5), ("Bob", 7)):
                said = ("correct", f"answer {number}") if number % every == 0 else ("accept", "")
                checked = checked_review(reviewer, *said, at=number)
                book.add(ledger.shelf(record.image_sha256), label, checked)


def fill(folder: Path, count: int) -> None:
    """A finished run: a record per image, some of them rejected, sampled, held out and judged."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite")
    state = State(ledger)
    state.id = "explorer"
    state.settings = new_settings("/pool", "vqa", "paper").to_json()
    state.base, state.candidate = Version("v1"), Version("v2")
    state.set_teacher(0, TEACHER)
    judged: list[Judgement] = []
    try:
        learned: dict[Label, list[float]] = {}
        for first in range(0, count, AT_ONCE):
            with ledger.at_once():
                for number in range(first, min(first + AT_ONCE, count)):
                    _add(ledger, number, judged, learned)
        with ledger.at_once():
            keep_losses(ledger, learned)
        comparison = compare(judged)
        decision = should_promote(comparison)
        state.evaluation = RunEvaluation(comparison, decision)
        state.outcome, state.reason = Outcome.NOT_PROMOTED, decision.reason
        for stage in ("annotate", "identify", "evaluate"):
            state.add_seconds(stage, count / 50)
    finally:
        ledger.close()


def _add(
    ledger: Ledger, number: int, judged: list[Judgement], learned: dict[Label, list[float]]
) -> None:
    drawn = random.Random(number)
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    path = f"folder/{number:07}.png"
    if number % REFUSED_EVERY == 1:
        ledger.add_image(ImageRow(f"{path}.again", sha256, "duplicate", f"is {path}"))
    is_held_out = number % HELD_OUT_EVERY == 2
    ledger.add_image(ImageRow(path, sha256, held_out=is_held_out, step=2))
    thing, place = drawn.choice(THINGS), drawn.choice(PLACES)
    question = f"{drawn.choice(OPENINGS)} the {thing} number {number} at the {place} of the image?"
    reference, student = drawn.choice(ANSWERS), drawn.choice(ANSWERS)
    reply = f"Question: {question} Answer: {reference}"
    reason = drawn.choice(("no_question", "duplicate")) if number % REJECTED_EVERY == 0 else ""
    ledger.add_annotation(
        AnnotationRow(
            sha256, 0, 0, reply, question, reference, reason, number, TEACHER, provenance=PROVENANCE
        )
    )
    if reason:
        return
    asked = (sha256, question)
    logprob = -drawn.expovariate(1.0)
    ledger.add_answer(
        AnswerRow(*asked, "student", "v1", student, "c" * 16, "identify", PROVENANCE, logprob)
    )
    cell = drawn.choice(tuple(Cell))
    if cell is not Cell.UNASKED:
        ledger.add_answer(
            AnswerRow(*asked, "teacher", TEACHER, reference, "c" * 16, "identify", PROVENANCE)
        )
    ledger.add_record(sha256, 0, cell, "exact@1", "exact@1")
    if number % SAMPLED_EVERY == 3:
        opinion = Agreement(drawn.randint(0, 4), 4)
        add_opinion(ledger, (sha256, question, reference), 0, OpinionKind.SAMPLE, opinion)
    if cell is Cell.GAP and not is_held_out:
        learned[sha256, question, reference] = [drawn.expovariate(1.0 + n) for n in range(EPOCHS)]
    if is_held_out:
        ledger.add_answer(
            AnswerRow(*asked, "student", "v2", student, "c" * 16, "evaluate", PROVENANCE, logprob)
        )
        before, after = drawn.choice((0.0, 1.0)), drawn.choice((0.0, 1.0))
        kind = question_kind(question)
        ledger.add_score("held_out", *asked, "before", "v1", kind, before)
        ledger.add_score("held_out", *asked, "after", "v2", kind, after)
        judged.append(Judgement(kind, before, after))
