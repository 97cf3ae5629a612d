"""The list of runs, and deletion of a run."""

import fcntl

import pytest

from services.orchestrator.run.listing import describe
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.run.runs import said, told


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
