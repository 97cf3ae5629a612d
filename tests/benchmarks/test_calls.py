"""The calls of a run, as its ledger knows them."""

import pytest

from benchmarks.calls import Call, annotation_calls, answer_calls
from services.core.annotation import Rejection
from services.core.decoding import Decoding
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from tests.pictures import png

RECIPE = RECIPES["paper"]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(png())
    with open_run(tmp_path / "run", new_settings(str(tmp_path / "images"), "vqa", "paper")) as run:
        run.ledger.add_image(ImageRow("a.png", "aa"))
        run.ledger.add_image(ImageRow("b.png", "aa", "duplicate"))
        yield run


def test_every_reply_was_a_call_and_a_call_that_failed_was_none(run, tmp_path):
    run.ledger.add_annotation(
        AnnotationRow("aa", 0, 0, "hm", "", "", Rejection.NO_QUESTION, 7, "teacher")
    )
    run.ledger.add_annotation(
        AnnotationRow("aa", 0, 1, "Question: ...", "what?", "red", "", 8, "teacher")
    )
    run.ledger.add_annotation(AnnotationRow("aa", 1, 0, "", "", "", Rejection.TEACHER_ERROR, 9, ""))
    made = list(annotation_calls(run))
    assert [(call.image, call.decoding.seed) for call in made] == [
        (str(tmp_path / "images" / "a.png"), seed) for seed in (7, 8)
    ]
    assert made[0].text == RECIPE.annotation_prompt(TASKS["vqa"])
    assert made[0].decoding.temperature == RECIPE.annotation_decoding.temperature


def test_answers_are_those_of_one_model(run):
    for role, question in (("student", "what?"), ("student", "where?"), ("teacher", "what?")):
        run.ledger.add_answer(AnswerRow("aa", question, role, "v1", "red", "c0ffee", "identify"))
    assert [call.text for call in answer_calls(run, "student")] == [
        answer_prompt("what?"),
        answer_prompt("where?"),
    ]
    assert len(list(answer_calls(run, "teacher"))) == 1


def test_a_call_is_read_as_it_was_written():
    call = Call("a.png", "what?", Decoding(0.7, 0.9, 32, 5))
    assert Call.read(call.written()) == call
