"""Results of an experiment in one file, and back."""

import pytest

from benchmarks.minivqa.kept import pack, unpack


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    answers = folder / "arms" / "filtered" / "seed0" / "on" / "charts@dev"
    answers.mkdir(parents=True)
    (answers / "predictions.jsonl").write_text('{"prediction": "59"}\n')
    (answers / ".lock").write_text("1")
    run = folder / "runs" / "student" / "teacher" / "charts"
    run.mkdir(parents=True)
    (run / "ledger.sqlite").write_bytes(b"a place on this machine")
    (folder / "runs" / "student" / "pixels.json").write_text("{}")
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


def test_answers_and_uses_of_the_test_draw_are_kept_and_neither_runs_nor_weights(out, tmp_path):
    archive = tmp_path / "kept" / "results.tar.xz"
    assert pack(out, archive) == 3
    assert unpack(archive, tmp_path / "new") == 3
    assert _files(tmp_path / "new") == {
        "test-draw.json": b"[]",
        "runs/student/pixels.json": b"{}",
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


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no results of an experiment"):
        pack(tmp_path, tmp_path / "results.tar.xz")
    assert not (tmp_path / "results.tar.xz").exists()
