"""Results of an experiment in one file, and back."""

import sqlite3
from contextlib import closing

import pytest

from benchmarks.minivqa.kept import pack, unpack


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    answers = folder / "arms" / "filtered" / "seed0" / "on" / "charts@dev"
    answers.mkdir(parents=True)
    (answers / "predictions.jsonl").write_text('{"prediction": "59"}\n')
    (answers / ".lock").write_text("1")
    (folder / "services").mkdir()
    (folder / "services" / "weights").write_bytes(bytes(1000))
    (folder / "test-draw.json").write_text("[]")
    return folder


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_answers_and_uses_of_the_test_draw_are_kept_and_no_weights(out, tmp_path):
    archive = tmp_path / "kept" / "results.tar.xz"
    assert pack(out, archive) == 2
    assert unpack(archive, tmp_path / "new") == 2
    assert _files(tmp_path / "new") == {
        "test-draw.json": b"[]",
        "arms/filtered/seed0/on/charts@dev/predictions.jsonl": b'{"prediction": "59"}\n',
    }
    (tmp_path / "new" / "test-draw.json").write_text("[1]")
    assert unpack(archive, tmp_path / "new") == 0
    assert (tmp_path / "new" / "test-draw.json").read_text() == "[1]", "it is not written over"


def test_the_same_results_make_the_same_file(out, tmp_path):
    first, second = tmp_path / "1.tar.xz", tmp_path / "2.tar.xz"
    pack(out, first)
    (out / "test-draw.json").touch()
    pack(out, second)
    assert first.read_bytes() == second.read_bytes()


def test_a_ledger_in_use_is_kept_with_its_last_rows(out, tmp_path):
    run = out / "runs" / "student" / "teacher" / "charts"
    run.mkdir(parents=True)
    with closing(sqlite3.connect(run / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.execute("CREATE TABLE records (question)")
        ledger.execute("INSERT INTO records VALUES ('how many?')")
        ledger.commit()
        assert (run / "ledger.sqlite-wal").stat().st_size
        pack(out, tmp_path / "results.tar.xz")
    unpack(tmp_path / "results.tar.xz", tmp_path / "new")
    kept = tmp_path / "new" / run.relative_to(out)
    assert [path.name for path in kept.iterdir()] == ["ledger.sqlite"]
    with closing(sqlite3.connect(kept / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT question FROM records").fetchall() == [("how many?",)]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no results of an experiment"):
        pack(tmp_path, tmp_path / "results.tar.xz")
    assert not (tmp_path / "results.tar.xz").exists()
