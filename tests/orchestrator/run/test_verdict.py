"""The verdict of a run: read from its ledger, or from labels that both models were asked."""

import json
import math

import pytest
import typer
from rich.console import Console

from services.core.errors import NothingToAlign, WrongState
from services.core.evaluation import Decision, compare
from services.core.noninferiority import Conclusion
from services.core.provenance import Provenance
from services.core.usage import Usage
from services.engines.images import sha256
from services.orchestrator.cli import commands
from services.orchestrator.cli.options import finite
from services.orchestrator.reports import verdict as report
from services.orchestrator.run.evaluation import RunEvaluation
from services.orchestrator.run.ledger import AnswerRow, Ledger
from services.orchestrator.run.run import open_run, read_run
from services.orchestrator.run.running_costs import ASKED_ALONE, ModelPrice, measure_economy
from services.orchestrator.run.state import Outcome, State, Version
from services.orchestrator.run.verdict import Subject, find_subject, is_answered, read_verdict
from tests.orchestrator.conftest import bench
from tests.orchestrator.run.runs import said, told
from tests.orchestrator.scripted import ScriptedTeacher, truth
from tests.orchestrator.ui.exhibits import make_run
from tests.pictures import numbered_png


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 120 records, written row by row, that has put nothing live."""
    folder = tmp_path_factory.mktemp("finished")
    return make_run(folder / "run", folder / "pool")


def labels(pool) -> list[dict]:
    """Three questions about each image, with the answers of `truth`."""
    found = []
    for number in range(40):
        content = sha256(numbered_png(number + 1000))
        (pool / f"{number:03}.png").write_bytes(numbered_png(number + 1000))
        for asked in ("what color is it?", "is it large?", "how many are there?"):
            found.append(
                {
                    "image": f"{number:03}.png",
                    "question": asked,
                    "answers": [truth(content, asked)],
                    "kind": asked.split()[0],
                }
            )
    return found


def test_without_labels_the_teacher_is_the_truth_and_the_verdict_says_so(finished):
    with read_run(finished) as run:
        found = read_verdict(run, 0.05)
    overall = found.comparison.overall
    assert overall.old == 1.0
    assert overall.new == overall.agreement == pytest.approx(0.5, abs=0.1)
    assert found.conclusion is Conclusion.NO
    assert found.sentence == "no: v2 may not replace the teacher"
    text = said("verdict", finished)
    assert "this is agreement with the teacher, not truth" in text
    assert "v2 was not promoted" in text
    assert "give --teacher-usd-per-hour" in text


def test_the_document_has_what_the_text_has(finished):
    found = told("verdict", finished, "--margin", "80", "--teacher-usd", "9", "--student-usd", "1")
    assert found["conclusion"] == "yes"
    assert found["comparison"]["overall"]["margin"] == 0.8
    assert set(found["comparison"]["kinds"]) >= {"other", "yes/no"}
    assert found["economy"]["teacher"] == {"usd_per_thousand": 9.0, "basis": "as stated"}
    assert found["economy"]["break_even"] is None, "its devices have no price"
    assert "give --student-usd-per-hour" in found["economy"]["sentence"]


def test_images_that_were_trained_on_and_reviews_are_noted(tmp_path):
    folder = make_run(tmp_path / "run", tmp_path / "pool", images=12)
    with open_run(folder) as run:
        before = read_verdict(run, 0.05).notes
        run.state.leaked_into_training, run.state.review_limit = 3, 1
        reviewed = read_verdict(run, 0.05).notes
        by_labels = read_verdict(run, 0.05, tmp_path / "labels.jsonl").notes
    assert [note for note in reviewed if note not in before] == [
        "people's reviews are the reference of the records that they decided on"
    ]
    assert any(note.startswith("3 images of the run are in its labelled") for note in by_labels)


def test_without_an_evaluated_student_there_is_nothing_to_judge(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        with pytest.raises(WrongState, match="finish `mpa-orch align`"):
            find_subject(ledger)
        State(ledger).outcome, State(ledger).reason = Outcome.NOTHING_TO_ALIGN, "at parity"
        with pytest.raises(NothingToAlign, match="at parity"):
            find_subject(ledger)
    finally:
        ledger.close()


def test_the_version_that_was_promoted_last_is_judged(tmp_path):
    """A later candidate that was not promoted doesn't serve anybody."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    evaluation = RunEvaluation(compare([]), Decision(True, "better"))
    try:
        for number, outcome in enumerate((Outcome.PROMOTED, Outcome.NOT_PROMOTED), start=1):
            if number > 1:
                with ledger.at_once():
                    ledger.begin_round(number)
            state = State(ledger)
            state.candidate, state.evaluation = Version(f"v{number + 1}"), evaluation
            state.outcome = outcome
        assert find_subject(ledger) == Subject("v2", 1, True)
    finally:
        ledger.close()


@pytest.mark.parametrize("option", ["--teacher-usd", "--student-usd-per-hour"])
def test_a_price_without_a_value_is_a_usage_error(finished, option):
    text = said("verdict", finished, option, "inf", code=2)
    assert option in text and "give a number such as 5" in text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_an_option_refuses_what_a_range_may_let_through(number):
    """A comparison with nan is always false, so a range check of Click's does."""
    with pytest.raises(typer.BadParameter, match="give a number"):
        finite(number)


