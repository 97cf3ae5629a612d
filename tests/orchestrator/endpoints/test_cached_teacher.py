"""Runs with a teacher cache: known replies cost no call, a changed key costs exactly its own."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.errors import BudgetSpent, NotFound, Pending, Unavailable, WrongState
from services.core.usage import Usage
from services.orchestrator.endpoints.budget import Limits
from services.orchestrator.endpoints.cache import Cache
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.endpoints.test_budget import PER_CALL, PRICED
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher


async def test_a_second_student_costs_no_teacher_call_and_ends_as_it_would_without_a_cache(
    tmp_path, pool, cache
):
    teacher = ScriptedTeacher()
    better = {"v1": 0.6}
    async with bench(tmp_path / "first", pool, teacher, cache=cache, full_matrix=True) as b:
        first = await b.align()
    paid = teacher.calls.total()
    assert (first.teacher_calls, first.teacher_calls_saved) == (paid, 0)
    async with bench(
        tmp_path / "second", pool, teacher, ScriptedStudent(skills=dict(better)), cache=cache
    ) as second:
        summary = await second.align()
    async with bench(
        tmp_path / "fresh", pool, student=ScriptedStudent(skills=dict(better))
    ) as fresh:
        expected = await fresh.align()
    assert teacher.calls.total() == paid
    assert (summary.teacher_calls, summary.teacher_calls_saved) == (0, expected.teacher_calls)
    assert summary.usage["teacher"] == Usage()
    assert expected.usage["teacher"].cost_usd > 0
    assert second.parity_set() == fresh.parity_set()


async def test_a_second_student_after_student_first_pays_only_for_what_nobody_asked(
    tmp_path, pool, cache
):
    """A student that knows everything the first did not know, and errs elsewhere, needs
    other answers.
    """
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "first", pool, teacher, cache=cache) as b:
        await b.align()
    paid = teacher.calls.total()
    async with bench(
        tmp_path / "worse", pool, teacher, ScriptedStudent(skills={"v1": 0.2}), cache=cache
    ) as worse:
        summary = await worse.align()
    assert teacher.calls["annotate"] == 240
    assert 0 < teacher.calls.total() - paid == summary.teacher_calls < 100
    assert max(teacher.keys.values()) == 1


async def test_replies_that_a_killed_command_had_paid_for_and_not_recorded_are_on_the_bill(
    tmp_path, pool, cache
):
    teacher = ScriptedTeacher(tariff=PRICED)
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        with pytest.raises(BudgetSpent):
            await b.align(limits=Limits(usd=0.1))
        paid = teacher.calls.total()
        with closing(sqlite3.connect(b.folder / "ledger.sqlite")) as ledger, ledger:
            for table in ("annotations", "answers", "records"):
                ledger.execute(f"DELETE FROM {table}")
            ledger.execute("UPDATE images SET step = 0")
        with pytest.raises(BudgetSpent):
            await b.align(limits=Limits(usd=0.1))
        assert teacher.calls.total() == paid
        summary = await b.align()
    assert (summary.teacher_calls, summary.teacher_calls_saved) == (teacher.calls.total(), 0)
    assert summary.usage["teacher"].cost_usd == pytest.approx(PER_CALL * teacher.calls.total())
    assert max(teacher.keys.values()) == 1


async def test_with_everything_known_the_teacher_may_be_away(tmp_path, pool, cache):
    async with bench(tmp_path / "first", pool, cache=cache, full_matrix=True) as b:
        await b.align()
    async with bench(
        tmp_path / "second", pool, student=ScriptedStudent(skills={"v1": 0.6}), cache=cache
    ) as second:
        second.where = replace(second.where, teacher="cache:teach", patience_s=0.0)
        summary = await second.align()
        assert (summary.teacher_calls, summary.promoted) == (0, True)
        second.folder = tmp_path / "other"
        second.settings = replace(second.settings, seed=1)
        with pytest.raises(
            Pending, match=r"240 annotations have to wait.*the teacher is unreachable"
        ):
            await second.align()
        second.where = replace(second.where, teacher="cache:nobody")
        with pytest.raises(NotFound, match="no model whose fingerprint begins with 'nobody'"):
            await second.align()
        second.where = replace(second.where, cache=None)
        with pytest.raises(NotFound, match="--no-cache"):
            await second.align()


async def test_another_matcher_costs_no_call(tmp_path, pool, cache):
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "exact", pool, teacher, cache=cache, matcher="exact") as b:
        await b.align()
    paid = teacher.calls.total()
    async with bench(tmp_path / "contains", pool, teacher, cache=cache, matcher="contains") as b:
        summary = await b.align()
    assert (teacher.calls.total(), summary.matcher, summary.teacher_calls) == (
        paid,
        "contains@1",
        0,
    )


async def test_another_prompt_costs_its_own_calls_and_no_others(tmp_path, pool, cache):
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        await b.align()
        first = teacher.calls.copy()
        b.folder = tmp_path / "training"
        b.settings = with_recipe(b.settings, training_template="{question}")
        b.student.live = "v1"
        await b.align()
        assert teacher.calls == first
        b.folder = tmp_path / "answering"
        b.settings = with_recipe(b.settings, answer_template="Say it.\n{question}")
        b.student.live = "v1"
        await b.align()
    assert (teacher.calls["annotate"], teacher.calls["answer"]) == (
        first["annotate"],
        2 * first["answer"],
    )


async def test_new_images_another_seed_and_another_way_of_serving_cost_exactly_their_calls(
    tmp_path, pool, cache
):
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "part", pool, teacher, cache=cache, recipe="paper", limit=60) as b:
        await b.align()
    assert teacher.calls["annotate"] == 60
    async with bench(tmp_path / "all", pool, teacher, cache=cache, recipe="paper") as b:
        await b.align()
    assert teacher.calls["annotate"] == 120
    async with bench(tmp_path / "seed", pool, teacher, cache=cache, recipe="paper", seed=1) as b:
        await b.align()
    assert teacher.calls["annotate"] == 240
    teacher.serving = "other pixels"
    async with bench(tmp_path / "pixels", pool, teacher, cache=cache, recipe="paper") as b:
        await b.align()
    assert teacher.calls["annotate"] == 360


async def test_a_failed_call_is_never_kept(tmp_path, pool, cache):
    teacher = ScriptedTeacher(trouble=lambda _: Unavailable("gone"))
    async with bench(tmp_path / "run", pool, teacher, cache=cache, patience_s=0.1) as b:
        with pytest.raises(Unavailable):
            await b.align()
        with closing(Cache(cache)) as opened:
            assert list(opened.models()) == []
        teacher.trouble = lambda _: None
        summary = await b.align()
    assert summary.teacher_calls == teacher.calls.total()
    assert summary.teacher_calls_saved == 0


async def test_a_teacher_that_is_replaced_in_the_middle_stops_the_run(tmp_path, pool, cache):
    teacher = ScriptedTeacher()

    def replaced(kind):
        teacher.fingerprint = "teacher-b" if teacher.calls.total() > 100 else "teacher-a"

    teacher.trouble = replaced
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        with pytest.raises(
            WrongState,
            match=r"another model \(teacher-b\) than the one this run began with \(teacher-a\)",
        ):
            await b.align()
        with closing(Cache(cache)) as opened:
            assert {model.fingerprint for model in opened.models()} == {"teacher-a"}
        with pytest.raises(WrongState, match="another model"):
            await b.align()
        by_the_other = teacher.calls.total() - 101
        teacher.trouble = lambda _: None
        teacher.fingerprint = "teacher-a"
        await b.align()
    assert sum(count - 1 for key, count in teacher.keys.items()) <= by_the_other


async def test_a_service_of_an_older_contract_goes_without_a_cache_and_says_so(
    tmp_path, pool, cache
):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(serving=""), cache=cache) as b:
        summary = await b.align()
    assert summary.teacher_calls == b.teacher.calls.total()
    assert b.output.getvalue().count("going on without a cache") == 1
    with closing(Cache(cache)) as opened:
        assert list(opened.models()) == []


async def test_a_cache_that_fails_in_the_middle_is_left_alone(tmp_path, pool, cache):
    teacher = ScriptedTeacher(delay_s=0.02)

    def broken(kind):
        if teacher.calls.total() == 100:
            with closing(sqlite3.connect(cache)) as direct, direct:
                direct.execute("DROP TABLE replies")

    teacher.trouble = broken
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        summary = await b.align()
    assert summary.teacher_calls == teacher.calls.total()
    assert b.output.getvalue().count("going on without it") == 1


async def test_a_cache_that_cannot_be_used_costs_money_and_nothing_else(tmp_path, pool, cache):
    cache.write_bytes(b"not a database" * 1000)
    async with bench(tmp_path / "run", pool, cache=cache) as b:
        await b.align()
    assert "file is not a database" in b.output.getvalue()
    assert "going on without a cache" in b.output.getvalue()
