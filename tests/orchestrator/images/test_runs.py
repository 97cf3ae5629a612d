"""Whole runs on every kind of source: the parity set of a folder, resumable; changes are found."""

import json
import os
import signal

import pytest

from services.core.errors import InvalidInput, Unavailable
from services.orchestrator.cli import commands
from services.orchestrator.run.run import open_run
from tests.orchestrator.cli.test_main import align_arguments, at, run, start
from tests.orchestrator.conftest import bench, rows
from tests.orchestrator.images.conftest import arrow_of, lines_of, parquet_of, put, tar_of, zip_of
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.pictures import numbered_png
from tests.waiting import until

POOL = {f"{number:03}.png": numbered_png(number) for number in range(60)}
STRUCTS = [{"bytes": data, "path": None} for data in POOL.values()]
SHARDS = {
    f"s/{n}.tar": tar_of({name: POOL[name] for name in list(POOL)[n * 20 :][:20]}) for n in range(3)
}
LISTED = [{"image": f"pool/{name}", "question": f"{n}?"} for n in range(3) for name in POOL]
SOURCES = {
    "tar": (SHARDS, "s/{0..2}.tar"),
    "parquet": ({"p.parquet": parquet_of({"image": STRUCTS, "answer": ["red"] * 60})}, "p.parquet"),
    "arrow": ({"p.arrow": arrow_of({"image": STRUCTS})}, "p.arrow"),
    "zip": ({"p.zip": zip_of(POOL)}, "p.zip"),
    "manifest": (
        {"m.jsonl": lines_of(LISTED), **{f"pool/{name}": data for name, data in POOL.items()}},
        "m.jsonl",
    ),
}


def placed(place, kind) -> str:
    files, images = SOURCES[kind]
    put(str(place), files)
    return f"{place}/{images}"


def trained(b):
    """The parity set without the names, which differ from source to source."""
    lines = (json.loads(line) for line in b.parity_set().splitlines())
    return [{key: value for key, value in line.items() if key != "image"} for line in lines]


@pytest.fixture
async def from_a_folder(tmp_path):
    folder = tmp_path / "folder"
    put(str(folder), POOL)
    async with bench(tmp_path / "of-folder", folder) as b:
        await b.align()
    return trained(b)


@pytest.mark.parametrize("kind", SOURCES)
async def test_stopped_in_the_middle_it_goes_on_to_the_parity_set_that_a_folder_gives(
    tmp_path, kind, from_a_folder
):
    student = ScriptedStudent()
    student.trouble = lambda _: Unavailable("gone") if student.calls["answer"] > 40 else None
    async with bench(
        tmp_path / "run", placed(tmp_path, kind), student=student, patience_s=0.1
    ) as b:
        with pytest.raises(Unavailable):
            await b.align()
        student.trouble = lambda _: None
        summary = await b.align()
    assert trained(b) == from_a_folder != []
    assert summary.images == 60
    assert max(b.teacher.keys.values()) <= 2, "only what was in flight when the student went away"
    assert sum(b.teacher.keys.values()) - len(b.teacher.keys) <= 64
    if kind in ("parquet", "manifest"):
        assert (
            summary.image_files.ignored
            == f"columns {'answer' if kind == 'parquet' else 'question'}"
        )
        assert (
            f"ignored, never read: {summary.image_files.ignored}: no label is used"
            in b.output.getvalue()
        )


async def test_a_run_on_a_bucket(tmp_path, bucket, from_a_folder):
    async with bench(tmp_path / "run", placed(bucket, "tar")) as b:
        assert b.settings.images == f"{bucket}/s/{{0..2}}.tar"
        assert (await b.align()).images == 60
    assert trained(b) == from_a_folder


async def test_an_image_that_is_listed_for_several_questions_is_annotated_once(tmp_path):
    async with bench(
        tmp_path / "run", placed(tmp_path, "manifest"), ScriptedTeacher(delay_s=0.02)
    ) as b:
        summary = await b.align()
    assert max(b.teacher.keys.values()) == 1
    assert (summary.images, summary.image_files.refused) == (60, {})


@pytest.mark.parametrize("kind", SOURCES)
async def test_an_image_that_changes_during_the_run_stops_it(tmp_path, kind):
    images = placed(tmp_path, kind)
    async with bench(tmp_path / "run", images) as b:
        with open_run(b.folder, b.settings) as opened, b.progress() as progress:
            await commands.annotate(opened, b.where, progress)
            await commands.identify(opened, b.where, progress)
        for name, data in SOURCES[kind][0].items():
            # Another picture of as many bytes, in the place of each.
            changed = data.replace(b"IDAT", b"IDAX") if b"IDAT" in data else data
            (tmp_path / name).write_bytes(changed)
        with pytest.raises(InvalidInput, match=r"(is none now|has changed since this run saw it)"):
            await b.align()
        for name, data in SOURCES[kind][0].items():
            (tmp_path / name).write_bytes(data)
        await b.align()
    assert max(b.teacher.keys.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tar", "parquet"])
async def test_killed_it_repeats_no_finished_call(tmp_path, kind, from_a_folder):
    teacher, student = ScriptedTeacher(delay_s=0.02), ScriptedStudent(delay_s=0.02)
    async with bench(tmp_path / "run", placed(tmp_path, kind), teacher, student) as b:
        for calls in (30, 120):
            process = await start(*align_arguments(b), *at(b))
            await until(lambda calls=calls: teacher.calls.total() >= calls)
            os.kill(process.pid, signal.SIGKILL)
            await process.communicate()
        code, _, errors = await run(*align_arguments(b), *at(b))
    assert code == 0, errors
    assert trained(b) == from_a_folder
    assert sum(teacher.keys.values()) - len(teacher.keys) <= 2 * 64
    assert rows(b.folder, "SELECT count(*) FROM images") == [(60,)]


async def test_the_command_says_how_to_go_on_where_a_bucket_is_away(tmp_path, monkeypatch):
    settings = {
        "ENDPOINT_URL": "http://127.0.0.1:1",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
        "MAX_ATTEMPTS": "1",
    }
    arguments = (
        "align",
        "s3://kept/pool",
        "--task",
        "vqa",
        "--teacher",
        "a:1",
        "--student",
        "b:2",
        "--run",
        tmp_path / "run",
    )
    environment = {f"AWS_{key}": value for key, value in settings.items()}
    code, _, errors = await run(*arguments, "--patience", "0", **environment)
    assert code == 1
    assert "s3://kept/pool can't be reached" in errors
    assert "resume with: mpa-orch align s3://kept/pool" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()
