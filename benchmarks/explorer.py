"""The explorer over a run of 1,000,000 records: every view, facet and search over real HTTP.

    python -m benchmarks.explorer

The ledger has 1,000,000 annotations of as many images. `mpa-orch ui` serves it in a process of its
own, which makes its catalogue first (`catalogue_s`, also of the second start: `again_s`). Then each
view is asked for in turn, with other words, facets and pages each time. The figure is the 95th
percentile of the slowest view; the row of the memory is the most that the process had while it
answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.folders import BUILD
from benchmarks.row import MILLISECONDS, Question, Row, percentile
from services.core.agreement import Agreement
from services.core.evaluation import Judgement, compare, should_promote
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.questions import question_kind
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
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import Outcome, State, Version

RECORDS = 1_000_000
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
REJECTED_EVERY, SAMPLED_EVERY, HELD_OUT_EVERY, REFUSED_EVERY = 20, 10, 10, 100

ASKED = 20
"""Times that each view is asked for, times `--runs`."""
SLOWEST = Question(
    name="explorer-views",
    what="explorer, 95th percentile of its slowest view",
    other="-",
    model="scripted",
    engine="-",
    unit="ms",
    at_most=200.0,
)
MEMORY = Question(
    name="explorer-memory",
    what="explorer, most memory while it answers",
    other="-",
    model="scripted",
    engine="-",
    unit="MiB",
    at_most=200.0,
)


def ledger_of(count: int) -> Path:
    """A run's folder, filled once for all measurements with this schema."""
    folder = BUILD / f"explorer-{SCHEMA_VERSION}-{count}" / "run"
    if not folder.exists():
        with written_whole(folder) as target:
            fill(target, count)
    return folder


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


@dataclass(frozen=True, slots=True)
class Served:
    """The explorer in a process of its own."""

    process: subprocess.Popen[str]
    address: str

    def memory_mib(self) -> float:
        """Most resident memory of the process so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "ui", str(folder)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Served(process, process.stdout.readline().split("/runs")[0])
        finally:
            process.send_signal(signal.SIGINT)


def until_catalogued(client: httpx.Client) -> float:
    """Seconds until every record is counted."""
    began = time.perf_counter()
    while not client.get("/runs/run/overview.json").json()["renewed"]["is_complete"]:
        time.sleep(0.5)
    return time.perf_counter() - began


def addresses(client: httpx.Client, drawn: random.Random, count: int) -> dict[str, str]:
    """An address of each view, another one each time."""
    records = "/runs/run/records"
    kind = question_kind(f"{drawn.choice(OPENINGS)} the").replace(" ", "+")
    cell, other = drawn.sample(tuple(Cell), 2)
    number = drawn.randrange(count)
    page = client.get(f"{records}.json?cell={cell}&after={number}").json()["records"][0]
    key = f"{page['image_sha256']}-0-0"
    word, place = drawn.choice(THINGS), drawn.choice(PLACES)
    return {
        "list of runs": "/runs",
        "overview": "/runs/run/overview",
        "all records": records,
        "page": f"{records}?after={number}",
        "cell": f"{records}?cell={cell}",
        "cells": f"{records}?cell={cell}&cell={other}&after={number}",
        "cell and kind": f"{records}?cell={cell}&kind={kind}",
        "rejected": f"{records}?rejected=duplicate&after={number}",
        "fixed": f"{records}?result=fixed&kind={kind}",
        "newest": f"{records}?cell={cell}&order=newest",
        "least agreement": f"{records}?cell={cell}&order=agreement",
        "highest loss": f"{records}?order=loss",
        "highest loss, kind": f"{records}?kind={kind}&order=loss",
        "highest loss, page": f"{records}?order=loss&after={drawn.expovariate(2.0)!r}_{number}",
        "sure and wrong": f"{records}?cell=gap&order=sure",
        "least sure, page": f"{records}?order=unsure&after={-drawn.expovariate(1.0)!r}_{number}",
        "least sure, right": f"{records}?cell=known&result=broken&order=unsure",
        "least sure, word": f"{records}?q={word}&order=unsure",
        "record by certainty": f"{records}/{key}?order=unsure",
        "frequent word": f"{records}?q={word}",
        "frequent words, cell": f"{records}?q=the+{word}+{place}&cell={cell}&after={number}",
        "phrase": f"{records}?q=%22the+{word}%22&kind={kind}",
        "rare word": f"{records}?q={number}",
        "no such word": f"{records}?q=zebra{number}&cell={cell}",
        "record": f"{records}/{key}?cell={cell}",
        "records as JSON": f"{records}.json?cell={cell}&held_out=yes",
    }


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        for row in await asyncio.to_thread(measure_views, given):
            yield row


def measure_views(given: Arguments) -> list[Row]:
    count = given.share(RECORDS)
    folder = ledger_of(count)
    for made in folder.glob("explorer.sqlite*"):
        made.unlink()
    with served(folder.parent) as explorer, httpx.Client(base_url=explorer.address) as client:
        catalogue_s = until_catalogued(client)
    with (
        served(folder.parent) as explorer,
        httpx.Client(base_url=explorer.address, timeout=60) as client,
    ):
        again_s = until_catalogued(client)
        taken = ask(client, count, ASKED * given.runs)
        memory_mib = explorer.memory_mib()
    rates = {view: percentile(seconds, 95) for view, seconds in taken.items()}
    for view, seconds in taken.items():
        print(f"{view:<22} p50 {percentile(seconds, 50):7.1f} ms   p95 {rates[view]:7.1f} ms")
    ledger, catalogue = (
        (folder / name).stat().st_size // 2**20 for name in ("ledger.sqlite", "explorer.sqlite")
    )
    about = {"records": count, "ledger_mib": ledger, "catalogue_mib": catalogue}
    figures = {view: round(rate, 1) for view, rate in rates.items()}
    slowest = SLOWEST.counted(
        max(rates.values()),
        ASKED * given.runs,
        **about,
        catalogue_s=round(catalogue_s, 1),
        again_s=round(again_s, 1),
        **figures,
    )
    return [slowest, MEMORY.counted(memory_mib, 1, **about)]


def ask(client: httpx.Client, count: int, times: int) -> dict[str, list[float]]:
    """Milliseconds of each view, `times` times each, after once that isn't measured."""
    drawn = random.Random(0)
    taken: dict[str, list[float]] = {}
    for turn in range(times + 1):
        for view, address in addresses(client, drawn, count).items():
            began = time.perf_counter()
            client.get(address).raise_for_status()
            if turn:
                taken.setdefault(view, []).append(MILLISECONDS * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    arguments.run([measure], __doc__)
