"""The draw of an audit: N items of each arm, by seed, mixed, and blind.

The items of an arm depend on the seed and its candidates alone: the same command draws the same
items again. An item's id is its place in the mixed order, and its image is encoded again, so
neither reveals its origin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import written_whole
from services.orchestrator.audit.candidates import (
    Candidate,
    after,
    before,
    lot,
    require_gap,
    sample,
    written_by_people,
)
from services.orchestrator.audit.key import KEY, PAGE, AuditSubject, DrawnArm, DrawnItem, Key
from services.orchestrator.audit.mistakes import mistake
from services.orchestrator.audit.page import data_uri, render
from services.orchestrator.audit.sheet import Sheet, SheetItem
from services.orchestrator.audit.studies import study
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.run.progress import Meter, Progress
from services.orchestrator.run.run import Run

Texts = tuple[tuple[str, str], ...]


def draw(
    run: Run,
    subject: AuditSubject,
    count: int,
    seed: int,
    human: Dataset | None,
    folder: Path,
    progress: Progress,
) -> Key:
    """Write page and key into the new `folder`: at most `count` items of each arm.

    Raises WrongState if the run isn't identified or its gap is empty; InvalidInput if an image is
    missing.
    """
    require_gap(run)
    about = study(subject, run.settings.task)
    arms = {DrawnArm.AFTER: after(run)}
    if subject is AuditSubject.ANNOTATIONS:
        arms = {DrawnArm.BEFORE: before(run), **arms}
    if human is not None:
        arms[DrawnArm.HUMAN] = written_by_people(human)
    samples = {arm: sample(candidates, count, seed, arm) for arm, candidates in arms.items()}
    if human is not None and not samples[DrawnArm.HUMAN][0]:
        raise InvalidInput(f"{human.path} holds no question: name another --human")
    chosen = _numbered([candidates for candidates, _ in samples.values()], seed)
    populations = {arm: population for arm, (_, population) in samples.items()}
    items = {name: candidate.drawn for name, candidate in chosen.items()}
    key = Key(
        audit="",
        subject=subject,
        run=run.id,
        round=run.ledger.round,
        task=run.settings.task,
        seed=seed,
        asked=count,
        populations=populations,
        items=items,
    )
    key = replace(key, audit=hashlib.sha256(key.to_json().encode()).hexdigest()[:12])
    with written_whole(folder) as target, progress.stage("draw", "images", len(chosen)) as meter:
        shown = _items(run, subject, chosen, meter)
        sheet = Sheet(key.audit, about.title, about.guide, about.questions, shown)
        target.mkdir()
        (target / PAGE).write_text(render(sheet), encoding="utf-8")
        (target / KEY).write_text(key.to_json(), encoding="utf-8")
    return key


def _numbered(samples: Sequence[Sequence[Candidate]], seed: int) -> Mapping[str, Candidate]:
    """The items, mixed and numbered; an annotation that several arms drew is one item."""
    merged: dict[str, Candidate] = {}
    for candidate in (candidate for drawn in samples for candidate in drawn):
        drawn = candidate.drawn
        if known := merged.get(candidate.name):
            drawn = replace(drawn, arms=known.drawn.arms + drawn.arms)
        merged[candidate.name] = replace(candidate, drawn=drawn)
    mixed = sorted(merged.values(), key=lambda candidate: lot(seed, "order", candidate))
    width = len(str(len(mixed)))
    return {f"{number:0{width}}": candidate for number, candidate in enumerate(mixed, 1)}


def _items(
    run: Run, subject: AuditSubject, chosen: Mapping[str, Candidate], meter: Meter
) -> list[SheetItem]:
    def one(name: str, candidate: Candidate) -> SheetItem:
        meter.advance()
        return SheetItem(name, data_uri(candidate.load()), _texts(run, subject, candidate.drawn))

    return [one(name, candidate) for name, candidate in chosen.items()]


def _texts(run: Run, subject: AuditSubject, drawn: DrawnItem) -> Texts:
    if subject is AuditSubject.ANNOTATIONS:
        return ("Question", drawn.question), ("Answer", drawn.answer)
    said = mistake(run, drawn).prediction
    return (
        ("Question", drawn.question),
        ("Right answer", drawn.answer),
        ("The model's answer", said or "(nothing)"),
    )
