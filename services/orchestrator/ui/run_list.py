"""Content of the first page: the runs of the folder."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.core.errors import MpaError
from services.core.parity import Cell
from services.orchestrator.reports.summary import outcome_in_words
from services.orchestrator.run.ledger import counts
from services.orchestrator.run.listing import AT_WORK, UNREADABLE
from services.orchestrator.run.run import is_at_work, read_run
from services.orchestrator.run.state import State
from services.orchestrator.ui.upkeep import Look, look_at

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run. `outcome`: a few words; `sentence`: the reason, or why the run can't be read."""

    name: str
    state: str
    """AT_WORK, UNREADABLE, the outcome of the last round or "unfinished"."""
    outcome: str
    sentence: str
    task: str = ""
    recipe: str = ""
    round: int = 1
    images: int = 0
    cells: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(self.cells.values())

    @property
    def gap_rate(self) -> float | None:
        """Share of the gap in the records, 0 to 1; None without records."""
        return self.cells.get(Cell.GAP, 0) / self.records if self.records else None


@dataclass(frozen=True, slots=True)
class RunList:
    folder: str
    lines: tuple[RunLine, ...]

    def document(self) -> Document:
        runs = [
            {**asdict(line), "records": line.records, "gap_rate": line.gap_rate}
            for line in self.lines
        ]
        return {"folder": self.folder, "runs": runs}


class RunLines:
    """Lines of runs, each kept until its ledger changes."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[Look, bool, RunLine]] = {}
        self._lock = threading.Lock()

    def line(self, folder: Path) -> RunLine:
        look, at_work = look_at(folder), is_at_work(folder)
        with self._lock:
            kept = self._kept.get(folder)
        if kept is None or kept[:2] != (look, at_work):
            kept = (look, at_work, _line(folder, at_work))
            with self._lock:
                self._kept[folder] = kept
        return kept[2]


def _line(folder: Path, at_work: bool) -> RunLine:
    try:
        with read_run(folder) as run:
            state, outcome, sentence = standing(run.state, at_work)
            return RunLine(
                folder.name,
                state,
                outcome,
                sentence,
                task=run.settings.task,
                recipe=run.settings.recipe.name,
                round=run.ledger.round,
                images=counts.accepted_images(run.ledger),
                cells=dict(counts.standing_cells(run.ledger)),
            )
    except MpaError as error:
        return RunLine(folder.name, UNREADABLE, UNREADABLE, str(error))


def standing(of: State, at_work: bool) -> tuple[str, str, str]:
    """State of a run, its outcome in a few words, and a sentence."""
    if at_work:
        return AT_WORK, "at work", f"round {of.round} is under way"
    outcome = of.outcome or "unfinished"
    before, after = of.base, of.candidate
    words, sentence = outcome_in_words(
        outcome, before.name if before else "", after.name if after else "", of.reason
    )
    return outcome, words, sentence
