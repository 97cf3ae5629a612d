"""The paper's claims on the mini benchmark: the five rows of `make bench-mini`.

Run: python -m benchmarks.minivqa.claims RESULTS [--seed N]

RESULTS is the --out that the experiments of experiments/mini/ share, with their full tables.
CLAIMS.md is written there, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.minivqa.truth import Quality, measure
from services.core.errors import MpaError, NotFound
from services.files import write_atomically
from services.orchestrator.run.run import read_run
from services.orchestrator.scoring.report import percent, table
from zoo.minivqa.families import FAMILIES

STUDENT, TEACHER = "minivqa", "minivqa-teacher"
OURS = ("paper", "rehearsal")
CONTROLS = ("without-pi", "without-pi-step-matched", "random")
LABELS = ("labels-100-lora", "labels-100")
CHANGE = ("gain", "95 %", "fixed", "broken", "p")
Row = dict[str, Any]
"""A row of an experiment's FILE.json."""


class Results:
    """The rows of the experiments below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self, name: str) -> list[Row]:
        """Rows of an experiment. Raises NotFound: it has not been run."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            raise NotFound(
                f"there is no {path}: run experiments/mini/{name}.toml into {self.folder} first"
            )
        found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def cell(self, name: str, arm: str, on: str, task: str = "") -> Row:
        """The row of an arm on a family, trained on that family unless `task` names another."""
        fit = [
            row
            for row in self.rows(name)
            if (row["arm"], row["on"]) == (arm, on) and row["task"] in ("", task or on)
        ]
        if not fit:
            raise NotFound(
                f"{self.folder / name}.json has no row of {arm} on {on}: finish that experiment"
            )
        return fit[0]


def claims(results: Results, seed: int) -> list[str]:
    """The rows, as lines of Markdown."""
    rows = (
        _gains(results),
        _selection(results),
        _labels(results),
        _annotations(results, seed),
        _transfer(results),
    )
    return [
        "# The paper's claims on the mini benchmark",
        *(line for row in rows for line in ("", *row)),
    ]


def _gains(results: Results) -> list[str]:
    cells = [
        (family, arm, results.cell("table1", arm, family)) for family in FAMILIES for arm in OURS
    ]
    untrained, taught = (
        {family: percent(results.cell("table1", arm, family)["mean"]) for family in FAMILIES}
        for arm in ("zero-shot", "teacher")
    )
    gains = [
        (family, arm, untrained[family], _score(row), *_change(row), taught[family])
        for family, arm, row in cells
    ]
    kinds = [
        (
            family,
            arm,
            kind["kind"],
            str(kind["questions"]),
            percent(kind["before"]),
            percent(kind["after"]),
            *_moved(kind),
        )
        for family, arm, row in cells
        for kind in row["kinds"]
    ]
    return [
        "## MPA improves the student on every task (Table 1)",
        "",
        *table(("family", "arm", "zero-shot", "trained", *CHANGE, "teacher"), gains),
        "",
        *table(("family", "arm", "kind", "questions", "before", "after", "fixed", "broken"), kinds),
        "",
        *(_told(arm, [row for _, of, row in cells if of == arm]) for arm in OURS),
    ]


def _told(arm: str, rows: Sequence[Row]) -> str:
    better = [row["on"] for row in rows if (row["gain"] or 0.0) > 0]
    mean = sum(row["gain"] or 0.0 for row in rows) / len(rows)
    named = ", ".join(better) or "none"
    share = f"{len(better)} of {len(rows)} ({named})"
    return f"- `{arm}` gains on {share}, {100 * mean:+.1f} points on average."


def _selection(results: Results) -> list[str]:
    arms = (*CONTROLS, *OURS)
    cells = {arm: [results.cell("table6", arm, family) for family in FAMILIES] for arm in arms}
    body = [
        (
            arm,
            *(text for row in cells[arm] for text in (f"{row['samples']:,.0f}", _score(row))),
            _mean(cells[arm]),
        )
        for arm in arms
    ]
    against = [
        (row["arm"], row["other"], row["on"], *_change(row))
        for row in results.rows("table6-versus")
        if row["arm"] in OURS and row["other"] in CONTROLS
    ]
    return [
        "## PI beats all pseudo-labels with a fraction of the samples (Tables 6, 9)",
        "",
        *table(
            (
                "arm",
                *(text for family in FAMILIES for text in (f"{family}: samples", "score")),
                "mean",
            ),
            body,
        ),
        "",
        *table(("arm", "against", "family", *CHANGE), against),
    ]


def _labels(results: Results) -> list[str]:
    cells = {
        arm: [results.cell("table5", arm, family) for family in FAMILIES]
        for arm in (*LABELS, *OURS)
    }
    body = [(arm, *map(_score, rows), _mean(rows)) for arm, rows in cells.items()]
    return ["## MPA beats 100 human labels (Table 5)", "", *table(("arm", *FAMILIES, "mean"), body)]


def _annotations(results: Results, seed: int) -> list[str]:
    body = []
    for name, family in FAMILIES.items():
        with read_run(results.folder / "runs" / STUDENT / TEACHER / name) as run:
            judged = measure(run.ledger.records(), family, seed)
        body.append((name, *(text for quality in judged for text in _quality(quality))))
    parts = ("annotations", "answerable", "correct")
    heads = (
        "family",
        *(
            f"{when}: {part}"
            for when in ("before PI", "after", "set aside as noise")
            for part in parts
        ),
    )
    return ["## PI raises the annotations' quality (Table 4)", "", *table(heads, body)]


def _quality(quality: Quality) -> tuple[str, ...]:
    count = max(1, quality.annotations)
    return (
        f"{quality.annotations:,}",
        percent(quality.answerable / count),
        percent(quality.correct / count),
    )


def _transfer(results: Results) -> list[str]:
    tests = [*FAMILIES, *(f"{family}_harder" for family in FAMILIES)]
    untrained = (
        "zero-shot",
        "",
        *(percent(results.cell("table3", "zero-shot", on)["mean"]) for on in tests),
    )
    trained = [
        (arm, family, *(_with_gain(results.cell("table3", arm, on, family)) for on in tests))
        for arm in OURS
        for family in FAMILIES
    ]
    return [
        "## Gains carry over (Tables 3, 7)",
        "",
        *table(("arm", "trained on", *tests), [untrained, *trained]),
    ]


def _score(row: Row) -> str:
    if row["mean"] is None:
        return f"- ({row['reason']})"
    return percent(row["mean"]) + (f" ± {100 * row['sd']:.1f}" if row["sd"] is not None else "")


def _with_gain(row: Row) -> str:
    return _score(row) + ("" if row["gain"] is None else f" ({100 * row['gain']:+.1f})")


def _mean(rows: Sequence[Row]) -> str:
    scores = [row["mean"] for row in rows if row["mean"] is not None]
    return percent(sum(scores) / len(scores)) if scores else ""


def _change(row: Row) -> tuple[str, ...]:
    """The texts of CHANGE."""
    if row["gain"] is None:
        return ("",) * 5
    interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    return f"{100 * row['gain']:+.1f}", interval, *_moved(row), f"{row['p']:.2g}"


def _moved(row: Row) -> tuple[str, ...]:
    return (f"{row['fixed']:.0f}", f"{row['broken']:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The paper's claims on the mini benchmark.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="the benchmark's own seed")
    given = parser.parse_args()
    try:
        text = "\n".join(claims(Results(given.results), given.seed))
    except MpaError as error:
        raise SystemExit(str(error)) from error
    write_atomically(given.results / "CLAIMS.md", text)
    print(text)


if __name__ == "__main__":
    main()
