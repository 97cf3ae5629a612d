"""Several teachers in one run: the vote, the majority's effect, and the calls of each teacher."""

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import grpc
import pytest
from typer.testing import CliRunner

from protos.mpa.v1 import types_pb2
from services.core.errors import InvalidInput, NothingToAlign, Unavailable, WrongState
from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.endpoints.panel import Panel, addresses_for, panel_of
from services.orchestrator.run.run import open_run
from services.rpc.client import TeacherClient
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.scripted import ScriptedTeacher
from tests.orchestrator.scripted_service import serving


def teacher(name: str, **script) -> ScriptedTeacher:
    return ScriptedTeacher(fingerprint=f"teacher-{name}", **script)


@asynccontextmanager
async def panel(folder, pool, *teachers, limit=60, **settings):
    """A bench whose teachers are several."""
    async with AsyncExitStack() as stack:
        b = await stack.enter_async_context(
            bench(folder, pool, teachers[0], teachers=len(teachers), limit=limit, **settings)
        )
        further = [await stack.enter_async_context(serving(other)) for other in teachers[1:]]
        b.where = replace(b.where, further_teachers=tuple(further))
        yield b


async def test_a_second_teacher_takes_out_what_only_the_first_believes(tmp_path, pool):
    first, second = teacher("a", noise=0.3), teacher("b", skill=1.0)
    async with bench(tmp_path / "alone", pool, teacher("a", noise=0.3), limit=60) as alone:
        believed = await alone.align()
    async with panel(tmp_path / "both", pool, first, second) as b:
        summary = await b.align()
    assert "mauve" in alone.parity_set()
    assert "mauve" not in b.parity_set()
    noise = summary.label_noise
    assert noise.outvoted.of == believed.cells["gap"]
    assert noise.outvoted.count == believed.cells["gap"] - summary.cells["gap"] > 10
    assert noise.outvoted.low < 0.35 / 0.6 and noise.outvoted.high > 0.3
    assert noise.votes["teacher-a"].count == noise.votes["teacher-b"].of
    assert noise.noise is None


async def test_further_teachers_are_asked_only_while_the_majority_is_open_about_wrong_answers(
    tmp_path, pool
):
    teachers = [teacher("a", skill=0.8), teacher("b", skill=0.9), teacher("c", skill=1.0)]
    async with panel(tmp_path / "run", pool, *teachers) as b:
        summary = await b.align()
    asked = [other.calls["answer"] for other in teachers]
    wrong = sum(summary.cells.values()) - summary.cells["unasked"]
    assert asked[0] == asked[1] == wrong
    answers = {}
    for question, version, answer in rows(
        b.folder, "SELECT question, version, answer FROM answers WHERE role = 'teacher'"
    ):
        answers.setdefault(question, {})[version] = answer
    split = [
        said
        for said in answers.values()
        if (said["teacher-a"] == "unknown") != (said["teacher-b"] == "unknown")
    ]
    assert 0 < asked[2] == len(split) < wrong
    assert summary.teacher_calls == 120 + sum(asked)
    assert [other.calls["annotate"] for other in teachers] == [120, 0, 0]


async def test_two_that_disagree_is_a_tie_and_a_tie_is_wrong(tmp_path, pool):
    first, second = teacher("a", skill=1.0), teacher("b", skill=0.0)
    async with panel(tmp_path / "run", pool, first, second, full_matrix=True) as b:
        with pytest.raises(NothingToAlign, match="only 0 samples"):
            await b.align()
    assert set(rows(b.folder, "SELECT DISTINCT cell FROM records")) == {
        ("noise_both_wrong",),
        ("noise_student_right",),
    }


async def test_a_vote_that_was_withheld_leaves_the_verdict_to_the_others(tmp_path, pool):
    def refuses(_: str) -> int:
        return types_pb2.FINISH_REASON_REFUSAL

    silent = teacher("a", skill=1.0, finishes=refuses)
    async with panel(
        tmp_path / "three", pool, silent, teacher("b", skill=1.0), teacher("c", skill=1.0)
    ) as b:
        summary = await b.align()
    assert summary.rejected == {}
    assert summary.cells["gap"] > 30
    async with panel(tmp_path / "two", pool, silent, teacher("b", skill=1.0)) as b:
        with pytest.raises(NothingToAlign, match="only 0 samples"):
            await b.align()
    assert {reason for (reason,) in rows(b.folder, "SELECT rejection FROM annotations")} == {
        "",
        "refusal",
    }


async def test_a_vote_that_was_interrupted_goes_on_with_the_calls_that_are_missing(tmp_path, pool):
    teachers = [teacher("a", skill=0.8), teacher("b", skill=0.9), teacher("c", skill=1.0)]
    async with panel(tmp_path / "calm", pool, *teachers) as calm:
        whole = await calm.align()
    calls = []

    def trouble(_: str):
        calls.append(1)
        return Unavailable("gone") if len(calls) > 30 else None

    again = [
        teacher("a", skill=0.8),
        teacher("b", skill=0.9, trouble=trouble),
        teacher("c", skill=1.0),
    ]
    async with panel(tmp_path / "run", pool, *again, patience_s=0.2) as b:
        with pytest.raises(Unavailable):
            await b.align()
        again[1].trouble = lambda _: None
        summary = await b.align()
    assert b.parity_set() == calm.parity_set()
    assert [set(other.keys) for other in again] == [set(other.keys) for other in teachers]
    assert (
        summary.teacher_calls == whole.teacher_calls
    )  # those in flight when it stopped may have been asked twice


