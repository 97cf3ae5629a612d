"""Content of a run's verdict page: whether the student may replace the teacher, and the prices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import QueryParams

from services.core.errors import InvalidInput
from services.core.noninferiority import NonInferiority, require_margin
from services.orchestrator.run.ledger.scores import scored_sets
from services.orchestrator.run.run import read_run
from services.orchestrator.run.running_costs import ModelPrice
from services.orchestrator.run.verdict import ReplacementVerdict, find_subject, read_verdict
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.run_list import Document

USUAL_MARGIN = "5"
PRICES = {
    "teacher_usd": "1,000 answers of the teacher",
    "student_usd": "1,000 answers of the student",
    "teacher_usd_per_hour": "an hour of the teacher's devices",
    "student_usd_per_hour": "an hour of the student's devices",
}
VERDICTS_KEPT = 32
MOST_KINDS = 100
"""Kinds of questions on the page, the most frequent first."""


@dataclass(frozen=True, slots=True)
class VerdictPage:
    """The page. `given`: the parameters of its address; `sets`: labelled sets with answers."""

    run: str
    verdict: ReplacementVerdict
    sets: tuple[str, ...]
    given: dict[str, str]

    @property
    def lines(self) -> list[tuple[str, NonInferiority]]:
        """All questions, then the kinds, the most frequent first."""
        comparison = self.verdict.comparison
        kinds = sorted(comparison.kinds.items(), key=lambda item: -item[1].questions)
        return [("all", comparison.overall), *kinds[:MOST_KINDS]]

    def document(self) -> Document:
        return {**self.verdict.document(), "sets": list(self.sets)}


def read_verdict_page(opened: OpenedRun, given: QueryParams) -> VerdictPage:
    """Raises InvalidInput that names the parameter, and WrongState without an evaluated student."""
    known = ("margin", "eval", *PRICES)
    for name in given:
        if name not in known:
            raise InvalidInput(
                f"there is no parameter {name!r}: choose of {', '.join(known)}", field=name
            )
    chosen = {name: given.get(name, "") for name in known}
    chosen["margin"] = chosen["margin"] or USUAL_MARGIN
    margin = require_margin(_number("margin", chosen["margin"]) or 0.0, "margin")
    ledger = opened.run.ledger
    version = find_subject(ledger).version
    sets = tuple(scored_sets(ledger, version, opened.run.state.teacher()))
    if chosen["eval"] and chosen["eval"] not in sets:
        raise InvalidInput(
            f"the run has no answers to the labels {chosen['eval']!r}: "
            "`mpa-orch verdict --eval` asks the models",
            field="eval",
        )
    prices = tuple(_number(name, chosen[name]) for name in PRICES)
    folder = opened.run.folder
    found = _verdict(folder, _stamp(folder), margin, chosen["eval"], prices)
    return VerdictPage(opened.name, found, sets, chosen)


def _number(name: str, text: str) -> float | None:
    try:
        found = float(text) if text else None
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found < 1e9:
        raise InvalidInput(f"{name} is {text!r}: give a number such as 5", field=name)
    return found


def _stamp(folder: Path) -> tuple[int, ...]:
    """The state of the ledger's files: it changes with everything that is written."""
    files = (folder / "ledger.sqlite", folder / "ledger.sqlite-wal")
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())


@lru_cache(maxsize=VERDICTS_KEPT)
def _verdict(
    folder: Path,
    stamp: tuple[int, ...],
    margin: float,
    labelled: str,
    prices: tuple[float | None, ...],
) -> ReplacementVerdict:
    """The last verdicts are kept: each draws the questions thousands of times."""
    teacher_usd, student_usd, teacher_hour, student_hour = prices
    with read_run(folder) as run:
        return read_verdict(
            run,
            margin,
            Path(labelled) if labelled else None,
            ModelPrice(teacher_usd, teacher_hour),
            ModelPrice(student_usd, student_hour),
        )