def test_a_margin_of_nothing_is_a_usage_error(finished):
    assert "--margin" in said("verdict", finished, "--margin", "0", code=2)


def test_labels_that_nobody_answered_need_the_services(finished, tmp_path):
    (tmp_path / "labels.jsonl").write_text("{}")
    text = said("verdict", finished, "--eval", tmp_path / "labels.jsonl", code=2)
    assert "name the services" in text


async def test_labels_are_put_to_both_models_once(tmp_path, pool):
    labelled = tmp_path / "set" / "labels.jsonl"
    labelled.parent.mkdir()
    labelled.write_text("\n".join(map(json.dumps, labels(labelled.parent))))
    async with bench(tmp_path / "run", pool, ScriptedTeacher(skill=0.9)) as b:
        await b.align()
        with open_run(b.folder) as run, b.progress() as progress:
            await commands.confront(run, b.where, labelled, progress)
            first = b.teacher.calls["answer"], b.student.calls["answer"]
            await commands.confront(run, b.where, labelled, progress)
            assert (b.teacher.calls["answer"], b.student.calls["answer"]) == first
            whole = labelled.read_text()
            (labelled.parent / "bad.png").write_bytes(b"no image")
            further = {**json.loads(whole.splitlines()[0]), "question": "is it round?"}
            missing = {**further, "image": "bad.png"}
            labelled.write_text("\n".join([*map(json.dumps, (further, missing)), whole]))
            assert not is_answered(run.ledger, find_subject(run.ledger), labelled)
            await commands.confront(run, b.where, labelled, progress)
            assert b.teacher.calls["answer"] == first[0] + 1
            assert b.student.calls["answer"] == first[1] + 1, "the new question alone"
            grown = read_verdict(run, 0.05, labelled)
            assert grown.comparison.overall.questions == 121
            (note,) = (each for each in grown.notes if "could not be put" in each)
            assert note.startswith("1 questions")
            labelled.write_text(whole)
            await commands.confront(run, b.where, labelled, progress)
            seconds = run.state.seconds
            assert seconds["verdict teacher"] > 0 and seconds["verdict student"] > 0
    with read_run(b.folder) as run:
        assert is_answered(run.ledger, read_verdict(run, 0.05).subject, labelled)
        found = read_verdict(run, 0.10, labelled, student=ModelPrice(usd_per_hour=3600.0))
    overall = found.comparison.overall
    assert found.is_by_labels
    (note,) = found.notes
    assert "images of the run are in its labelled sets" in note, "the set was named after all"
    assert overall.questions == 120
    assert overall.new == pytest.approx(0.9, abs=0.08)
    assert overall.new == overall.old
    assert overall.agreement == 1.0, "both of them know the same questions"
    assert sorted(found.comparison.kinds) == ["how", "is", "what"]
    assert found.economy.teacher.usd_per_thousand == pytest.approx(1.0), "by the provider's prices"
    assert found.economy.student.usd_per_thousand == pytest.approx(
        1e3 * seconds["verdict student"] / 121, rel=0.5
    )
    text = said("verdict", b.folder, "--eval", labelled, "--margin", "10")
    assert "yes: v2 may replace the teacher" in text


@pytest.mark.parametrize(
    "teacher, student, break_even",
    [(9.0, 1.0, 12_500), (1.0, 1.0, None), (None, 1.0, None)],
)
def test_the_alignment_pays_for_itself_by_the_difference_of_the_prices(
    tmp_path, teacher, student, break_even
):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    State(ledger).add_seconds("annotate", 1800)
    State(ledger).add_seconds("identify", 3600)
    State(ledger).add_seconds("level", 3600)
    try:
        found = measure_economy(ledger, ModelPrice(teacher, 40.0), ModelPrice(student, 10.0))
    finally:
        ledger.close()
    assert found.alignment_usd == pytest.approx(100.0), "annotation is a part of identification"
    assert found.break_even == break_even


def test_the_bill_is_of_the_teacher_that_is_compared_and_of_the_alignment_alone(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        State(ledger).set_teacher(0, "first")
        State(ledger).set_teacher(1, "second")
        for version, step, usd in (
            ("first", "identify", 0.002),
            ("first", ASKED_ALONE, 0.004),
            ("second", "identify", 0.1),
        ):
            paid = Provenance(usage=Usage(cost_usd=usd))
            ledger.add_answer(
                AnswerRow("aa", step, "teacher", version, "red", "c", step, provenance=paid)
            )
        found = measure_economy(ledger, ModelPrice(), ModelPrice())
    finally:
        ledger.close()
    assert found.teacher.usd_per_thousand == pytest.approx(3.0)
    assert found.alignment_usd == pytest.approx(0.102)


def test_the_text_is_for_people(finished):
    console = Console(record=True, width=200)
    with read_run(finished) as run:
        report.show(read_verdict(run, 0.05), console)
    assert "yes if the whole 95% interval of the difference is above -5" in console.export_text()
