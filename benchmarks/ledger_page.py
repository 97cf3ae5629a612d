"""The first page of a ledger with 1,000,000 records: `mpa-orch runs list`, `runs show`, filters.

    python -m benchmarks.ledger_page

Each reading opens the run again, as a command does, and takes 20 records. The figure is the median
of the slowest one: a search for a word that no question contains, which reads all questions.
Starting Python is not included.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.folders import BUILD
from benchmarks.row import Question, Row
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.files import written_whole
from services.orchestrator.run.entries import read_entries
from services.orchestrator.run.ledger import (
    SCHEMA_VERSION,
    AnnotationRow,
    AnswerRow,
    ImageRow,
    Ledger,
)
from services.orchestrator.run.ledger.search import Filter
from services.orchestrator.run.listing import list_runs
from services.orchestrator.run.run import read_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import State, Version

RECORDS = 1_000_000
PAGE = 20
AT_ONCE = 10_000
REJECTED_EVERY = 20
ASKED_EVERY = 2
PROVENANCE = Provenance(FinishReason.STOP, Usage(900, 20))
TEACHER = "t" * 64
PAGES = {
    "show": Filter(),
    "show --cell gap": Filter(cells=(Cell.GAP,)),
    "show --cell gap --cell known": Filter(cells=(Cell.GAP, Cell.KNOWN)),
    "show --rejected no_question": Filter(rejection="no_question"),
    "show --question cube": Filter(question="cube"),
    "show --question zebra": Filter(question="zebra"),
}


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        yield await asyncio.to_thread(measure_pages, given)


def measure_pages(given: Arguments) -> Row:
    count = given.share(RECORDS)
    folder = ledger_of(count)
    readings: dict[str, Callable[[], object]] = {"list": lambda: list_runs(folder.parent)}
    for name, chosen in PAGES.items():
        readings[name] = partial(first_page, folder, chosen)
    seconds: dict[str, list[float]] = {name: [] for name in readings}
    for _ in range(given.runs + 1):
        for name, read in readings.items():
            began = time.perf_counter()
            read()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken[1:]) for name, taken in seconds.items()}
    question = Question(
        name="ledger-page",
        what=f"ledger open, list, filter on {count:,} records, first page",
        other="-",
        model="scripted",
        engine="-",
        unit="s",
        at_most=0.3,
        conditions={"page": PAGE, "ledger_mib": (folder / "ledger.sqlite").stat().st_size // 2**20},
    )
    return question.counted(
        max(medians.values()),
        given.runs,
        **{name: round(median, 4) for name, median in medians.items()},
    )


def first_page(folder: Path, chosen: Filter) -> int:
    with read_run(folder) as run:
        return len(list(read_entries(run.ledger, chosen, PAGE)))


def ledger_of(count: int) -> Path:
    """A run's folder, filled once for all measurements with this schema."""
    folder = BUILD / f"ledger-{SCHEMA_VERSION}-{count}" / "run"
    if not folder.exists():
        with written_whole(folder) as target:
            fill(target, count)
    return folder


def fill(folder: Path, count: int) -> None:
    """A record per image: a twentieth rejected, half of the others answered by the teacher, too."""
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite")
    state = State(ledger)
    state.settings = new_settings("/pool", "vqa", "paper").to_json()
    state.base = Version("v1")
    state.set_teacher(0, TEACHER)
    try:
        for first in range(0, count, AT_ONCE):
            with ledger.at_once():
                for number in range(first, min(first + AT_ONCE, count)):
                    _add(ledger, number)
    finally:
        ledger.close()


def _add(ledger: Ledger, number: int) -> None:
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    thing = ("cube", "sphere", "sign", "car")[number % 4]
    question = f"what color is the {thing} number {number} at the left of the image?"
    is_rejected = number % REJECTED_EVERY == 0
    ledger.add_image(ImageRow(f"folder/{number:07}.png", sha256, step=2))
    reply = f"Question: {question} Answer: red"
    rejection = "no_question" if is_rejected else ""
    ledger.add_annotation(
        AnnotationRow(
            sha256, 0, 0, reply, question, "red", rejection, number, TEACHER, provenance=PROVENANCE
        )
    )
    if is_rejected:
        return
    ledger.add_answer(
        AnswerRow(sha256, question, "student", "v1", "blue", "c" * 16, "identify", PROVENANCE)
    )
    if number % ASKED_EVERY:
        ledger.add_answer(
            AnswerRow(sha256, question, "teacher", TEACHER, "red", "c" * 16, "identify", PROVENANCE)
        )
    cell = tuple(Cell)[number % len(Cell)]
    ledger.add_record(sha256, 0, cell, "exact@1", "exact@1")


if __name__ == "__main__":
    arguments.run([measure], __doc__)
