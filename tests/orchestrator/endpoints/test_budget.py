"""Budgets: a run stops before it costs more, keeps everything that was paid, and goes on
with more.
"""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from protos.mpa.v1 import teacher_pb2, teacher_pb2_grpc
from services.core.errors import BadReply, BudgetSpent, Pending, Unavailable, WrongState
from services.engines.openai import engine as openai
from services.engines.teacher import HostedTeacher
from services.orchestrator.endpoints.billing import within
from services.orchestrator.endpoints.budget import Budget, Limits
from services.orchestrator.endpoints.spending import reserved
from services.orchestrator.run.run import open_run
from services.rpc.images import ImageReceiver
from services.rpc.server import GrpcServer
from services.teacher.servicer import SERVICE, TeacherServicer
from services.teacher.serving import of_provider
from services.teacher.settings import TeacherSettings
from tests.engines.provider import KEY, MODEL, providing
from tests.orchestrator.cli.test_main import align_arguments, at, run
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedTeacher

PRICED = teacher_pb2.Tariff(input_usd=1.0, output_usd=1.0, image_tokens=500)
IMAGES_UNKNOWN = teacher_pb2.Tariff(input_usd=1.0, output_usd=1.0)
PER_CALL = 0.001  # what every call of a scripted teacher costs


def dollars(b) -> float:
    with open_run(b.folder) as opened:
        return opened.ledger.usage()["teacher"].cost_usd


@pytest.mark.parametrize("tariff", [PRICED, IMAGES_UNKNOWN])
async def test_the_bill_stays_below_the_budget_and_what_was_paid_is_there_when_it_goes_on(
    tmp_path, pool, tariff
):
    async with bench(tmp_path / "calm", pool) as calm:
        whole = await calm.align()
    teacher = ScriptedTeacher(tariff=tariff, delay_s=0.01)
    async with bench(tmp_path / "run", pool, teacher) as b:
        for usd in (0.05, 0.2):
            with pytest.raises(BudgetSpent, match="repeat the command with a larger --budget"):
                await b.align(limits=Limits(usd=usd))
            assert usd - 0.004 < dollars(b) <= usd
            assert teacher.calls.total() * PER_CALL == pytest.approx(dollars(b)), (
                "no paid reply was thrown away"
            )
        assert teacher.most_at_once > 8
        summary = await b.align(limits=Limits(usd=5.0))
    assert b.parity_set() == calm.parity_set()
    assert summary.teacher_calls == whole.teacher_calls == teacher.calls.total()


async def test_a_budget_below_one_call_spends_nothing(tmp_path, pool):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(tariff=PRICED)) as b:
        with pytest.raises(BudgetSpent):
            await b.align(limits=Limits(usd=PER_CALL))
    assert b.teacher.calls.total() == 0


async def test_budget_zero_does_all_that_is_cached_and_nothing_else(tmp_path, pool, cache):
    teacher = ScriptedTeacher()
    async with bench(
        tmp_path / "part", pool, teacher, cache=cache, recipe="paper", limit=80
    ) as part:
        await part.align()
    paid = teacher.calls.copy()
    async with bench(tmp_path / "all", pool, teacher, cache=cache, recipe="paper") as b:
        with pytest.raises(
            BudgetSpent, match=r"40 annotations have to wait: .*the budget is 0.*larger --budget"
        ) as spent:
            await b.align(limits=Limits(usd=0.0))
        assert "provider" not in str(spent.value)
        assert teacher.calls == paid
        assert json.loads((b.folder / "summary.json").read_text())["cells"]["gap"] > 16
        await b.align()
    assert teacher.calls["annotate"] == 120
    async with bench(tmp_path / "second", pool, teacher, cache=cache, recipe="paper") as b:
        summary = await b.align(limits=Limits(usd=0.0))
    assert (summary.teacher_calls, summary.teacher_calls_saved > 120, summary.promoted) == (
        0,
        True,
        True,
    )


async def test_dollars_without_a_price_are_an_error_that_says_what_to_do(tmp_path, pool):
    async with bench(tmp_path / "run", pool, ScriptedTeacher()) as b:
        with pytest.raises(
            WrongState, match=r"has no price.*--usd-per-hour.*--max-hours.*MPA_TEACHER_PRICES"
        ):
            await b.align(limits=Limits(usd=20.0))
        assert b.teacher.calls.total() == 0
        await b.align(limits=Limits(usd=20.0, usd_per_hour=3.0))


