"""Guard sets: what the candidate must not lose decides on its promotion."""

import json
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput
from services.core.noninferiority import Conclusion
from services.engines.images import sha256
from services.orchestrator.cli import commands
from services.orchestrator.cli.request import GuardChoice
from services.orchestrator.run.evaluation import GuardSets
from services.orchestrator.run.run import open_run
from services.orchestrator.run.summary import summarise
from services.orchestrator.steps.evaluation import is_evaluated
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.run.runs import said
from tests.orchestrator.scripted import ScriptedStudent, answer
from tests.orchestrator.ui.exhibits import make_run
from tests.pictures import numbered_png


def guard_set(folder, skill: float | None, questions: int = 200):
    """Questions whose labels are what a student of that skill says; None: what nobody says."""
    folder.mkdir()
    lines = []
    for number in range(questions // 5):
        data = numbered_png(2000 + number)
        (folder / f"{number}.png").write_bytes(data)
        for n in range(5):
            asked = f"what color is part {n}?"
            label = "nothing" if skill is None else answer(skill, sha256(data), asked)
            lines.append({"image": f"{number}.png", "question": asked, "answers": [label]})
    path = folder / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


async def test_a_candidate_that_loses_an_ability_is_not_promoted(tmp_path, pool):
    """The labels of the guard are the answers of the live version: every change is a loss."""
    guard = guard_set(tmp_path / "guard", 0.4)
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await b.align(guards=GuardChoice((guard,)))
        assert b.student.live == "v1"
    assert not summary.promoted
    assert summary.reason.startswith(f"the guard set {guard} loses more than 5 points: 100.0% ")
    (found,) = summary.guards
    assert found.found.conclusion is Conclusion.NO
    assert (found.path, found.found.questions, found.found.old) == (str(guard), 200, 1.0)
    assert json.loads((b.folder / "summary.json").read_text())["guards"][0]["path"] == str(guard)


async def test_a_guard_that_is_kept_joins_the_reason(tmp_path, pool):
    guard = guard_set(tmp_path / "guard", 0.9)
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await b.align(guards=GuardChoice((guard,)))
        asked = b.student.calls["answer"]
        b.student.calls.clear()
        again = await b.align(guards=GuardChoice((guard,)))
        assert not b.student.calls, "a repeated command asks nothing"
        with open_run(b.folder) as run, b.progress() as progress:
            wider = GuardChoice(tolerance=0.2)
            measured = await commands.evaluate(run, b.where, None, progress, wider)
        assert not b.student.calls["answer"], "answers of the guard are in the ledger"
        (earlier,) = measured.guards
        lines = guard.read_text().splitlines()
        further = json.dumps({**json.loads(lines[0]), "question": "what color is part 6?"})
        guard.write_text("\n".join([*lines, further]) + "\n")
        with open_run(b.folder) as run, b.progress() as progress:
            grown = await commands.evaluate(run, b.where, None, progress)
            assert is_evaluated(run, None)
    assert b.student.calls["answer"] == 2, "both versions, the new question alone"
    assert grown.guards[0].found.questions == earlier.found.questions + 1
    assert asked and again.guards == summary.guards
    assert summary.promoted
    assert summary.reason.endswith("; 1 guard set kept within 5 points")
    assert measured.guards[0].found.margin == 0.2
    assert measured.reason == summary.reason, "what is decided stays decided"


async def test_a_guard_that_is_too_small_to_show_it_refuses(tmp_path, pool):
    guard = guard_set(tmp_path / "guard", None, questions=10)
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await b.align(guards=GuardChoice((guard,), 0.01))
    assert not summary.promoted
    assert "may lose more than 1 point:" in summary.reason
    assert "larger --guard-tolerance would decide (in `mpa-orch evaluate` before" in summary.reason
    assert "then `mpa-orch promote --force`)" in summary.reason


async def test_images_of_a_guard_are_never_trained_on(tmp_path, pool):
    guard = guard_set(tmp_path / "guard", 0.9)
    (pool / "leak.png").write_bytes(numbered_png(2000))
    async with bench(tmp_path / "run", pool) as b:
        await b.align(guards=GuardChoice((guard,)))
        with open_run(b.folder) as run:
            assert summarise(run.ledger).image_files.refused == {"leak": 1}


def test_results_of_releases_that_kept_no_contents_count_by_their_path(tmp_path):
    folder = make_run(tmp_path / "run", tmp_path / "pool", images=12)
    with open_run(folder) as run:
        run.state.guards = GuardSets(("/guards/<other>.jsonl",), contents=("now",))
        assert is_evaluated(run, None)
        found = run.state.evaluation
        assert found is not None
        (guard,) = found.guards
        run.state.evaluation = replace(found, guards=(replace(guard, sha256="before"),))
        assert not is_evaluated(run, None)


def test_a_candidate_is_not_promoted_before_its_new_guard_sets_are_checked(tmp_path):
    """So a killed `evaluate --guard` leaves it: the sets are stored, the evaluation is old."""
    folder = make_run(tmp_path / "run", tmp_path / "pool", images=12)
    with open_run(folder) as run:
        run.state.outcome = None
        run.state.guards = GuardSets((str(tmp_path / "new.jsonl"),))
    text = said("promote", folder, "--student", "127.0.0.1:9", "--patience", "0", "-y", code=1)
    assert "is not evaluated with its guard sets yet: `mpa-orch evaluate" in text


async def test_captions_can_be_no_guard(tmp_path, pool):
    guard = tmp_path / "captions.json"
    guard.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "1.png"}],
                "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}],
            }
        )
    )
    async with bench(tmp_path / "run", pool, student=ScriptedStudent()) as b:
        with pytest.raises(InvalidInput, match="counts no right answers"):
            await b.align(guards=GuardChoice((guard,)))
        assert not b.teacher.calls
