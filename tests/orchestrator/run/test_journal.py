"""Stages of a run under way, in a file for people who look on."""

from dataclasses import replace

import pytest
from rich.console import Console

from services.orchestrator.run.journal import FILE, Journal, StageProgress, read_journal
from services.orchestrator.run.progress import Progress

STAGE = StageProgress("level", "samples", 3, 10, 2.0, 3.5, "training loss 0.412")


def test_stages_are_read_as_they_were_written(tmp_path):
    journal = Journal(tmp_path)
    journal.note(STAGE)
    journal.note(replace(STAGE, name="evaluate", total=None, left_s=None))
    assert [stage.name for stage in read_journal(tmp_path)] == ["level", "evaluate"]
    assert read_journal(tmp_path)[0] == STAGE
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_stage_is_written_when_it_begins_and_ends_and_seldom_between(tmp_path):
    journal = Journal(tmp_path)
    journal.note(STAGE)
    for done in range(4, 10):
        journal.note(replace(STAGE, done=done))
    assert read_journal(tmp_path)[0].done == 3
    journal.note(replace(STAGE, done=10, is_over=True))
    assert (read_journal(tmp_path)[0].done, read_journal(tmp_path)[0].is_over) == (10, True)


def test_progress_notes_its_stages(tmp_path):
    with (
        Progress(Console(quiet=True), Journal(tmp_path)) as progress,
        progress.stage("annotate", "images", 5) as meter,
    ):
        assert read_journal(tmp_path)[0].total == 5
        meter.advance("2 in the gap", by=4)
    (stage,) = read_journal(tmp_path)
    assert (stage.done, stage.remark, stage.is_over) == (4, "2 in the gap", True)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'[{"name": "x"}]', b"\xff"])
def test_a_file_that_cannot_be_read_is_no_stages(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    assert read_journal(tmp_path) == ()


def test_a_folder_that_is_gone_stops_nothing(tmp_path):
    Journal(tmp_path / "gone").note(STAGE)


def test_stages_of_the_command_before_are_forgotten(tmp_path):
    Journal(tmp_path).note(STAGE)
    Journal(tmp_path)
    assert read_journal(tmp_path) == ()


def test_a_link_in_a_strangers_run_is_not_written_through(tmp_path):
    victim = tmp_path / "notes"
    victim.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in (FILE, f".{FILE}"):
        (run / name).symlink_to(victim)
    Journal(run).note(STAGE)
    assert victim.read_text() == "mine"
    assert read_journal(run) == (STAGE,)
