"""Entries of a ledger by cell, reason and question, page by page."""

from dataclasses import replace

import pytest

from services.core.errors import InvalidInput
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.run.columns import columns
from services.orchestrator.run.entries import read_entries
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.ledger.search import WHOLE, Filter
from services.orchestrator.run.run import read_run
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import State, Version
from services.orchestrator.run.summary import summarise
from tests.orchestrator.run.runs import lines, said

CELLS = (Cell.GAP, Cell.UNASKED, Cell.NOISE_BOTH_WRONG)
PROVENANCE = Provenance(FinishReason.STOP, Usage(100, 10, 40, 0.001), "fp_1")


@pytest.fixture
def ledger(tmp_path):
    """30 images with a question each, every fifth rejected; then a refused one and a duplicate."""
    opened = Ledger(tmp_path / "ledger.sqlite")
    state = State(opened)
    state.settings = new_settings("pool", "vqa", "paper").to_json()
    state.base = Version("v1")
    state.set_teacher(0, "teacher-a")
    for number in range(30):
        add(opened, number)
    opened.add_image(ImageRow("broken.png", "", "IMAGE_TRUNCATED", "cut off"))
    opened.add_image(ImageRow("same.png", sha256(0), "duplicate", "the same bytes"))
    yield opened
    opened.close()


def sha256(number: int) -> str:
    return f"{number:064x}"


def add(ledger: Ledger, number: int) -> None:
    ledger.add_image(ImageRow(f"{number:02}.png", sha256(number), held_out=number == 7, step=2))
    question = f"what is 100% of thing_{number}?"
    row = AnnotationRow(
        sha256(number),
        0,
        0,
        "as written",
        question,
        "red",
        "",
        number,
        "teacher-a",
        provenance=PROVENANCE,
    )
    if number % 5 == 4:
        ledger.add_annotation(replace(row, question="", answer="", rejection="no_question"))
        return
    ledger.add_annotation(row)
    ledger.add_answer(
        AnswerRow(
            sha256(number), question, "student", "v1", "blue", "c0ffee", "identify", PROVENANCE
        )
    )
    cell = CELLS[number % 3]
    if cell is not Cell.UNASKED:
        ledger.add_answer(
            AnswerRow(sha256(number), question, "teacher", "teacher-a", "red", "c0ffee", "identify")
        )
    ledger.add_record(sha256(number), 0, cell, "exact@1", "contains@1")


def paths(ledger, chosen=Filter(), limit=WHOLE, offset=0):  # noqa: B008 (frozen)
    return [entry.image.path for entry in read_entries(ledger, chosen, limit, offset)]


def test_a_stream_has_every_annotation_and_every_refused_image(ledger):
    found = paths(ledger)
    assert found[:30] == [f"{number:02}.png" for number in range(30)]
    assert sorted(found[30:]) == ["broken.png", "same.png"]


@pytest.mark.parametrize("size", [1, 7, 31, 40])
def test_pages_are_the_stream_in_pieces(ledger, size):
    pages = [paths(ledger, limit=size, offset=start) for start in range(0, 40, size)]
    assert [path for page in pages for path in page] == paths(ledger)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (Filter(cells=(Cell.GAP,)), [f"{n:02}.png" for n in range(0, 30, 3) if n % 5 != 4]),
        (
            Filter(cells=(Cell.GAP, Cell.UNASKED)),
            [f"{n:02}.png" for n in range(30) if n % 3 != 2 and n % 5 != 4],
        ),
        (Filter(rejection="no_question"), [f"{n:02}.png" for n in range(4, 30, 5)]),
        (Filter(rejection="image"), ["broken.png", "same.png"]),
        (Filter(rejection="duplicate"), ["same.png"]),
        (Filter(question="THING_1?"), ["01.png"]),
        (Filter(question="100%"), [f"{n:02}.png" for n in range(30) if n % 5 != 4]),
        (Filter(question="100_"), []),
        (Filter(question="thing_1", cells=(Cell.GAP,)), ["12.png", "15.png", "18.png"]),
        (Filter(usable=True), [f"{n:02}.png" for n in range(30) if n % 5 != 4]),
    ],
)
def test_filters(ledger, chosen, expected):
    assert paths(ledger, chosen) == expected
    assert paths(ledger, chosen, limit=2, offset=1) == expected[1:3]


