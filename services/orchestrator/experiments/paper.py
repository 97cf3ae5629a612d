"""The paper's own figures (paper.csv): Penamakuri et al., Tables 1, 2, 3, 5, 6, 7, 9 and 10.

Scores are in percent. Its four VQA benchmarks are scored by containment, whatever their official
metric is. It has two misprints. The first student of Table 9 is SmolVLM-500M, as its figures in
Table 1 show (corrected here). InternVL2-4B has 66.6 on ST-VQA in Table 1 and 66.1 in Table 9 (left
as they are).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = "Penamakuri et al., When Big Models Train Small Ones"


@dataclass(frozen=True, slots=True)
class Figure:
    """One score in a table of the paper."""

    table: str
    """Number of the table."""
    student: str
    """Preset of the student; "" in a row of a teacher."""
    teacher: str
    """Preset of the teacher; "" in a row without one."""
    arm: str
    """Name of the arm (core/arms.py)."""
    task: str
    """Task that the student was trained on."""
    on: str
    """Task that it was measured on."""
    metric: str
    """Metric of the score."""
    samples: int
    """Number of training samples; 0 if the paper gives none."""
    score: float
    """Score in percent."""


@cache
def figures() -> tuple[Figure, ...]:
    with Path(__file__).with_name("paper.csv").open(encoding="utf-8", newline="") as file:
        return tuple(_figure(row) for row in csv.DictReader(file))


def _figure(row: Mapping[str, str]) -> Figure:
    numbers: dict[str, Any] = {"samples": int(row["samples"] or 0), "score": float(row["score"])}
    return Figure(**{**row, **numbers})


def of_table(number: str) -> list[Figure]:
    """The figures of a table; "3/10" is both tables."""
    wanted = number.split("/")
    return [figure for figure in figures() if figure.table in wanted]
