import hashlib
from dataclasses import replace

from services.core.annotation import Rejection
from services.core.parity import Cell
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.run.ledger import AnswerRow, ImageRow, Ledger
from services.orchestrator.run.ledger.schema import IMAGES_ON_A_SHELF
from tests.orchestrator.run.ledger.filled import ROW, fill


def test_writing_twice_is_writing_once(ledger, tmp_path):
    fill(ledger)
    fill(ledger)
    assert [(record.path, record.cell) for record in ledger.records()] == [("a.png", Cell.GAP)]
    assert ledger.annotations("aa") == [ROW]
    assert ledger.answer("aa", "what is it?", "student", "v1").answer == "blue"
    assert ledger.answer("aa", "what is it?", "student", "v2") is None


def test_an_answer_once_given_is_never_replaced(ledger):
    fill(ledger)
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "student", "v1", "green", "c0ffee", "evaluate")
    )
    assert ledger.answer("aa", "what is it?", "student", "v1").answer == "blue"


def test_a_failed_call_leaves_its_image_unfinished(ledger):
    fill(ledger)
    ledger.add_image(ImageRow("a.png", "aa"))
    ledger.reject(ROW, Rejection.STUDENT_ERROR, "why")
    ledger.set_step("aa", 2)
    assert ledger.image("a.png").step == 0
    assert ledger.failures() == (1, 1, "why")
    assert list(ledger.records()) == []


def test_rows_lie_by_when_their_image_came(ledger, tmp_path):
    count, last = 2 * IMAGES_ON_A_SHELF + 3, 2 * IMAGES_ON_A_SHELF + 2
    shas = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    with ledger.at_once():
        for number, sha256 in enumerate(shas):
            ledger.add_image(ImageRow(f"{number:05}.png", sha256))
            ledger.add_annotation(replace(ROW, image_sha256=sha256))
            ledger.add_answer(
                AnswerRow(sha256, "what is it?", "student", "v1", "blue", "c0ffee", "identify")
            )
            ledger.add_record(sha256, 0, Cell.GAP, "exact@1")
    ledger.add_image(ImageRow("again.png", shas[0], "duplicate"))
    ledger.add_image(ImageRow("00000.png", shas[0], "unreadable"))
    assert ledger.shelf("b" * 64) == 0, "not the run's"
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    for held in (ledger, reader):
        assert [
            held.shelf(shas[number])
            for number in (0, IMAGES_ON_A_SHELF - 1, IMAGES_ON_A_SHELF, last)
        ] == [0, 0, 1, 2]
        assert held.annotations(shas[last]) == [replace(ROW, image_sha256=shas[last])]
        assert held.answer(shas[last], "what is it?", "student", "v1").answer == "blue"
        assert held.cell(shas[last], 0) == "gap"
    in_order = [
        (number // IMAGES_ON_A_SHELF, sha256) for number, sha256 in enumerate(shas) if number
    ]
    assert [record.image_sha256 for record in reader.records()] == [
        sha256 for _, sha256 in sorted(in_order)
    ]
    reader.close()


def test_cells_are_counted(ledger):
    fill(ledger)
    assert ledger.cell_counts() == {Cell.GAP: 1}


PROVENANCE = Provenance(FinishReason.LENGTH, Usage(1200, 30, 400, 0.0125), "fp_1")


def test_how_a_reply_came_about_is_kept_and_added_up_by_role(ledger):
    ledger.add_annotation(replace(ROW, provenance=PROVENANCE))
    for version in ("v1", "v2"):
        ledger.add_answer(
            AnswerRow(
                "aa", "what is it?", "student", version, "red", "c0ffee", "identify", PROVENANCE
            )
        )
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "teacher", "t", "red", "c0ffee", "identify", PROVENANCE)
    )
    assert ledger.annotations("aa")[0].provenance == PROVENANCE
    assert ledger.answer("aa", "what is it?", "teacher", "t").provenance == PROVENANCE
    assert ledger.usage() == dict.fromkeys(
        ("teacher", "student"), PROVENANCE.usage + PROVENANCE.usage
    )


def test_each_round_has_records_and_steps_of_its_own(ledger, tmp_path):
    fill(ledger)
    ledger.begin_round(2)
    assert (ledger.cell("aa", 0), ledger.image("a.png").step, list(ledger.records())) == ("", 0, [])
    ledger.add_record("aa", 0, Cell.UNASKED, "exact@1")
    ledger.set_step("aa", 1)
    assert ledger.image("a.png").step == 1
    reader = Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert reader.round == 2
    assert [record.cell for record in reader.records()] == [Cell.UNASKED]
    assert list(reader.read("SELECT cell FROM records ORDER BY round")) == [("gap",), ("unasked",)]
    reader.close()


def test_what_came_from_the_cache_is_on_no_bill(ledger):
    ledger.add_annotation(replace(ROW, provenance=PROVENANCE))
    cached = replace(PROVENANCE, is_cached=True)
    ledger.add_annotation(replace(ROW, number=1, provenance=cached))
    ledger.add_answer(
        AnswerRow("aa", "what is it?", "teacher", "t", "red", "c0ffee", "identify", cached)
    )
    assert ledger.annotations("aa")[1].provenance == cached
    assert ledger.usage() == {"teacher": PROVENANCE.usage}