def test_a_cell_is_the_present_rounds(ledger):
    ledger.begin_round(2)
    assert paths(ledger, Filter(cells=(Cell.GAP,))) == []
    ledger.add_record(sha256(1), 0, Cell.GAP, "exact@1")
    assert paths(ledger, Filter(cells=(Cell.GAP,))) == ["01.png"]


def test_columns_explain_a_record_whole(ledger):
    settings = new_settings("pool", "vqa", "paper")
    gap, unasked = (
        columns(entry, settings) for entry in read_entries(ledger, Filter(usable=True), 2)
    )
    assert gap["cell"] == "gap"
    assert (gap["student_right"], gap["teacher_right"]) == (False, True)
    assert (gap["matcher"], gap["student_matcher"]) == ("exact@1", "contains@1")
    assert (gap["student_answer"], gap["student_version"], gap["student_conditions"]) == (
        "blue",
        "v1",
        "c0ffee",
    )
    assert (gap["student_prompt_tokens"], gap["annotation_cost_usd"]) == (100, 0.001)
    assert (gap["annotation_model"], gap["annotation_seed"], gap["reply"]) == (
        "teacher-a",
        0,
        "as written",
    )
    assert len(str(gap["annotation_conditions"])) == 16
    assert (unasked["student_right"], unasked["teacher_right"], unasked["teacher_answer"]) == (
        True,
        None,
        None,
    )
    rejected = columns(next(read_entries(ledger, Filter(rejection="no_question"))), settings)
    assert (rejected["rejection"], rejected["cell"], rejected["question"]) == (
        "no_question",
        None,
        None,
    )
    refused = columns(next(read_entries(ledger, Filter(rejection="image"))), settings)
    assert (refused["image_path"], refused["detail"], refused["annotation_seed"]) == (
        "broken.png",
        "cut off",
        None,
    )
    assert gap.keys() == rejected.keys() == refused.keys()


def test_what_can_not_be_asked_for_is_told(ledger):
    with pytest.raises(
        InvalidInput, match="its reasons are: IMAGE_TRUNCATED, duplicate, no_question"
    ):
        paths(ledger, Filter(rejection="no_reason"))
    with pytest.raises(InvalidInput, match="in no cell"):
        Filter(cells=(Cell.GAP,), rejection="duplicate")


def test_every_record_is_explained_page_by_page(run):
    with read_run(run) as opened:
        summary = summarise(opened.ledger)
    everything = lines("runs", "show", run, "--limit", 1000)
    usable = [row for row in everything if row["cell"]]
    assert len(usable) == summary.annotations
    assert {row["image_path"] for row in everything if row["rejection"] == "IMAGE_UNREADABLE"} == {
        "broken.png"
    }
    for cell, count in summary.cells.items():
        rows = lines("runs", "show", run, "--cell", cell, "--limit", 1000)
        assert len(rows) == count
        assert {row["cell"] for row in rows} <= {cell}
    gap = lines("runs", "show", run, "--cell", "gap", "--limit", 1000)
    assert all(row["student_answer"] != row["answer"] == row["teacher_answer"] for row in gap)
    pages = [
        lines("runs", "show", run, "--cell", "gap", "--limit", 10, "--page", page)
        for page in (1, 2, 3)
    ]
    assert [row for page in pages for row in page] == gap[:30]


def test_a_page_for_people(run):
    shown = said("runs", "show", run, "--cell", "gap", "--limit", 2)
    assert "gap: teacher right, student wrong (by exact@1)" in shown
    assert "annotated by teacher-a, seed" in shown
    assert "student v1: unknown" in shown
    assert "more: --page 2" in shown
    assert "rejected: no_question" in said("runs", "show", run, "--rejected", "no_question")
    assert "broken.png refused: IMAGE_UNREADABLE" in said(
        "runs", "show", run, "--rejected", "image"
    )
    assert "no such records" in said(
        "runs", "show", run, "--question", "what is the meaning of it all"
    )
    question = lines("runs", "show", run, "--cell", "gap")[0]["question"]
    assert question in said("runs", "show", run, "--question", question.upper())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "--rejected", "refusal"], "its reasons are: IMAGE_UNREADABLE, no_question"),
        (["show", "--rejected", "no_question", "--cell", "gap"], "in no cell"),
    ],
)
def test_a_wrong_filter_is_told(run, arguments, complaint):
    command, *options = arguments
    assert complaint in said("runs", command, run, *options, code=1)
