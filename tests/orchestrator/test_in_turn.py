"""--single-device against scripted services: the records of side by side, one model at a time."""

from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.core.errors import InvalidInput, NothingToAlign, Unavailable, WrongState
from services.orchestrator import in_turn
from services.orchestrator.cli.main import app
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.run import open_run
from services.orchestrator.run.summary import write_summary
from tests.orchestrator.conftest import bench, rows, with_recipe
from tests.orchestrator.rounds import in_ledger
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import gone_after, serving
from tests.orchestrator.test_alignment import labelled

__all__ = ["labelled"]

RECORDS = "SELECT image_sha256, number, cell, matcher FROM records ORDER BY 1, 2"


async def align_in_turn(b, *, teacher_takes_turns=True):
    with open_run(b.folder, b.settings) as run, b.progress() as progress:
        await in_turn.align(
            run,
            b.where,
            b.labelled,
            lambda _: True,
            progress,
            teacher_takes_turns=teacher_takes_turns,
        )
        return write_summary(run)


def turns(calls):
    """Roles at work, in order; each stretch once."""
    return [role for role, _ in groupby(calls)]


@pytest.fixture
def watched():
    """A teacher and a student that record whose turn it is, and how often each was asked."""
    calls: list[str] = []

    def watch(role):
        return lambda _: calls.append(role)

    return (
        ScriptedTeacher(trouble=watch("teacher")),
        ScriptedStudent(trouble=watch("student")),
        calls,
    )


@pytest.mark.parametrize("full_matrix", [False, True])
async def test_the_models_take_turns_and_the_records_are_the_same(
    tmp_path, pool, labelled, watched, full_matrix
):
    teacher, student, calls = watched
    async with bench(tmp_path / "beside", pool, full_matrix=full_matrix) as beside:
        beside.settings = with_recipe(beside.settings, held_out=0.3)
        beside.labelled = labelled
        expected = await beside.align()
    async with bench(tmp_path / "run", pool, teacher, student, full_matrix=full_matrix) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        b.labelled = labelled
        summary = await align_in_turn(b)
    assert turns(calls) == ["teacher", "student", "teacher", "student"]
    assert b.parity_set() == beside.parity_set() != ""
    assert rows(b.folder, RECORDS) == rows(beside.folder, RECORDS)
    assert (summary.teacher_calls, summary.student_calls) == (
        expected.teacher_calls,
        expected.student_calls,
    )
    assert summary.labelled == expected.labelled
    assert summary.teacher == expected.teacher
    assert summary.promoted
    assert student.live == "v2"
    assert max(count for key, count in teacher.keys.items()) == 1


async def test_a_teacher_elsewhere_is_asked_whenever_it_is_needed(
    tmp_path, pool, labelled, watched
):
    teacher, student, calls = watched
    async with bench(tmp_path / "run", pool, teacher, student) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        b.labelled = labelled
        summary = await align_in_turn(b, teacher_takes_turns=False)
    assert summary.promoted
    assert len(turns(calls)) > 4, "side by side"
    assert summary.teacher is not None


async def test_stopped_anywhere_it_goes_on_to_the_same_parity_set_and_asks_nothing_twice(
    tmp_path, pool
):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    stops = iter(
        [
            ("teacher", 100),
            ("teacher", 180),
            ("student", 90),
            ("student", 200),
            ("teacher", 300),
            (None, 0),
        ]
    )
    asked, (who, when) = Counter(), next(stops)

    def trouble(role):
        def now(_):
            asked[role] += 1
            return Unavailable("gone") if role == who and asked[role] > when else None

        return now

    teacher = ScriptedTeacher(trouble=trouble("teacher"))
    student = ScriptedStudent(trouble=trouble("student"))
    finished = {}
    async with bench(tmp_path / "run", pool, teacher, student, patience_s=0.1) as b:
        stopped = 0
        while who:
            with pytest.raises(Unavailable):
                await align_in_turn(b)
            stopped, (who, when) = stopped + 1, next(stops)
            asked["teacher"], asked["student"] = teacher.calls.total(), student.calls.total()
            counted = teacher.keys + student.keys
            finished |= {key: counted[key] for key in set(in_ledger(b.folder)) - set(finished)}
        summary = await align_in_turn(b)
    assert stopped == 5
    assert b.parity_set() == calm.parity_set()
    assert (summary.teacher_calls, summary.student_calls) == (
        whole.teacher_calls,
        whole.student_calls,
    )
    counted = teacher.keys + student.keys
    assert {key: counted[key] for key in finished} == finished != {}


