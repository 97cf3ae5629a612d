"""The items that an audit draws from: annotations before PI, the gap after it, human questions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from statistics import mode

from services.core.errors import InvalidInput, WrongState
from services.orchestrator.audit.key import DrawnArm, DrawnItem
from services.orchestrator.datasets.dataset import Dataset
from services.orchestrator.datasets.record import LabelledRecord
from services.orchestrator.images.reading import read_again
from services.orchestrator.images.source import Source
from services.orchestrator.run.ledger.selections import Selected, gap_annotations, made_annotations
from services.orchestrator.run.run import Run


@dataclass(frozen=True, slots=True)
class Candidate:
    """An item to draw. `load` reads its image; raises InvalidInput if it is missing or changed."""

    drawn: DrawnItem
    load: Callable[[], bytes]

    @property
    def name(self) -> str:
        """A name that is the same in each arm."""
        drawn = self.drawn
        return f"{drawn.image_sha256 or drawn.image}\n{drawn.number}\n{drawn.attempt}"


def before(run: Run) -> Iterator[Candidate]:
    return _of_ledger(run, DrawnArm.BEFORE, made_annotations(run.ledger))


def after(run: Run) -> Iterator[Candidate]:
    return _of_ledger(run, DrawnArm.AFTER, gap_annotations(run.ledger))


def require_gap(run: Run) -> None:
    """Check for a gap. Raises WrongState if the run isn't identified, or its gap is empty."""
    if not run.state.identified:
        raise WrongState(
            f"the run in {run.folder} is not identified yet: "
            f"`mpa-orch identify {run.folder}` does that"
        )
    if not any(after(run)):
        raise WrongState(
            f"the gap of the run in {run.folder} is empty: there is nothing after PI to audit"
        )


def _of_ledger(run: Run, arm: DrawnArm, rows: Iterator[Selected]) -> Iterator[Candidate]:
    source = run.find_images()
    for row in rows:
        drawn = DrawnItem((arm,), *row)
        yield Candidate(drawn, partial(_read_again, source, drawn))


def _read_again(source: Source, drawn: DrawnItem) -> bytes:
    return read_again(source, drawn.image, drawn.image_sha256).data


def written_by_people(dataset: Dataset) -> Iterator[Candidate]:
    """Questions of a labelled data set, with the most frequent answer to each."""
    for record in dataset.read():
        drawn = DrawnItem(
            arms=(DrawnArm.HUMAN,),
            image=f"{dataset.name} {record.id}",
            image_sha256="",
            question=record.question,
            answer=mode(record.answers),
        )
        yield Candidate(drawn, partial(_read_file, dataset, record))


def _read_file(dataset: Dataset, record: LabelledRecord) -> bytes:
    if record.data:
        return record.data
    file = dataset.images.find(record.image)
    if file is None:
        raise InvalidInput(
            f"{dataset.path} names the image {record.image}, which isn't there: "
            "give its folder (--images)"
        )
    return file.read_bytes()


def sample(
    candidates: Iterable[Candidate], count: int, seed: int, arm: DrawnArm
) -> tuple[list[Candidate], int]:
    """A random sample of `count` candidates, which alone is in memory, and the number of all."""
    population = 0

    def counted() -> Iterator[Candidate]:
        nonlocal population
        for candidate in candidates:
            population += 1
            yield candidate

    return nsmallest(count, counted(), key=lambda candidate: lot(seed, arm, candidate)), population


def lot(seed: int, of: str, candidate: Candidate) -> bytes:
    """The sort key that draws and mixes, in a different order for each seed and arm."""
    return hashlib.sha256(f"{seed} {of}\n{candidate.name}".encode()).digest()
