"""The teacher cache: its replies by call, its writers and pruning, its commands, its place."""

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
from services.core.errors import MpaError
from services.core.provenance import FinishReason, Provenance
from services.core.usage import Usage
from services.orchestrator.cli.main import app
from services.orchestrator.endpoints.cache import Cache, cache_file, looking_into
from services.orchestrator.endpoints.call import Call
from services.rpc.client import (
    AnnotationReply,
    AnswerReply,
    TeacherModel,
)
from tests.waiting import until

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
        *(
            replace(ASK, decoding=replace(ASK.decoding, **change))
            for change in ({"seed": 8}, {"temperature": 0.5})
        ),
        *(
            replace(ASK, decoding=replace(ASK.decoding, **change))
            for change in ({"top_p": 0.9}, {"max_new_tokens": 8})
        ),
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


def test_what_this_very_run_has_paid_for_is_not_saved(cache):
    with closing(Cache(cache, "run 1")) as opened:
        put(opened)
        assert not opened.get(ASK.key(MODEL), AnswerReply).provenance.is_cached
    for run, is_cached in (("run 1", False), ("run 2", True), ("", True)):
        with closing(Cache(cache, run)) as opened:
            assert opened.get(ASK.key(MODEL), AnswerReply).provenance == replace(
                PAID, is_cached=is_cached
            )


async def test_replies_are_known_at_once_and_written_together_a_moment_later(opened, cache):
    fill(opened, 3)
    with closing(Cache(cache)) as other:
        assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply).provenance.is_cached
        assert other.get(replace(ASK, text="0").key(MODEL), AnswerReply) is None
        await until(lambda: other.get(replace(ASK, text="0").key(MODEL), AnswerReply))
        assert [model.answers for model in other.models()] == [3]


def put_many(path, first):
    with closing(Cache(path)) as opened:
        for number in range(first, first + 300):
            put(opened, replace(ASK, text=f"{number}"))


def test_several_orchestrators_write_at_once(cache):
    spawning = multiprocessing.get_context(
        "spawn"
    )  # a fork of a process that has used gRPC may hang
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
    assert opened.get(replace(ASK, text="1999").key(MODEL), AnswerReply) is not None, (
        "the oldest go first"
    )
    assert opened.get(replace(ASK, text="0").key(MODEL), AnswerReply) is None
    assert opened.prune(older_than_s=-60) == 2000 - gone


def test_a_clock_that_was_ahead_for_a_while_does_no_harm(opened, cache):
    fill(opened, 2)
    with closing(sqlite3.connect(cache)) as direct, direct:
        direct.execute(
            "UPDATE replies SET made = ?, used = ?", (time.time() + 10 * 365 * 86_400,) * 2
        )
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
    for wrong, code in ((["--older-than", "30"], 2), (["--max-size", "big"], 2), ([], 1)):
        refused = run(app, ["cache", "prune", *wrong])
        assert (refused.exit_code, "Traceback" in refused.output) == (code, False)
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