async def test_a_run_may_change_between_side_by_side_and_in_turn(tmp_path, pool):
    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    teacher, student = ScriptedTeacher(), ScriptedStudent(trouble=gone_after(60))
    async with bench(tmp_path / "run", pool, teacher, student, patience_s=0.1) as b:
        with pytest.raises(Unavailable):
            await b.align()
        student.trouble = lambda _: None
        await align_in_turn(b)
    assert b.parity_set() == calm.parity_set()
    repeated = sum(teacher.keys.values()) - len(teacher.keys)
    assert repeated <= 64, "only what was in flight when the student went away"


@pytest.mark.parametrize("role", ["student", "teacher"])
async def test_a_call_that_failed_is_recorded_and_made_again_where_its_model_is_up_again(
    tmp_path, pool, role
):
    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    asked = Counter()

    def refuse_some(kind):
        asked[kind] += 1
        if kind == "answer" and asked[kind] <= 6:
            return InvalidInput("I don't like this one")
        return Unavailable("gone") if kind == "answer" and asked[kind] > 40 else None

    scripted = {
        role: {"student": ScriptedStudent, "teacher": ScriptedTeacher}[role](trouble=refuse_some)
    }
    async with bench(tmp_path / "run", pool, **scripted, patience_s=0.1) as b:
        with pytest.raises(Unavailable):
            await align_in_turn(b)
        failed = rows(b.folder, f"SELECT detail FROM annotations WHERE rejection = '{role}_error'")
        assert failed == [("I don't like this one",)] * 6
        scripted[role].trouble = lambda _: None
        summary = await align_in_turn(b)
    assert summary.rejected == {}
    assert b.parity_set() == calm.parity_set()


async def test_a_student_at_parity_is_not_trained_and_the_labels_cost_nothing(
    tmp_path, pool, labelled
):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(skills={"v1": 0.99})) as b:
        b.labelled = labelled
        with pytest.raises(NothingToAlign):
            await align_in_turn(b)
        assert b.student.trainings == []
        assert not rows(b.folder, "SELECT 1 FROM answers WHERE step = 'evaluate'")


async def test_a_labelled_set_that_is_named_later_is_measured_later(
    tmp_path, pool, labelled, watched
):
    teacher, student, calls = watched
    async with bench(tmp_path / "run", pool, teacher, student) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        await align_in_turn(b)
        calls.clear()
        b.labelled = labelled
        summary = await align_in_turn(b)
    assert turns(calls) == ["teacher", "student"]
    assert summary.labelled.questions == 100


async def test_another_teacher_in_its_second_turn_is_not_mixed_in(tmp_path, pool):
    student = ScriptedStudent()
    async with bench(tmp_path / "run", pool, student=student, patience_s=0.1) as b:
        student.trouble = lambda _: Unavailable("gone")
        with pytest.raises(Unavailable):
            await align_in_turn(b)
        student.trouble = lambda _: None
        async with serving(ScriptedTeacher(fingerprint="teacher-b")) as other:
            b.where = Where(other, b.where.student, patience_s=0.1)
            with pytest.raises(WrongState, match=r"another model \(teacher-b\)"):
                await align_in_turn(b)


def test_the_student_of_a_single_device_is_started_here(tmp_path):
    arguments = [
        "align",
        str(tmp_path),
        "--task",
        "vqa",
        "--single-device",
        "--student",
        "localhost:1",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "leave out --student" in " ".join(result.output.replace("│", " ").split())


def test_what_is_started_on_a_single_device():
    alone = Where(is_single_device=True)
    assert alone.starts("teacher")
    assert alone.starts("student")
    assert in_turn.takes_a_device(alone, {})
    assert not in_turn.takes_a_device(alone, {"MPA_TEACHER_ENGINE": "openai"})
    beside = Where("gpu1:50051", is_single_device=True)
    assert not beside.starts("teacher")
    assert beside.starts("student")
    assert not in_turn.takes_a_device(beside)
    assert not Where(str(Path()), "x").starts("student")
