"""The draw of an audit: so many of each arm, by seed, mixed, and blind.

What an arm draws depends on the seed and on its candidates, on nothing else: the same command draws the same items again. An
item's id is its place in the mixed order, and its image is coded anew, so neither tells where it is from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from pathlib import Path

from services.core.errors import InvalidInput, WrongState
from services.files import written_whole
from services.orchestrator.audit.candidates import Candidate, after, before, require_identified, written_by_people
from services.orchestrator.audit.criteria import CRITERIA, GUIDE, TASKS_FOR_RATERS
from services.orchestrator.audit.key import KEY, PAGE, Arm, Key
from services.orchestrator.audit.page import data_uri, render
from services.orchestrator.audit.sheet import Item, Sheet
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.progress import Meter, Progress
from services.orchestrator.run import Run


def draw(run: Run, count: int, seed: int, human: Dataset | None, folder: Path, progress: Progress) -> Key:
    """Writes page and key into `folder`, which isn't there yet; `count` items of each arm, or as many as there are.

    Raises WrongState where the run is not identified or its gap is empty; InvalidInput where an image is gone.
    """
    require_identified(run)
    arms = {Arm.BEFORE: before(run), Arm.AFTER: after(run)}
    if human is not None:
        arms[Arm.HUMAN] = written_by_people(human)
    samples = {arm: _sample(candidates, count, f"{seed} {arm}") for arm, candidates in arms.items()}
    if not samples[Arm.AFTER][0]:
        raise WrongState(f"the gap of the run in {run.folder} is empty: there is nothing after PI to audit")
    if human is not None and not samples[Arm.HUMAN][0]:
        raise InvalidInput(f"{human.path} holds no question: name another --human")
    chosen = _numbered([sample for sample, _ in samples.values()], seed)
    populations = {arm: population for arm, (_, population) in samples.items()}
    items = {name: candidate.drawn for name, candidate in chosen.items()}
    key = Key("", run.id, run.ledger.round, run.settings.task, seed, count, populations, items)
    key = replace(key, audit=hashlib.sha256(key.to_json().encode()).hexdigest()[:12])
    with written_whole(folder) as target, progress.stage("draw", "images", len(chosen)) as meter:
        guide = f"{GUIDE} The task: {TASKS_FOR_RATERS[key.task]}"
        questions = [criterion.question for criterion in CRITERIA]
        sheet = Sheet(key.audit, "Questions and answers", guide, questions, list(_items(chosen, meter)))
        target.mkdir()
        (target / PAGE).write_text(render(sheet), encoding="utf-8")
        (target / KEY).write_text(key.to_json(), encoding="utf-8")
    return key


def _sample(candidates: Iterable[Candidate], count: int, seed: str) -> tuple[list[Candidate], int]:
    """`count` of them, each as likely as any other, and how many there are. Memory for those alone that it returns."""
    population = 0

    def counted() -> Iterator[Candidate]:
        nonlocal population
        for candidate in candidates:
            population += 1
            yield candidate

    return nsmallest(count, counted(), key=lambda candidate: _lot(seed, candidate)), population


def _lot(seed: str, candidate: Candidate) -> bytes:
    return hashlib.sha256(f"{seed}\n{candidate.name}".encode()).digest()


def _numbered(samples: Sequence[Sequence[Candidate]], seed: int) -> Mapping[str, Candidate]:
    """Mixed; what several arms drew is one item."""
    merged: dict[str, Candidate] = {}
    for candidate in (candidate for sample in samples for candidate in sample):
        drawn = candidate.drawn
        if known := merged.get(candidate.name):
            drawn = replace(drawn, arms=known.drawn.arms + drawn.arms)
        merged[candidate.name] = replace(candidate, drawn=drawn)
    mixed = sorted(merged.values(), key=lambda candidate: _lot(f"{seed} order", candidate))
    width = len(str(len(mixed)))
    return {f"{number:0{width}}": candidate for number, candidate in enumerate(mixed, 1)}


def _items(chosen: Mapping[str, Candidate], meter: Meter) -> Iterator[Item]:
    for name, candidate in chosen.items():
        drawn = candidate.drawn
        yield Item(name, data_uri(candidate.load()), (("Question", drawn.question), ("Answer", drawn.answer)))
        meter.advance()