async def test_every_seat_keeps_its_model(tmp_path, pool):
    async with panel(tmp_path / "run", pool, teacher("a"), teacher("b")) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            run.state.set_teacher(1, "teacher-c")
            with pytest.raises(
                WrongState,
                match=r"another model \(teacher-b\) than the one this run began with \(teacher-c\)",
            ):
                await commands.identify(run, b.where, progress)
            with pytest.raises(WrongState, match="began with 2 teachers, and 1 are named"):
                await commands.identify(run, replace(b.where, further_teachers=()), progress)


async def test_one_model_has_one_vote(tmp_path, pool):
    async with panel(tmp_path / "run", pool, teacher("a"), teacher("a")) as b:
        with pytest.raises(WrongState, match="the same model as another one"):
            await b.align()


@pytest.mark.parametrize(
    ("named", "task", "expected"),
    [
        (["a:1"], "vqa", ("a:1",)),
        (["a:1", "b:2"], "vqa", ("a:1", "b:2")),
        (["vqa=a:1", "chartqa=b:2"], "chartqa", ("b:2",)),
        (["vqa=a:1", "b:2"], "vqa", ("a:1",)),
        (["vqa=a:1", "b:2"], "okvqa", ("b:2",)),
        (["vqa=a:1", "vqa=b:2"], "vqa", ("a:1", "b:2")),
        (["ipv4:10.0.0.1:5,10.0.0.2:5"], "vqa", ("ipv4:10.0.0.1:5,10.0.0.2:5",)),
        (["vqa=a:1"], "okvqa", ()),
        ([], "vqa", ()),
    ],
)
def test_the_teachers_of_a_task_are_those_named_for_it_else_those_named_for_none(
    named, task, expected
):
    assert addresses_for(task, named) == expected


@pytest.mark.parametrize(
    ("named", "said"), [(["vqb=a:1"], "no task 'vqb'"), (["a:1", "a:1"], "named twice")]
)
def test_a_teacher_that_makes_no_sense_is_told(named, said):
    with pytest.raises(InvalidInput, match=said):
        addresses_for("vqa", named)


async def test_replicas_of_one_teacher_share_its_calls(tmp_path, pool):
    one, other = teacher("a"), teacher("a")
    async with serving(one) as first, serving(other) as second, bench(tmp_path / "run", pool) as b:
        b.where = replace(b.where, teacher=f"ipv4:{first},{second}")
        await b.align()
    assert one.calls["annotate"] + other.calls["annotate"] == 240
    assert min(one.calls["annotate"], other.calls["annotate"]) > 60


def test_the_environment_separates_teachers_by_spaces_and_the_run_knows_how_many(tmp_path, pool):
    environment = {"MPA_TEACHER": "127.0.0.1:1 127.0.0.1:2", "MPA_STUDENT": "127.0.0.1:3"}
    arguments = [
        "align",
        str(pool),
        "--task",
        "vqa",
        "--run",
        str(tmp_path / "run"),
        "--patience",
        "0",
        "--recipe",
        "paper",
        "--max-pixels",
        "0",
    ]
    result = CliRunner().invoke(app, arguments, env=environment)
    assert (result.exit_code, "gave no answer" in result.output) == (1, True), result.output
    result = CliRunner().invoke(
        app, [*arguments, "--teacher", "127.0.0.1:1"], env={"MPA_STUDENT": "127.0.0.1:3"}
    )
    assert (result.exit_code, "teachers: 2 there, 1 now" in result.output) == (1, True), (
        result.output
    )
    result = CliRunner().invoke(
        app, [*arguments, "--teacher", "okvqa=127.0.0.1:1"], env={"MPA_STUDENT": "127.0.0.1:3"}
    )
    assert (result.exit_code, "--teacher" in result.output) == (2, True), result.output


async def test_a_panel_is_closed_with_all_its_members():
    first, second = teacher("a"), teacher("b")
    async with serving(first) as one, serving(second) as other:
        clients = [TeacherClient(address, patience_s=0) for address in (one, other)]
        async with Panel(clients) as both:
            await both.ready()
            assert both.address == one
            assert (await both.model()).fingerprint == "teacher-a"
            assert panel_of(both) == tuple(clients)
    peers = [peer for client in clients for peer in await client.connection.peers.all()]
    assert {peer.channel.get_state() for peer in peers} == {grpc.ChannelConnectivity.SHUTDOWN}


async def test_a_panel_is_ready_when_all_its_members_are():
    async with serving(teacher("a")) as one:
        nobody = TeacherClient("127.0.0.1:1", patience_s=0)
        async with Panel([TeacherClient(one), nobody]) as both:
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 gave no answer"):
                await both.ready()
