"""`mpa-orch runs` and `mpa-orch matchers`, on runs that the real commands made."""

import asyncio
import ctypes
import fcntl
import json
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli import commands
from services.orchestrator.cli.main import app
from services.orchestrator.run.comparison import compare_runs
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.listing import describe
from services.orchestrator.run.run import open_run, read_run
from services.orchestrator.run.summary import summarise
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.pictures import numbered_png


def said(*arguments, code=0, **options):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.replace("│", " ").split())


def told(*arguments):
    return json.loads(CliRunner().invoke(app, [*map(str, arguments), "--json"]).stdout)


def lines(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return [json.loads(line) for line in result.stdout.splitlines()]


async def make(folder, pool, student=None, rejects=lambda *_: "", **settings):
    """Annotated and identified; 240 annotations unless some are rejected."""
    async with bench(
        folder, pool, ScriptedTeacher(rejects=rejects), student or ScriptedStudent(), **settings
    ) as b:
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            await commands.identify(run, b.where, progress)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pool = tmp_path_factory.mktemp("pool")
    for number in range(120):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    (pool / "broken.png").write_bytes(b"no image")
    folder = tmp_path_factory.mktemp("runs") / "a"
    asyncio.run(
        make(folder, pool, rejects=lambda sha256, seed: "no_question" if sha256[0] == "a" else "")
    )
    return folder


@pytest.fixture
def run(tmp_path, made):
    """A copy for one test, which may change it."""
    return Path(shutil.copytree(made, tmp_path / "runs" / "a"))


async def test_the_list_has_state_size_and_gain(tmp_path, pool):
    async with bench(tmp_path / "runs" / "whole", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await b.align()
    (found,) = told("runs", "list", tmp_path / "runs")
    assert (found["state"], found["task"], found["recipe"]) == ("promoted", "vqa", "rehearsal")
    assert (found["images"], found["parity_set"]) == (120, summary.parity_set)
    assert found["gain"] == pytest.approx(summary.aligned.accuracy - summary.zero_shot.accuracy)
    assert found["size_bytes"] > (b.folder / "ledger.sqlite").stat().st_size
    assert f"{100 * found['gain']:+.1f}" in said("runs", "list", tmp_path / "runs")


def test_status_without_a_run_is_the_list(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    assert said("status") == said("runs", "list") == said("runs", "list", "runs")
    assert "unfinished" in said("status")


def test_a_run_at_work_and_one_that_is_damaged_are_in_the_list_as_such(run):
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    with open_run(run):
        states = {line["run"]: line for line in told("runs", "list", run.parent)}
    assert states[str(run)]["state"] == "at_work"
    assert states[str(broken)]["state"] == "unreadable"
    assert "damaged" in states[str(broken)]["trouble"]
    assert describe(run).state == "unfinished"


def test_every_record_is_explained_page_by_page(run):
    with read_run(run) as opened:
        summary = summarise(opened.ledger)
    everything = lines("runs", "show", run, "--limit", 1000)
    usable = [row for row in everything if row["cell"]]
    assert len(usable) == summary.annotations
    assert {row["image_path"] for row in everything if row["rejection"] == "IMAGE_UNREADABLE"} == {
        "broken.png"
    }
    for cell, count in summary.cells.items():
        rows = lines("runs", "show", run, "--cell", cell, "--limit", 1000)
        assert len(rows) == count
        assert {row["cell"] for row in rows} <= {cell}
    gap = lines("runs", "show", run, "--cell", "gap", "--limit", 1000)
    assert all(row["student_answer"] != row["answer"] == row["teacher_answer"] for row in gap)
    pages = [
        lines("runs", "show", run, "--cell", "gap", "--limit", 10, "--page", page)
        for page in (1, 2, 3)
    ]
    assert [row for page in pages for row in page] == gap[:30]


def test_a_page_for_people(run):
    shown = said("runs", "show", run, "--cell", "gap", "--limit", 2)
    assert "gap: teacher right, student wrong (by exact@1)" in shown
    assert "annotated by teacher-a, seed" in shown
    assert "student v1: unknown" in shown
    assert "more: --page 2" in shown
    assert "rejected: no_question" in said("runs", "show", run, "--rejected", "no_question")
    assert "broken.png refused: IMAGE_UNREADABLE" in said(
        "runs", "show", run, "--rejected", "image"
    )
    assert "no such records" in said(
        "runs", "show", run, "--question", "what is the meaning of it all"
    )
    question = lines("runs", "show", run, "--cell", "gap")[0]["question"]
    assert question in said("runs", "show", run, "--question", question.upper())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "--rejected", "refusal"], "there is: IMAGE_UNREADABLE, no_question"),
        (["show", "--rejected", "no_question", "--cell", "gap"], "in no cell"),
    ],
)
def test_a_wrong_filter_is_told(run, arguments, complaint):
    command, *options = arguments
    assert complaint in said("runs", command, run, *options, code=1)


