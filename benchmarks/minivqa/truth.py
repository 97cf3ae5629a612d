"""Quality of a run's annotations before and after identifying parity (Table 4 of the paper).

Run: python -m benchmarks.minivqa.truth RUN FAMILY [--seed N]

Every picture of the pool can be drawn again with all its facts, so nobody has to rate a sample. A
question is answerable if the benchmark knows its wording and the picture has the fact it asks for.
Other questions may make sense, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from services.core import metrics
from services.core.parity import NOISE, Cell
from services.orchestrator.run.ledger import Record
from services.orchestrator.run.run import read_run
from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part


@dataclass(frozen=True, slots=True)
class Quality:
    """Number of annotations, and of those that are answerable and correct."""

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
        shares = f"{self.answerable / count:.1%} answerable, {self.correct / count:.1%} correct"
        return f"{self.annotations} annotations, {shares}"


class Judged(NamedTuple):
    """Annotations before PI (all), after PI (the gap), and set aside as noise."""

    before: Quality
    after: Quality
    noise: Quality


def measure(records: Iterable[Record], family: Family, seed: int) -> Judged:
    """An answer is correct if it scores 0.5 or more."""
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
    parser.add_argument("--seed", type=int, default=0, help="the benchmark's own seed")
    given = parser.parse_args()
    with read_run(given.run) as run:
        judged = measure(run.ledger.records(), FAMILIES[given.family], given.seed)
    print(f"before PI: {judged.before}\nafter PI:  {judged.after}\nnoise:     {judged.noise}")


if __name__ == "__main__":
    main()
