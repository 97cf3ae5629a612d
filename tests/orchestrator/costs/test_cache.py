"""The teacher cache: what is known costs no call, what changed in the key costs exactly its own."""

import json
import multiprocessing
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from services.core.decoding import Decoding
from services.core.errors import BudgetSpent, MpaError, NotFound, Pending, Unavailable, WrongState
from services.core.usage import Usage
from services.engines.model import FinishReason
from services.orchestrator.cli.main import app
from services.orchestrator.costs.budget import Limits
from services.orchestrator.costs.cache import Cache, Call, cache_file, looking_into
from services.rpc.client import AnnotationReply, AnswerReply, Provenance, TeacherModel
from tests.orchestrator.conftest import bench, until, with_recipe
from tests.orchestrator.costs.test_budget import PER_CALL, PRICED
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher

MODEL = TeacherModel("f" * 64, "s" * 64, "big (vllm)")
ASK = Call("answer", "a" * 64, "what is it?", "Answer.\nwhat is it?", Decoding(seed=7))
PAID = Provenance(FinishReason.LENGTH, Usage(1200, 30, 400, 0.0125), "fp_1")


@pytest.fixture
def opened(cache):
    with closing(Cache(cache)) as found:
        yield found


def put(cache, call=ASK, model=MODEL, text="red"):
    cache.put(call.key(model), call, model, AnswerReply(text, model.fingerprint, PAID))


def fill(cache, count, model=MODEL):
    for number in range(count):
        put(cache, replace(ASK, text=f"{number}"), model, "red" * 100)


def test_a_reply_comes_back_as_it_was_given_but_for_the_mark(opened):
    annotation = AnnotationReply("Question: ä?", "ä?", "red", "", MODEL.fingerprint, PAID)
    wants = Call("annotate", "a" * 64, "vqa", "Write a question.", Decoding(1.0, seed=7))
    opened.put(wants.key(MODEL), wants, MODEL, annotation)
    put(opened)
    cached = replace(PAID, is_cached=True)
    assert opened.get(wants.key(MODEL), AnnotationReply) == replace(annotation, provenance=cached)
    assert opened.get(ASK.key(MODEL), AnswerReply) == AnswerReply("red", MODEL.fingerprint, cached)


@pytest.mark.parametrize(
    "other",
    [
        replace(ASK, image_sha256="b" * 64),
        replace(ASK, text="Say.\nwhat is it?"),
        replace(ASK, guided=True),
        replace(ASK, kind="annotate"),
        *(replace(ASK, decoding=replace(ASK.decoding, **change)) for change in ({"seed": 8}, {"temperature": 0.5})),
        *(replace(ASK, decoding=replace(ASK.decoding, **change)) for change in ({"top_p": 0.9}, {"max_new_tokens": 8})),
    ],
)
def test_every_part_of_a_call_is_in_its_key(opened, other):
    put(opened)
    assert opened.get(other.key(MODEL), AnswerReply) is None


@pytest.mark.parametrize("change", [{"fingerprint": "e" * 64}, {"serving_sha256": "e" * 64}])
def test_so_are_the_model_and_how_it_is_served(opened, change):
    put(opened)
    assert opened.get(ASK.key(replace(MODEL, **change)), AnswerReply) is None
    assert opened.get(ASK.key(replace(MODEL, name="another name")), AnswerReply) is not None


def test_the_name_of_the_task_counts_where_the_limits_on_a_reply_are_its_own(opened):
    annotate = replace(ASK, kind="annotate", asked="okvqa")
    assert annotate.key(MODEL) != replace(annotate, asked="vqa").key(MODEL)


async def test_a_second_student_costs_no_teacher_call_and_ends_as_it_would_without_a_cache(tmp_path, pool, cache):
    teacher, better = ScriptedTeacher(), {"v1": 0.6}
    async with bench(tmp_path / "first", pool, teacher, cache=cache, full_matrix=True) as b:
        first = await b.align()
    paid = teacher.calls.total()
    assert (first.teacher_calls, first.teacher_calls_saved) == (paid, 0)
    async with bench(tmp_path / "second", pool, teacher, ScriptedStudent(skills=dict(better)), cache=cache) as second:
        summary = await second.align()
    async with bench(tmp_path / "fresh", pool, student=ScriptedStudent(skills=dict(better))) as fresh:
        expected = await fresh.align()
    assert teacher.calls.total() == paid
    assert (summary.teacher_calls, summary.teacher_calls_saved) == (0, expected.teacher_calls)
    assert summary.usage["teacher"] == Usage()
    assert expected.usage["teacher"].cost_usd > 0
    assert second.parity_set() == fresh.parity_set()


