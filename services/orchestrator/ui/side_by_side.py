"""Content of a comparison: two runs, or two rounds of one, and only what differs."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from starlette.datastructures import QueryParams

from services.core.errors import InvalidInput, Overloaded
from services.core.parity import Cell
from services.orchestrator.run.comparison import Pair, RoundOfRun, cell_of, differing, pairs
from services.orchestrator.run.expenses import Expenses
from services.orchestrator.run.ledger.evidence import AnsweredRecord
from services.orchestrator.run.run import is_at_work
from services.orchestrator.ui.choosing import compare_link
from services.orchestrator.ui.library import OpenedRun
from services.orchestrator.ui.overview import JudgedLine, judged_lines
from services.orchestrator.ui.run_list import Document, standing
from services.orchestrator.ui.upkeep import EXPENSES, Look, look_at

MOST_CHANGED = 1_000
"""Records that differ which are shown, the first by the hash of their image."""
PAGE = 25
COMPARISONS_KEPT = 4
RETRY_S = 10.0
"""Advice to those who ask while a comparison is being made."""

_ContrastKey = tuple[Look, int, Look, int]


@dataclass(frozen=True, slots=True)
class ComparedSides:
    """The wish of an address: names of two runs, and a round of each; 0 is the last one."""

    left: str
    right: str
    left_round: int = 0
    right_round: int = 0
    page: int = 1

    def on_page(self, number: int) -> str:
        """Address of another page."""
        return compare_link(self.left, self.right, self.left_round, self.right_round, number)


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """Figures of a run in a round. Accuracies 0 to 1, on held-out records; None if unknown."""

    run: str
    round: int
    state: str
    outcome: str
    base: str
    candidate: str
    parity_set: int | None
    expenses: Expenses
    """Expenses of all rounds."""
    cells: Mapping[str, int]
    lines: tuple[JudgedLine, ...]
    """Before and after by kind, after the line of all questions."""

    @property
    def records(self) -> int:
        return sum(self.cells.values())

    @property
    def gap_rate(self) -> float | None:
        return self.cells.get(Cell.GAP, 0) / self.records if self.records else None

    @property
    def cost_usd(self) -> float:
        """Dollars of all models in all rounds."""
        return sum(used.cost_usd for used in self.expenses.usage.values())

    def line(self, kind: str) -> JudgedLine | None:
        return next((line for line in self.lines if line.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Records of both sides in another cell, or with other answers.

    `moved`: records by (cell left, cell right), "" if a side has no such record. `changed`: the
    first MOST_CHANGED of `differing`.
    """

    moved: Mapping[tuple[str, str], int]
    differing: int
    changed: tuple[tuple[AnsweredRecord, AnsweredRecord], ...]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """The page."""

    sides: ComparedSides
    left: ComparedSide
    right: ComparedSide
    settings: Mapping[str, tuple[str, str]]
    contrast: Contrast

    @property
    def both(self) -> tuple[ComparedSide, ComparedSide]:
        return self.left, self.right

    @property
    def kinds(self) -> list[str]:
        """Kinds that were judged on either side, "all" first."""
        lines = (*self.left.lines, *self.right.lines)
        return list(dict.fromkeys(line.kind for line in lines if line.questions))

    @property
    def shown(self) -> tuple[tuple[AnsweredRecord, AnsweredRecord], ...]:
        """Records of this page."""
        start = PAGE * (self.sides.page - 1)
        return self.contrast.changed[start : start + PAGE]

    @property
    def has_more(self) -> bool:
        return PAGE * self.sides.page < len(self.contrast.changed)

    def document(self) -> Document:
        sides = {
            name: {**asdict(side), "records": side.records, "gap_rate": side.gap_rate}
            for name, side in (("left", self.left), ("right", self.right))
        }
        moved = [
            {"left": left, "right": right, "count": count}
            for (left, right), count in sorted(self.contrast.moved.items())
        ]
        return {
            **sides,
            "settings": {name: list(values) for name, values in self.settings.items()},
            "moved": moved,
            "differing": self.contrast.differing,
            "records": [{"left": asdict(one), "right": asdict(two)} for one, two in self.shown],
            "page": self.sides.page,
            "has_more": self.has_more,
        }


