import pytest

from services.core.errors import WrongState
from services.core.parity import Cell
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, Ledger
from services.orchestrator.run.ledger.excerpt import Excerpt, Excerpts
from services.orchestrator.run.state import State

SHA = "a" * 64


@pytest.fixture
def ledgers(tmp_path):
    opened = [Ledger(tmp_path / name) for name in ("one.sqlite", "other.sqlite")]
    yield opened
    for ledger in opened:
        ledger.close()


def fill(ledger):
    State(ledger).set_teacher(0, "teacher-a")
    ledger.add_annotation(
        AnnotationRow(SHA, 0, 0, "Question: q? Answer: é", "q?", "é", "", 7, "teacher-a")
    )
    ledger.add_answer(AnswerRow(SHA, "q?", "student", "v1", "no", "c", "identify"))
    ledger.add_record(SHA, 0, Cell.GAP, "exact@1")
    ledger.add_annotation(
        AnnotationRow("b" * 64, 0, 0, "of another image", "", "", "", 7, "teacher-a")
    )


def test_an_image_travels_with_all_that_is_known_of_it(ledgers):
    one, other = ledgers
    fill(one)
    taken = Excerpt.from_json(Excerpts(one).take(SHA, other.metas()).to_json())
    for _ in range(2):  # a second time changes nothing
        Excerpts(other).put(taken)
    assert other.annotations(SHA) == one.annotations(SHA)
    assert other.answer(SHA, "q?", "student", "v1") == one.answer(SHA, "q?", "student", "v1")
    assert other.cell(SHA, 0) == Cell.GAP
    assert other.annotations("b" * 64) == []
    assert State(other).teacher() == "teacher-a"


def test_what_the_reader_knows_stays_at_home(ledgers):
    fill(ledgers[0])
    assert Excerpts(ledgers[0]).take(SHA, ledgers[0].metas()).meta == {}


def test_a_later_state_of_a_row_takes_the_place_of_the_earlier(ledgers):
    one, other = ledgers
    fill(one)
    Excerpts(other).put(Excerpts(one).take(SHA, {}))
    one.reject(one.annotations(SHA)[0], "duplicate")
    Excerpts(other).put(Excerpts(one).take(SHA, {}))
    assert [row.rejection for row in other.annotations(SHA)] == ["duplicate"]


def test_another_teacher_is_refused(ledgers):
    one, other = ledgers
    fill(one)
    State(other).set_teacher(0, "teacher-b")
    with pytest.raises(
        WrongState, match=r"teacher of this run is teacher-b, and teacher-a answered"
    ):
        Excerpts(other).put(Excerpts(one).take(SHA, other.metas()))
    assert other.annotations(SHA) == []