async def test_a_second_student_after_student_first_pays_only_for_what_nobody_asked(tmp_path, pool, cache):
    """A student that knows all that the first did not know, and errs elsewhere, would need other answers."""
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "first", pool, teacher, cache=cache) as b:
        await b.align()
    paid = teacher.calls.total()
    async with bench(tmp_path / "worse", pool, teacher, ScriptedStudent(skills={"v1": 0.2}), cache=cache) as worse:
        summary = await worse.align()
    assert teacher.calls["annotate"] == 240
    assert 0 < teacher.calls.total() - paid == summary.teacher_calls < 100
    assert max(teacher.keys.values()) == 1


def test_what_this_very_run_has_paid_for_is_not_saved(cache):
    with closing(Cache(cache, "run 1")) as opened:
        put(opened)
        assert not opened.get(ASK.key(MODEL), AnswerReply).provenance.is_cached
    for run, is_cached in (("run 1", False), ("run 2", True), ("", True)):
        with closing(Cache(cache, run)) as opened:
            assert opened.get(ASK.key(MODEL), AnswerReply).provenance == replace(PAID, is_cached=is_cached)


async def test_replies_that_a_killed_command_had_paid_for_and_not_recorded_are_on_the_bill(tmp_path, pool, cache):
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
    async with bench(tmp_path / "second", pool, student=ScriptedStudent(skills={"v1": 0.6}), cache=cache) as second:
        second.where = replace(second.where, teacher="cache:teach", patience_s=0.0)
        summary = await second.align()
        assert (summary.teacher_calls, summary.promoted) == (0, True)
        second.folder, second.settings = tmp_path / "other", replace(second.settings, seed=1)
        with pytest.raises(Pending, match=r"240 annotations wait.*the teacher is away"):
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
    assert (teacher.calls.total(), summary.matcher, summary.teacher_calls) == (paid, "contains@1", 0)


async def test_another_prompt_costs_its_own_calls_and_no_others(tmp_path, pool, cache):
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        await b.align()
        first = teacher.calls.copy()
        b.folder, b.settings = tmp_path / "training", with_recipe(b.settings, training_template="{question}")
        b.student.live = "v1"
        await b.align()
        assert teacher.calls == first
        b.folder, b.settings = tmp_path / "answering", with_recipe(b.settings, answer_template="Say it.\n{question}")
        b.student.live = "v1"
        await b.align()
    assert (teacher.calls["annotate"], teacher.calls["answer"]) == (first["annotate"], 2 * first["answer"])


async def test_new_images_another_seed_and_another_way_of_serving_cost_exactly_their_calls(tmp_path, pool, cache):
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


async def test_a_teacher_that_is_replaced_in_the_middle_stops_the_run_and_is_not_taken_for_the_first(tmp_path, pool, cache):
    teacher = ScriptedTeacher()

    def replaced(kind):
        teacher.fingerprint = "teacher-b" if teacher.calls.total() > 100 else "teacher-a"

    teacher.trouble = replaced
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        with pytest.raises(WrongState, match=r"another model \(teacher-b\) than the one this run began with \(teacher-a\)"):
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


async def test_a_service_of_an_older_contract_goes_without_a_cache_and_says_so(tmp_path, pool, cache):
    async with bench(tmp_path / "run", pool, ScriptedTeacher(serving=""), cache=cache) as b:
        summary = await b.align()
    assert summary.teacher_calls == b.teacher.calls.total()
    assert b.output.getvalue().count("going on without a cache") == 1
    with closing(Cache(cache)) as opened:
        assert list(opened.models()) == []


async def test_replies_are_known_at_once_and_written_together_a_moment_later(opened, cache):
    fill(opened, 3)
    with closing(Cache(cache)) as other:
        assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply).provenance.is_cached
        assert other.get(replace(ASK, text="0").key(MODEL), AnswerReply) is None
        await until(lambda: other.get(replace(ASK, text="0").key(MODEL), AnswerReply))
        assert [model.answers for model in other.models()] == [3]


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