@pytest.mark.parametrize("limits", [Limits(hours=1 / 3600), Limits(usd=2.0, usd_per_hour=7200.0)])
async def test_hours_end_the_run_too_and_add_up_over_its_commands(tmp_path, pool, limits):
    async with bench(tmp_path / "calm", pool) as calm:
        await calm.align()
    teacher = ScriptedTeacher(delay_s=0.3)
    async with bench(tmp_path / "run", pool, teacher) as b:
        for _ in range(2):
            with pytest.raises(BudgetSpent, match="everything so far is kept"):
                await b.align(limits=limits)
        with open_run(b.folder) as opened:
            assert opened.state.worked_s >= 0.9
        teacher.delay_s = 0.0
        await b.align()
    assert b.parity_set() == calm.parity_set()
    assert sum(teacher.keys.values()) - len(teacher.keys) <= 2 * 64, (
        "at most those under way when the time was over"
    )


async def test_a_step_that_is_under_way_when_the_time_is_over_is_called_off(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        with open_run(b.folder, b.settings) as opened, pytest.raises(BudgetSpent):
            async with within(Limits(hours=0.2 / 3600), opened):
                await asyncio.sleep(30)
        with open_run(b.folder) as opened, pytest.raises(Unavailable):
            assert opened.state.worked_s >= 0.1
            async with within(Limits(hours=1.0), opened):
                raise Unavailable("as without a budget")


async def reserve(budget, error=None, cost_usd=0.0, bound_usd=1.0):
    async with reserved(budget, "answer", bound_usd) as settle:
        await asyncio.sleep(0)
        if error:
            raise error
        settle(cost_usd)


@pytest.mark.parametrize(
    ("error", "spent_usd"),
    [(Pending("in a batch"), 1.0), (BadReply("empty"), 1.0), (Unavailable("away"), 0.0)],
)
async def test_a_call_without_a_reply_counts_where_the_provider_bills_it(error, spent_usd):
    budget = Budget(Limits(usd=10.0))
    with pytest.raises(type(error)):
        await reserve(budget, error)
    assert budget.spent_usd == spent_usd


async def test_who_finds_no_room_waits_for_those_who_may_leave_some():
    budget = Budget(Limits(usd=2.0))
    await asyncio.gather(*(reserve(budget, cost_usd=0.1) for _ in range(10)))
    assert budget.spent_usd == pytest.approx(1.0)
    with pytest.raises(BudgetSpent, match=r"\$1.9000 of the budget of \$2.00"):
        await asyncio.gather(*(reserve(budget, cost_usd=0.9) for _ in range(2)))


async def test_a_call_that_cost_more_than_its_bound_raises_the_next_reservations():
    budget = Budget(Limits(usd=1.0))
    await reserve(budget, cost_usd=0.4, bound_usd=0.1)
    await reserve(budget, cost_usd=0.4, bound_usd=0.1)
    with pytest.raises(BudgetSpent):
        await reserve(budget, cost_usd=0.4, bound_usd=0.1)


async def test_exit_4_and_how_to_go_on(tmp_path, pool):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(tariff=PRICED)) as b:
        code, _, errors = await run(*align_arguments(b, "--budget", "0.05USD"), *at(b))
        assert code == 4
        assert "larger --budget" in errors
        assert "Traceback" not in errors
        code, _, errors = await run(*align_arguments(b, "--budget", "5EUR"), *at(b))
        assert (code, "5EUR" in errors) == (2, True)
        assert (await run(*align_arguments(b, "--budget", "5USD"), *at(b)))[0] == 0
    assert max(b.teacher.keys.values()) == 1


@asynccontextmanager
async def priced_teacher(provider):
    """The address of a real teacher service at the provider, with its prices."""
    variables = {"MPA_TEACHER_ENGINE": "openai", "MPA_TEACHER_MODEL": MODEL, "OPENAI_API_KEY": KEY}
    settings = TeacherSettings.from_env({**variables, "OPENAI_BASE_URL": provider.url})
    assert settings.openai is not None
    engine = await openai.load(MODEL, settings.openai)
    servicer = TeacherServicer(
        lambda: HostedTeacher(engine, of_provider(settings)), ImageReceiver()
    )
    server = GrpcServer(
        lambda grpc_server: teacher_pb2_grpc.add_TeacherServiceServicer_to_server(
            servicer, grpc_server
        ),
        [SERVICE],
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    yield f"127.0.0.1:{port}"
    await server.stop(1.0)
    await engine.close()


async def test_a_provider_s_bill_stays_below_the_budget_by_its_price_table(tmp_path, pool):
    async with (
        providing() as provider,
        priced_teacher(provider) as address,
        bench(tmp_path / "run", pool, recipe="paper") as b,
    ):
        b.where = replace(b.where, teacher=address)
        with pytest.raises(BudgetSpent):
            await b.align(limits=Limits(usd=0.2))
    per_call = (1000 * 2.5 + 10 * 10) / 1e6
    assert dollars(b) == pytest.approx(per_call * len(provider.requests))
    assert 0.2 - 0.02 < dollars(b) <= 0.2
