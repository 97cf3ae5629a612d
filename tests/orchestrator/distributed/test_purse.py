"""Cache and budget of a run on a cluster: one purse for all actors."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from services.core.errors import BudgetSpent
from services.orchestrator.costs.budget import Limits, Paid
from services.orchestrator.distributed.till import Till
from tests.orchestrator.conftest import bench
from tests.orchestrator.costs.test_budget import PER_CALL, PRICED, dollars
from tests.orchestrator.distributed.test_flow import content
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher


def on(cluster, b):
    b.where = replace(b.where, is_ray=True, ray_address=cluster.address)
    return b


@pytest.mark.slow
async def test_a_second_student_costs_no_teacher_call_whichever_engine_asked_first(tmp_path, pool, cluster, cache):
    teacher, other = ScriptedTeacher(), {"v1": 0.6}
    async with bench(tmp_path / "first", pool, teacher, cache=cache, full_matrix=True) as first:
        summary = await on(cluster, first).align()
    paid = teacher.calls.total()
    assert (summary.teacher_calls, summary.teacher_calls_saved) == (paid, 0)
    async with bench(tmp_path / "near", pool, teacher, ScriptedStudent(skills=dict(other)), cache=cache) as near:
        await near.align()
    async with bench(tmp_path / "far", pool, teacher, ScriptedStudent(skills=dict(other)), cache=cache) as far:
        on(cluster, far).where = replace(far.where, teacher="cache:teach")
        summary = await far.align()
    assert teacher.calls.total() == paid
    assert (summary.teacher_calls, summary.teacher_calls_saved > 240) == (0, True)
    assert content(far.folder) == content(near.folder)


@pytest.mark.slow
async def test_a_budget_holds_for_all_actors_together(tmp_path, pool, cluster, cache):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    teacher = ScriptedTeacher(tariff=PRICED, delay_s=0.05)
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        on(cluster, b)
        with pytest.raises(BudgetSpent, match="hours are worked"):
            await b.align(limits=Limits(hours=0.5 / 3600))
        with pytest.raises(BudgetSpent, match=r"of the budget of .* repeat the command with a larger --budget"):
            await b.align(limits=Limits(usd=0.1))
        assert 0.1 - 0.004 < teacher.calls.total() * PER_CALL <= 0.1
        assert teacher.most_at_once > 8
        summary = await b.align(limits=Limits(usd=5.0))
    assert max(teacher.keys.values()) == 1, "no paid reply was lost"
    assert summary.teacher_calls == whole.teacher_calls == teacher.calls.total()
    assert dollars(b) == pytest.approx(teacher.calls.total() * PER_CALL)
    assert b.parity_set() == calm.parity_set()


async def test_what_a_lost_actor_had_reserved_stays_reserved_and_nobody_waits_for_it_for_ever():
    till = Till(None, "", Limits(usd=2.0), lost_s=0.0)
    assert await till.room("answer", 1.5) == 1.5
    for bound_usd in (1.5, 0.1):
        with pytest.raises(BudgetSpent):
            await till.room("answer", bound_usd)


async def test_who_finds_no_room_asks_again_until_a_call_has_settled():
    till = Till(None, "", Limits(usd=2.0))
    assert await till.room("answer", 1.5) == 1.5
    assert await till.room("answer", 1.5) is None
    await till.settle("answer", 1.5, Paid(0.1))
    assert await till.room("answer", 1.5) == 1.5
    await till.settle("answer", 1.5, Paid(0.2))
    assert await till.close() == (pytest.approx(0.3), [])


async def test_people_are_told_at_the_end_that_the_cache_could_not_be_used(cache):
    till = Till(cache, "", Limits())
    with closing(sqlite3.connect(cache)) as direct, direct:
        direct.execute("DROP TABLE replies")
    for _ in range(2):
        assert await till.known(b"key", str) is None
    _, told = await till.close()
    assert len(told) == 1
    assert "going on without it" in told[0]
