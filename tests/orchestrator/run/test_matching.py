"""Cells that each matcher would give a run's answers."""

from typing import Any

import pytest

from services.core.answers import MATCHERS
from services.core.errors import InvalidInput
from services.core.parity import Cell
from services.orchestrator.cli import commands
from services.orchestrator.run.entries import Entry
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow
from services.orchestrator.run.matching import UNKNOWN, Rule, compare_matchers, rules
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import bench
from tests.orchestrator.run.runs import make, said, told
from tests.orchestrator.scripted import ScriptedStudent
from tests.orchestrator.steps.test_identification import WordyStudent


async def compared(folder, pool, student, limit=0, offset=0, beside="", **settings):
    async with bench(folder, pool, student=student, **settings) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            summary = await commands.identify(run, b.where, progress)
            return summary, compare_matchers(run, rules(run, beside), progress, limit, offset)


async def test_the_runs_own_matcher_finds_the_cells_that_the_run_has(tmp_path, pool):
    summary, sides = await compared(tmp_path / "run", pool, ScriptedStudent())
    assert list(sides.counts) == list(MATCHERS)
    for count in sides.counts.values():  # answers of one word: all rules agree
        assert {str(cell): count.cells[str(cell)] for cell in Cell} == summary.cells
        assert (count.joined, count.left) == (0, 0)
    assert sides.disagreeing == 0


async def test_a_lenient_matcher_takes_out_of_the_gap_what_was_only_worded_otherwise(
    tmp_path, pool
):
    summary, sides = await compared(tmp_path / "run", pool, WordyStudent(), limit=3, offset=1)
    exact, contains = sides.counts["exact"], sides.counts["contains"]
    assert exact.cells["gap"] == summary.cells["gap"] > contains.cells["gap"]
    # The teacher was asked everywhere, since by the run's rule the student was wrong everywhere.
    assert contains.cells["known"] + contains.cells["noise_student_right"] == sides.disagreeing > 0
    assert (contains.joined, contains.left) == (0, exact.cells["gap"] - contains.cells["gap"])
    assert len(sides.disagreements) == 3
    row = sides.disagreements[0]
    assert row.student == f"I think it is {row.annotation}"
    assert (row.cells["exact"], row.cells["contains"]) == ("gap", "known")


async def test_where_the_teacher_was_not_asked_a_stricter_matcher_says_unknown(tmp_path, pool):
    summary, sides = await compared(
        tmp_path / "run", pool, WordyStudent(), student_matcher="contains"
    )
    own, exact = sides.counts["exact, student contains"], sides.counts["exact"]
    assert next(iter(sides.counts)) == "exact, student contains"
    assert own.cells["unasked"] == summary.cells["unasked"] == exact.cells[UNKNOWN] > 0
    assert exact.cells["gap"] == own.cells["gap"]


async def test_a_matcher_for_the_student_stands_beside_every_other(tmp_path, pool):
    _, sides = await compared(tmp_path / "run", pool, WordyStudent(), beside="contains")
    assert set(sides.counts) == {
        "exact",
        "contains",
        *(f"{name}, student contains" for name in MATCHERS if name != "contains"),
    }
    assert (
        sides.counts["exact, student contains"].cells["gap"]
        == sides.counts["contains"].cells["gap"]
    )
    no_run: Any = None
    with pytest.raises(InvalidInput, match="choose one of exact"):
        rules(no_run, "loose")


@pytest.mark.parametrize(
    ("said", "exact", "contains"),
    [
        (["red", "it is red", "blue"], "noise_both_wrong", "gap"),
        (["red", "it is red"], UNKNOWN, "gap"),
        (["red", "red"], "gap", "gap"),
        ([], UNKNOWN, UNKNOWN),
    ],
)
def test_of_several_teachers_the_majority_decides_by_every_matcher(said, exact, contains):
    def answer(text, by):
        return AnswerRow("aa", "what?", by[:7], by, text, "c0ffee", "identify")

    annotation = AnnotationRow("aa", 0, 0, "as written", "what?", "red", "", 7, "teacher-1")
    teachers = tuple(answer(text, f"teacher-{seat}") for seat, text in enumerate(said))
    entry = Entry(ImageRow("a.png", "aa"), annotation, answer("green", "student"), teachers)
    for name, cell in (("exact", exact), ("contains", contains)):
        assert Rule(MATCHERS[name], MATCHERS[name]).cell(entry, teachers=3) == cell


async def test_the_command_shows_and_tells_the_same(tmp_path, pool):
    folder = tmp_path / "run"
    await make(folder, pool, student=WordyStudent())
    document = told("matchers", folder, "--disagreements", "--limit", 2)
    counts = {rule: count["cells"].get("gap", 0) for rule, count in document["counts"].items()}
    assert len(document["disagreements"]) == 2
    shown = said("matchers", folder)
    for rule, gap in counts.items():
        assert f"{rule} {gap:,}" in shown
    assert f"{document['disagreeing']} records on which they disagree: --disagreements" in shown
    assert document["disagreements"][0]["question"] in said("matchers", folder, "--disagreements")
    assert "choose one of exact" in said("matchers", folder, "--student-matcher", "loose", code=2)
