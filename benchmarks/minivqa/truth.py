"""How good a run's annotations are before and after identifying parity (Table 4 of the paper), held against the truth.

Run: python -m benchmarks.minivqa.truth RUN FAMILY [--seed N]

Every picture of the pool can be drawn again, with all that is true of it; so nobody has to rate a sample. A question counts as
answerable where the benchmark knows its wording and the picture has what it asks for; another one may make sense, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from services.core import metrics
from services.core.parity import NOISE, Cell
from services.orchestrator.ledger import Record
from services.orchestrator.run import read_run
from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part


@dataclass(frozen=True, slots=True)
class Quality:
    """Of so many annotations: how many have a question that can be answered, and how many the right answer to it."""

    annotations: int = 0
    answerable: int = 0
    correct: int = 0

    def __add__(self, other: Quality) -> Quality:
        return Quality(
            self.annotations + other.annotations,
            self.answerable + other.answerable,
            self.correct + other.correct,
        )

    def __str__(self) -> str:
        count = max(1, self.annotations)
        return f"{self.annotations} annotations, {self.answerable / count:.1%} answerable, {self.correct / count:.1%} correct"


class Judged(NamedTuple):
    """Annotations before PI (all that were identified) and after it (the gap), and those that the teacher contradicted."""

    before: Quality
    after: Quality
    noise: Quality


def measure(records: Iterable[Record], family: Family, seed: int) -> Judged:
    """Correct is an answer that scores half or more."""
    score = getattr(metrics, family.metric)
    before = after = noise = Quality()
    for record in records:
        fact = family.draw(Part.POOL, seed, int(Path(record.path).stem)).find_fact(record.question)
        is_correct = fact is not None and score(record.answer, fact.references) >= 0.5
        found = Quality(1, int(fact is not None), int(is_correct))
        before += found
        if record.cell is Cell.GAP:
            after += found
        elif record.cell in NOISE:
            noise += found
    return Judged(before, after, noise)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Annotations of a run over a family's pool, against the truth."
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("family", choices=tuple(FAMILIES))
    parser.add_argument("--seed", type=int, default=0, help="what the benchmark was built with")
    given = parser.parse_args()
    with read_run(given.run) as run:
        judged = measure(run.ledger.records(), FAMILIES[given.family], given.seed)
    print(f"before PI: {judged.before}\nafter PI:  {judged.after}\nnoise:     {judged.noise}")


if __name__ == "__main__":
    main()