def put_many(path, first):
    with closing(Cache(path)) as opened:
        for number in range(first, first + 300):
            put(opened, replace(ASK, text=f"{number}"))


def test_several_orchestrators_write_at_once(cache):
    spawning = multiprocessing.get_context("spawn")  # a fork of a process that has used gRPC may hang
    with ProcessPoolExecutor(3, mp_context=spawning) as processes:
        list(processes.map(put_many, [cache] * 3, [0, 150, 300]))
    with closing(Cache(cache)) as opened:
        assert [model.answers for model in opened.models()] == [600]


def test_pruning_by_age_model_and_size(opened):
    other = replace(MODEL, fingerprint="e" * 64)
    fill(opened, 2000)
    fill(opened, 500, other)
    assert opened.prune(older_than_s=60) == 0
    assert opened.prune(fingerprint="eee", older_than_s=60) == 0
    assert opened.prune(fingerprint="eee") == 500
    before = opened.path.stat().st_size
    limit = opened.bytes // 2
    gone = opened.prune(max_bytes=limit)
    assert 800 < gone < 1300
    assert opened.bytes <= limit
    assert opened.path.stat().st_size < 0.7 * before
    assert opened.get(replace(ASK, text="1999").key(MODEL), AnswerReply) is not None, "the oldest go first"
    assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply) is None
    assert opened.prune(older_than_s=-60) == 2000 - gone


def test_a_clock_that_was_ahead_for_a_while_does_no_harm(opened, cache):
    fill(opened, 2)
    with closing(sqlite3.connect(cache)) as direct, direct:
        direct.execute("UPDATE replies SET made = ?, used = ?", (time.time() + 10 * 365 * 86_400,) * 2)
    assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply) is not None
    assert opened.prune(older_than_s=0) == 0
    assert opened.prune(max_bytes=0) == 2


def test_what_is_used_counts_as_young(opened, cache):
    fill(opened, 2)
    with closing(sqlite3.connect(cache)) as direct, direct:
        direct.execute("UPDATE replies SET used = ?", (time.time() - 40 * 86_400,))
    assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply) is not None
    assert opened.prune(older_than_s=30 * 86_400) == 1
    assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply) is not None


def test_show_and_prune_as_commands(cache):
    run = CliRunner().invoke
    assert "no cache yet" in run(app, ["cache", "show"]).output
    assert "no cache yet" in run(app, ["cache", "prune", "--older-than", "30d"]).output
    with closing(Cache(cache)) as opened:
        fill(opened, 3)
    shown = json.loads(run(app, ["cache", "show", "--json"]).output)
    assert shown["path"] == str(cache)
    assert shown["models"][0]["answers"] == 3
    assert shown["models"][0]["cost_usd"] == pytest.approx(3 * 0.0125)
    assert "big (vllm)" in run(app, ["cache", "show"], env={"COLUMNS": "200"}).output
    for wrong in (["--older-than", "30"], ["--max-size", "big"], []):
        refused = run(app, ["cache", "prune", *wrong])
        assert (refused.exit_code, "Traceback" in refused.output) == (1, False)
    assert "3 replies removed" in run(app, ["cache", "prune", "--model", "ffff"]).output


def test_a_damaged_cache_is_one_line(cache):
    cache.write_bytes(b"not a database" * 1000)
    for arguments in (["show"], ["prune", "--older-than", "30d"]):
        refused = CliRunner().invoke(app, ["cache", *arguments])
        assert (refused.exit_code, "remove it" in refused.output) == (1, True)
    cache.unlink()
    with pytest.raises(MpaError, match="no such table"), looking_into(cache) as broken:
        broken._db.execute("DROP TABLE replies")
        broken.prune(max_bytes=0)


def test_where_the_cache_is(tmp_path):
    assert cache_file({"MPA_CACHE": "/data/a.sqlite"}).as_posix() == "/data/a.sqlite"
    assert cache_file({"MPA_CACHE": str(tmp_path)}) == tmp_path / "teacher.sqlite"
    assert cache_file({"XDG_CACHE_HOME": "/data"}).as_posix() == "/data/mpa/teacher.sqlite"
    assert cache_file({}).as_posix().endswith("/.cache/mpa/teacher.sqlite")
