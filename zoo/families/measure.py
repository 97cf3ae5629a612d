"""Measure a model of the pair on the benchmark, by the official metric of each family.

Run: python -m zoo.minivqa build runs/minivqa
     python -m zoo.families.measure FOLDER runs/minivqa [--part test] [--questions N]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from services.core import metrics
from services.core.tasks import answer_prompt
from zoo.measure import Model
from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part


def measure(
    model: Model, family: Family, folder: Path, count: int | None = None
) -> dict[str, float]:
    """Mean score of greedy answers to the first `count` questions in `folder`: all, and by kind."""
    # str.splitlines would also cut at U+2028.
    with folder.with_suffix(".jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][:count]
    replies = model.reply(
        [folder.parent / row["image"] for row in rows],
        [answer_prompt(row["question"]) for row in rows],
    )
    score = getattr(metrics, family.metric)
    scores: dict[str, list[float]] = defaultdict(list)
    for row, reply in zip(rows, replies, strict=True):
        points = score(reply, row["answers"])
        scores["all"].append(points)
        scores[row["kind"]].append(points)
    return {kind: fmean(points) for kind, points in sorted(scores.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one of the pair on the four families.")
    parser.add_argument("model", type=Path)
    parser.add_argument("benchmark", type=Path, help="folder built by zoo.minivqa")
    parts = (Part.TEST, Part.HARDER, Part.DEV)
    parser.add_argument("--part", type=Part, choices=parts, default=Part.TEST)
    parser.add_argument("--questions", type=int, help="only the first N of each family")
    given = parser.parse_args()
    model = Model(given.model)
    for family in FAMILIES.values():
        scores = measure(model, family, given.benchmark / family.name / given.part, given.questions)
        kinds = ", ".join(f"{kind} {score:.1%}" for kind, score in scores.items())
        print(f"{family.name}, {family.metric}: {kinds}")


if __name__ == "__main__":
    main()
