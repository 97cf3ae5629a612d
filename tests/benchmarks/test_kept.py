"""Results of an experiment in one file, and back."""

import pytest

from benchmarks.folders import ROOT
from benchmarks.minivqa.kept import pack, score_table, unpack


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    answers = folder / "arms" / "filtered" / "seed0" / "on" / "charts@dev"
    answers.mkdir(parents=True)
    (answers / "predictions.jsonl").write_text('{"prediction": "59"}\n')
    (answers / ".lock").write_text("1")
    (answers / "figures.json").write_text("{}")
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
    assert pack(out, archive) == 4
    assert unpack(archive, tmp_path / "new") == 4
    assert _files(tmp_path / "new") == {
        "test-draw.json": b"[]",
        "runs/student/pixels.json": b"{}",
        "arms/filtered/seed0/on/charts@dev/figures.json": b"{}",
        "arms/filtered/seed0/on/charts@dev/predictions.jsonl": b'{"prediction": "59"}\n',
    }
    (tmp_path / "new" / "test-draw.json").write_text("[1]")
    assert unpack(archive, tmp_path / "new") == 0
    assert (tmp_path / "new" / "test-draw.json").read_text() == "[1]", "it is not written over"


def test_what_is_not_finished_is_left_out(out, tmp_path):
    """Its student, or the labels that it got wrong, would be asked for in another place."""
    half = out / "arms" / "filtered+repair-1" / "seed0"
    for name in ("charts@dev", "reading@dev"):
        (half / "on" / name).mkdir(parents=True)
    (half / "on" / "charts@dev" / "figures.json").write_text("{}")
    (half / "training.json").write_text("{}")
    untrained = out / "arms" / "paper+repair-1" / "seed0"
    untrained.mkdir(parents=True)
    (untrained / "wrong-1.json").write_text("[]")
    pack(out, tmp_path / "results.tar.xz")
    unpack(tmp_path / "results.tar.xz", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new" / "arms").iterdir()] == ["filtered"]
    (half / "on" / "reading@dev" / "figures.json").write_text("{}")
    pack(out, tmp_path / "results.tar.xz")
    unpack(tmp_path / "results.tar.xz", tmp_path / "new")
    assert (tmp_path / "new" / half.relative_to(out) / "training.json").is_file()


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


def test_the_documents_table_is_that_of_the_kept_answers():
    said = (ROOT / "docs/results.md").read_text().splitlines()
    lines = score_table(ROOT / "experiments/mini/recipes.tar.xz")
    assert len(lines) > 2
    begin = said.index(lines[0])
    assert said[begin : begin + len(lines)] == lines