@pytest.mark.parametrize(
    "command", [["runs", "show"], ["runs", "delete", "--yes"], ["matchers"], ["status"]]
)
def test_what_is_no_run_a_later_programs_or_damaged_is_told(run, tmp_path, command):
    (tmp_path / "empty").mkdir()
    assert "no run in" in said(*command, tmp_path / "empty", code=1)
    if "delete" in command:
        return
    ledger = Ledger(run / "ledger.sqlite")
    ledger.set_meta("schema", "99")
    ledger.close()
    assert "schema 99" in said(*command, run, code=1)
    (run / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    assert "damaged" in said(*command, run, code=1)


async def test_two_runs_side_by_side(tmp_path, pool):
    """The second student knows more, and sees half of the images."""
    await make(tmp_path / "a", pool)
    await make(tmp_path / "b", pool, student=ScriptedStudent(skills={"v1": 0.55}), limit=60)
    with read_run(tmp_path / "a") as first, read_run(tmp_path / "b") as second:
        before, after = summarise(first.ledger), summarise(second.ledger)
        compared = compare_runs(first, second, limit=5, offset=2)
    assert compared.settings == {"limit": ("0", "60")}
    assert {cell: counts for cell, counts in compared.cells.items() if cell} == {
        cell: (before.cells[cell], after.cells[cell])
        for cell in ("gap", "noise_both_wrong", "unasked")
    }
    assert compared.cells[""] == (0, before.annotations - after.annotations)
    assert set(compared.changes) == {("gap", "unasked")}
    assert [(change.before, change.after) for change in compared.changed] == [
        ("gap", "unasked")
    ] * 5
    document = told("runs", "compare", tmp_path / "a", tmp_path / "b")
    moved = {(row["before"], row["after"]): row["count"] for row in document["moved"]}
    assert moved == compared.moved
    assert "gap -> unasked" in said("runs", "compare", tmp_path / "a", tmp_path / "b")


def test_deleting_asks_and_takes_the_whole_folder(run):
    assert "--yes" in said("runs", "delete", run, code=2)
    assert run.exists()
    assert "120 images" in said("runs", "delete", run, "--yes")
    assert not run.exists()
    assert not list(run.parent.iterdir())
    assert "no run in" in said("runs", "delete", run, "--yes", code=1)


def test_deleting_refuses_while_another_is_at_work(run):
    with open_run(run):
        assert "at work" in said("runs", "delete", run, "--yes", code=1)
    (run / "student").mkdir()
    with (run / "student" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a student service" in said("runs", "delete", run, "--yes", code=1)
    assert (run / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    "command", [["runs", "show", "--limit", "1000"], ["status"], ["matchers"], ["runs", "compare"]]
)
def test_damage_in_the_middle_is_told(run, command):
    path = run / "ledger.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:20_000] + bytes(len(whole) - 40_000) + whole[-20_000:])
    name, *options = command[:2] if command[0] == "runs" else command[:1]
    given = [
        name,
        *options,
        run,
        *([run] if "compare" in command else []),
        *command[len(options) + 1 :],
    ]
    assert "damaged" in said(*given, code=1)


def test_damage_anywhere_never_looks_like_a_bug(run):
    path, draw = run / "ledger.sqlite", random.Random(0)
    whole = path.read_bytes()
    for _ in range(40):
        start, size = draw.randrange(100, len(whole)), draw.choice([50, 4096, 20_000, 100_000])
        path.write_bytes((whole[:start] + bytes(size) + whole[start + size :])[: len(whole)])
        for command in (["runs", "show", run, "--limit", "1000"], ["matchers", run]):
            result = CliRunner().invoke(app, [*map(str, command)])
            assert isinstance(result.exception, SystemExit | None), (
                start,
                size,
                command,
                result.exception,
            )


def test_an_older_ledger_is_shown_as_it_is(run):
    """Columns of schema 3 are read with their defaults, and nothing is written."""
    with closing(sqlite3.connect(run / "ledger.sqlite")) as old:
        gap = old.execute("SELECT count(*) FROM records WHERE cell = 'gap'").fetchone()[0]
        old.executescript(
            "UPDATE meta SET value = '2' WHERE key = 'schema';"
            "DROP INDEX records_by_cell; DROP INDEX questions;"
            "DROP TABLE opinions;"
            "CREATE TABLE old AS SELECT image_sha256, number, cell, matcher FROM records;"
            "DROP TABLE records; ALTER TABLE old RENAME TO records;"
            "UPDATE images SET shelf = 0; UPDATE annotations SET shelf = 0;"
            "UPDATE answers SET shelf = 0;"
        )
    before = (run / "ledger.sqlite").read_bytes()
    rows = lines("runs", "show", run, "--cell", "gap", "--limit", 1000)
    assert len(rows) == gap
    assert {(row["matcher"], row["student_matcher"]) for row in rows} == {("exact@1", "exact@1")}
    assert (run / "ledger.sqlite").read_bytes() == before


def as_mode_bits_say() -> None:
    """Drops CAP_DAC_OVERRIDE (1) with PR_CAPBSET_DROP (24), so that even root can't write."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def bound(*arguments):
    """The command in a process that can't write read-only files."""
    command = [sys.executable, "-m", "services.orchestrator.cli.main", *map(str, arguments)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, preexec_fn=as_mode_bits_say
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def archive(run, tmp_path):
    """The run in a folder that can't be written."""
    folder = tmp_path / "archive" / "a"
    shutil.copytree(run, folder)
    yield folder
    for path in (folder.parent, folder):
        path.chmod(0o755)


def seal(folder):
    for path in [*folder.rglob("*"), folder, folder.parent]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_run_that_can_not_be_written_can_be_looked_into(archive, tmp_path):
    gap = len(lines("runs", "show", archive, "--cell", "gap", "--limit", 1000))
    seal(archive)
    code, output, errors = bound(
        "runs", "show", archive, "--cell", "gap", "--limit", 1000, "--json"
    )
    assert (code, len(output.splitlines())) == (0, gap), errors
    assert "unfinished" in bound("runs", "list", archive.parent)[1]
    assert (
        bound("runs", "export", archive, "--format", "parquet", "--output", tmp_path / "out")[0]
        == 0
    )
    for command in (
        ("runs", "delete", archive, "--yes"),
        ("level", archive, "--student", "localhost:1"),
    ):
        code, _, errors = bound(*command)
        assert (code, "can't be written" in errors, "Traceback" in errors) == (1, True, False)


def test_what_was_killed_and_then_sealed_says_what_to_do(archive):
    with closing(sqlite3.connect(archive / "ledger.sqlite")) as killed:
        killed.execute("INSERT INTO meta VALUES ('key', 'value')")
        killed.commit()
        log = (archive / "ledger.sqlite-wal").read_bytes()
    (archive / "ledger.sqlite-wal").write_bytes(log)
    seal(archive)
    code, _, errors = bound("runs", "show", archive)
    assert (code, "copy the run" in errors) == (1, True)