def read_sides(given: QueryParams) -> ComparedSides:
    """Raises InvalidInput that names the parameter."""
    known = ("left", "right", "left_round", "right_round", "page")
    for name in given:
        if name not in known:
            raise InvalidInput(
                f"there is no parameter {name!r}: choose of {', '.join(known)}", field=name
            )
    for name in ("left", "right"):
        if not given.get(name):
            raise InvalidInput(f"{name} is missing: give the name of a run", field=name)
    return ComparedSides(
        given["left"],
        given["right"],
        _number(given, "left_round", 0),
        _number(given, "right_round", 0),
        max(1, _number(given, "page", 1)),
    )


def _number(given: QueryParams, name: str, otherwise: int) -> int:
    text = given.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InvalidInput(f"{name}={text} is no number: leave it out", field=name)
    return int(text or otherwise)


class Contrasts:
    """Comparisons of records, which read both ledgers: one at a time, and the last few are kept.

    The one under way has a thread of the views, and nobody waits for it in another.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[_ContrastKey, Contrast] = OrderedDict()
        self._lock = threading.Lock()
        """Never held while a ledger is read."""
        self._at_work = threading.Lock()

    def read(self, left: OpenedRun, right: OpenedRun, sides: ComparedSides) -> SideBySide:
        """Raises InvalidInput for a round that a run doesn't have, Overloaded while another one is
        being made.
        """
        one = _round(left, sides.left_round, "left_round")
        other = _round(right, sides.right_round, "right_round")
        contrast = self._contrast(one, other)
        return SideBySide(
            sides,
            _side(left, one, _cells(contrast, 0)),
            _side(right, other, _cells(contrast, 1)),
            differing(one.run.settings, other.run.settings),
            contrast,
        )

    def _contrast(self, one: RoundOfRun, other: RoundOfRun) -> Contrast:
        looks = (look_at(one.run.folder), look_at(other.run.folder))
        key = (looks[0], one.round, looks[1], other.round)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if not self._at_work.acquire(blocking=False):
            raise Overloaded(
                "a comparison is being made, which reads both runs whole: load this page again in "
                f"{RETRY_S:.0f} seconds",
                retry_after_s=RETRY_S,
                limit="comparisons",
            )
        try:
            found = _compare(one, other)
        finally:
            self._at_work.release()
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > COMPARISONS_KEPT:
                self._kept.popitem(last=False)
        return found


def _compare(one: RoundOfRun, other: RoundOfRun) -> Contrast:
    moved: Counter[tuple[str, str]] = Counter()
    changed: list[tuple[AnsweredRecord, AnsweredRecord]] = []
    found = 0
    for pair in pairs(one, other):
        left, right = pair
        moved[cell_of(left), cell_of(right)] += 1
        if left and right and differs(pair):
            found += 1
            if len(changed) < MOST_CHANGED:
                changed.append((left, right))
    return Contrast(dict(moved), found, tuple(changed))


def differs(pair: Pair) -> bool:
    """Whether cell, annotation or an answer is another one; not asked is no other answer."""
    left, right = pair
    if left is None or right is None:
        return True
    answers = ((left.student, right.student), (left.teacher, right.teacher))
    return (left.cell, left.answer) != (right.cell, right.answer) or any(
        here is not None and there is not None and here != there for here, there in answers
    )


def _cells(contrast: Contrast, side: int) -> dict[str, int]:
    found: Counter[str] = Counter()
    for cells, count in contrast.moved.items():
        found[cells[side]] += count
    return {str(cell): found[cell] for cell in Cell}


def _round(opened: OpenedRun, asked: int, name: str) -> RoundOfRun:
    last = opened.run.ledger.round
    if asked > last:
        raise InvalidInput(f"{opened.name} has no round {asked}: it has {last}", field=name)
    return RoundOfRun(opened.run, asked or last)


def _side(opened: OpenedRun, of: RoundOfRun, cells: Mapping[str, int]) -> ComparedSide:
    state = of.state
    is_present = of.round == of.run.ledger.round
    standing_then, outcome, _ = standing(state, is_present and is_at_work(of.run.folder))
    base, candidate, evaluation = state.base, state.candidate, state.evaluation
    return ComparedSide(
        run=opened.name,
        round=of.round,
        state=standing_then,
        outcome=outcome,
        base=base.name if base else "",
        candidate=candidate.name if candidate else "",
        parity_set=state.parity_set,
        expenses=Expenses.from_json(opened.catalogue.note(EXPENSES)),
        cells=cells,
        lines=judged_lines(evaluation.held_out) if evaluation else (),
    )
