"""Annotation and identification with busy, failing and replaced services."""

import asyncio
import json
from collections import Counter
from dataclasses import replace

import pytest

from services.core.errors import (
    BadReply,
    InvalidInput,
    MpaError,
    Overloaded,
    Pending,
    Unavailable,
    WrongState,
)
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.rounds import in_ledger
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import gone_after, serving
from tests.waiting import until


async def test_an_overloaded_service_is_given_time(tmp_path, pool):
    refusals = Counter()

    def trouble(kind):
        refusals[kind] += 1
        return Overloaded("full", retry_after_s=0.01) if refusals[kind] % 3 == 0 else None

    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    async with bench(tmp_path / "run", pool, ScriptedTeacher(trouble=trouble)) as b:
        summary = await b.align()
    assert b.parity_set() == calm.parity_set()
    assert summary.teacher_calls == b.teacher.calls.total()


async def test_a_service_that_takes_so_many_at_once_is_given_about_so_many(tmp_path, pool):
    """Refused calls slow the run down and fail nothing."""
    async with bench(tmp_path / "calm", pool, recipe="paper") as calm:
        await calm.align()
    teacher, student = ScriptedTeacher(delay_s=0.01, room=24), ScriptedStudent(delay_s=0.01)
    async with bench(tmp_path / "run", pool, teacher, student, recipe="paper") as b:
        summary = await b.align()
    assert b.parity_set() == calm.parity_set()
    assert summary.rejected == {}
    assert 12 < teacher.most_at_once <= 24
    assert teacher.refused < 60


async def test_a_call_that_fails_is_recorded_and_made_again_when_the_run_is_repeated(
    tmp_path, pool
):
    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    calls = Counter()

    def trouble(kind):
        calls[kind] += 1
        if calls[kind] <= 6:
            return InvalidInput("I don't like this one")
        return Unavailable("gone") if calls[kind] > 60 else None

    student = ScriptedStudent(trouble=trouble)
    async with bench(tmp_path / "run", pool, student=student, patience_s=0.3) as b:
        with pytest.raises(Unavailable):
            await b.align()
        failed = rows(
            tmp_path / "run", "SELECT detail FROM annotations WHERE rejection = 'student_error'"
        )
        assert failed == [("I don't like this one",)] * 6
        b.student.trouble = lambda _: None
        summary = await b.align()
    assert summary.rejected == {}
    assert b.parity_set() == calm.parity_set()


async def test_a_bug_of_the_service_is_given_a_second_chance(tmp_path, pool):
    calls = Counter()

    def trouble(kind):
        calls[kind] += 1
        return MpaError("a bug") if calls[kind] <= 6 else None

    async with bench(tmp_path / "run", pool, student=ScriptedStudent(trouble=trouble)) as b:
        assert (await b.align()).rejected == {}


async def test_a_service_that_fails_everything_stops_the_run(tmp_path, pool):
    async with bench(
        tmp_path / "run", pool, student=ScriptedStudent(trouble=lambda _: InvalidInput("no"))
    ) as b:
        with pytest.raises(MpaError, match=r"failed on 240 of 240 annotations \(no\)"):
            await b.align()
        b.student.trouble = lambda _: None
        assert (await b.align()).rejected == {}
        assert b.teacher.calls["annotate"] == 240


async def test_a_service_that_goes_away_stops_the_run_and_the_same_command_resumes_it(
    tmp_path, pool
):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    teacher, student = ScriptedTeacher(), ScriptedStudent(trouble=gone_after(60))
    async with bench(tmp_path / "run", pool, teacher, student, patience_s=0.3) as b:
        with pytest.raises(
            Unavailable, match=r"the student at 127.0.0.1:\d+ gave no answer for 0.3 s"
        ):
            await b.align()
    student.trouble = lambda _: None
    finished = {key: student.keys[key] for key in in_ledger(b.folder) if key in student.keys}
    async with bench(tmp_path / "run", pool, teacher, student) as b:
        resumed = await b.align()
    assert b.parity_set() == calm.parity_set()
    assert (resumed.teacher_calls, resumed.student_calls) == (
        whole.teacher_calls,
        whole.student_calls,
    )
    assert {key: student.keys[key] for key in finished} == finished != {}


async def test_a_service_that_dies_and_comes_back_costs_only_time(tmp_path, pool):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    student = ScriptedStudent(delay_s=0.02)
    async with (
        bench(tmp_path / "run", pool, ScriptedTeacher(delay_s=0.02), student) as b,
        asyncio.TaskGroup() as group,
    ):
        async with serving(student) as first:
            port = int(first.rpartition(":")[2])
            b.where = replace(b.where, student=first)
            aligning = group.create_task(b.align())
            await until(lambda: student.calls["answer"] >= 30)
        await asyncio.sleep(0.5)
        async with serving(student, port):
            summary = await aligning
    assert b.parity_set() == calm.parity_set()
    assert summary.student_calls == whole.student_calls
    assert "waiting for the student" in b.output.getvalue()


async def test_another_teacher_is_not_mixed_in(tmp_path, pool):
    student = ScriptedStudent(trouble=lambda _: Unavailable("gone"))
    async with bench(tmp_path / "run", pool, student=student, patience_s=0.1) as b:
        with pytest.raises(Unavailable):
            await b.align()
    async with bench(tmp_path / "run", pool, ScriptedTeacher(fingerprint="teacher-b")) as b:
        with pytest.raises(WrongState, match=r"another model \(teacher-b\)"):
            await b.align()


async def test_what_waits_in_a_providers_batch_stops_the_run_and_is_taken_up_when_it_is_repeated(
    tmp_path, pool
):
    """A teacher like the openai one with batches: all first calls are pending."""
    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    is_back = set()

    def trouble(kind):
        return None if kind in is_back else Pending("batch_7 is under way", retry_after_s=60)

    async with bench(tmp_path / "run", pool, ScriptedTeacher(trouble=trouble)) as b:
        with pytest.raises(Pending, match="240 annotations have to wait: batch_7 is under way"):
            await b.align()
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["rejected"] == {
            "pending": 240
        }
        is_back.add("annotate")
        with pytest.raises(Pending):
            await b.align()
        is_back.add("answer")
        summary = await b.align()
    assert summary.rejected == {}
    assert b.parity_set() == calm.parity_set()
    assert max(b.teacher.keys.values()) == 1
    assert max(count for key, count in b.student.keys.items() if key[-1]) == 1


async def test_an_unusable_reply_costs_its_record_and_no_second_try(tmp_path, pool):
    calls = Counter()

    def trouble(kind):
        calls[kind] += 1
        return (
            BadReply("replied with nothing, 2 times")
            if kind == "annotate" and calls[kind] <= 6
            else None
        )

    async with bench(tmp_path / "run", pool, ScriptedTeacher(trouble=trouble)) as b:
        summary = await b.align()
    assert summary.rejected == {"teacher_error": 6}
    assert calls["annotate"] == 240
