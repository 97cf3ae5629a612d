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

from benchmarks.minivqa.families import FAMILIES, Family
from benchmarks.minivqa.parts import Part
from services.core import metrics
from services.core.parity import Cell
from services.orchestrator.ledger import Record
from services.orchestrator.run import read_run


@dataclass(frozen=True, slots=True)
class Quality:
    """Of so many annotations: how many have a question that can be answered, and how many the right answer to it."""

    annotations: int = 0
    answerable: int = 0
    correct: int = 0

    def __add__(self, other: Quality) -> Quality:
        return Quality(self.annotations + other.annotations, self.answerable + other.answerable, self.correct + other.correct)

    def __str__(self) -> str:
        count = max(1, self.annotations)
        return f"{self.annotations} annotations, {self.answerable / count:.1%} answerable, {self.correct / count:.1%} correct"


def measure(records: Iterable[Record], family: Family, seed: int) -> tuple[Quality, Quality]:
    """Of all that were identified, and of the parity gap. Correct is an answer that scores half or more."""
    score = getattr(metrics, family.metric)
    before = after = Quality()
    for record in records:
        fact = family.draw(Part.POOL, seed, int(Path(record.path).stem)).find_fact(record.question)
        is_correct = fact is not None and score(record.answer, fact.references) >= 0.5
        found = Quality(1, int(fact is not None), int(is_correct))
        before += found
        if record.cell is Cell.GAP:
            after += found
    return before, after


def main() -> None:
    parser = argparse.ArgumentParser(description="Annotations of a run over a family's pool, against the truth.")
    parser.add_argument("run", type=Path)
    parser.add_argument("family", choices=tuple(FAMILIES))
    parser.add_argument("--seed", type=int, default=0, help="what the benchmark was built with")
    given = parser.parse_args()
    with read_run(given.run) as run:
        before, after = measure(run.ledger.records(), FAMILIES[given.family], given.seed)
    print(f"before PI: {before}\nafter PI:  {after}")


if __name__ == "__main__":
    main()
