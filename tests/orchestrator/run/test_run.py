"""Runs that are damaged, older, sealed or no runs, as the commands show them."""

import ctypes
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.orchestrator.cli.main import app
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.run import read_run
from tests.orchestrator.run.runs import lines, said


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
    path = run / "ledger.sqlite"
    draw = random.Random(0)
    whole = path.read_bytes()
    for _ in range(40):
        start = draw.randrange(100, len(whole))
        size = draw.choice([50, 4096, 20_000, 100_000])
        path.write_bytes((whole[:start] + bytes(size) + whole[start + size :])[: len(whole)])
        for command in (["runs", "show", run, "--limit", "1000"], ["matchers", run]):
            result = CliRunner().invoke(app, [*map(str, command)])
            assert isinstance(result.exception, SystemExit | None), (
                start,
                size,
                command,
                result.exception,
            )


def test_a_fault_of_the_program_is_not_taken_for_damage(run):
    with pytest.raises(ZeroDivisionError), read_run(run) as opened:
        assert any(opened.ledger.records())
        _ = 1 / 0


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
