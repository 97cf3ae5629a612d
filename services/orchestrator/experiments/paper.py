"""The paper's own figures, as paper.csv has them: Penamakuri et al., Tables 1, 2, 3, 5, 6, 7, 9 and 10, in percent.

Its four VQA benchmarks are scored by containment, whatever their official metric is. Two of its misprints: the first student of
Table 9 is SmolVLM-500M, as its figures in Table 1 show (mended here); InternVL2-4B has 66.6 on ST-VQA in Table 1 and 66.1 in
Table 9 (left as they are).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = "Penamakuri et al., When Big Models Train Small Ones"


@dataclass(frozen=True, slots=True)
class Figure:
    """`score` in percent, `samples` 0 where the paper gives none."""

    table: str
    student: str
    teacher: str
    arm: str
    task: str
    on: str
    metric: str
    samples: int
    score: float


@cache
def figures() -> tuple[Figure, ...]:
    with Path(__file__).with_name("paper.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_figure(*row) for row in list(csv.reader(file))[1:])


def _figure(
    table: str,
    student: str,
    teacher: str,
    arm: str,
    task: str,
    on: str,
    metric: str,
    samples: str,
    score: str,
) -> Figure:
    return Figure(table, student, teacher, arm, task, on, metric, int(samples or 0), float(score))


def of_table(number: str) -> list[Figure]:
    """ "3/10" is both."""
    return _of(number.split("/"))


def _of(numbers: Iterable[str]) -> list[Figure]:
    wanted = set(numbers)
    return [figure for figure in figures() if figure.table in wanted]
