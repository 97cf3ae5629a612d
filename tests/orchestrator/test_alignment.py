"""From the parity set to promotion, against scripted services."""

import hashlib
import json
from pathlib import Path

import pytest

from services.core.errors import Cancelled, Conflict, InvalidInput, MpaError, WrongState
from services.orchestrator.cli import commands
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher, draw, truth
from tests.pictures import numbered_png


@pytest.fixture
def labelled(tmp_path) -> Path:
    """100 questions about 20 images of two kinds, one image of them missing."""
    folder = tmp_path / "test"
    folder.mkdir()
    lines = []
    for number in range(20):
        data = numbered_png(1000 + number)
        (folder / f"{number}.png").write_bytes(data)
        for n in range(5):
            question = f"what color is part {n}?" if n < 3 else f"is part {n} red?"
            answer = truth(hashlib.sha256(data).hexdigest(), question)
            lines.append(
                json.dumps({"image": f"{number}.png", "question": question, "answers": [answer]})
            )
    lines.append(
        json.dumps(
            {
                "image": "gone.png",
                "question": "what color is it?",
                "answers": ["red"],
                "kind": "lost",
            }
        )
    )
    path = folder / "labels.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


async def test_a_better_candidate_goes_live_under_traffic(tmp_path, pool, labelled):
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        b.labelled = labelled
        summary = await b.align()
    assert (summary.promoted, b.student.live, b.student.previous) == (True, "v2", "v1")
    assert (summary.version.before, summary.version.after) == ("v1", "v2")
    assert summary.swap.requests > 100
    assert summary.swap.failed == 0
    assert (summary.labelled.questions, summary.labelled.skipped) == (100, 1)
    assert summary.zero_shot.accuracy < summary.aligned.accuracy < summary.teacher.accuracy
    assert set(summary.teacher.kinds) == {"what color", "yes/no"}
    assert summary.fixed == round(100 * (summary.aligned.accuracy - summary.zero_shot.accuracy))
    assert summary.broken == 0
    assert len(summary.examples) == 3
    assert b.student.trainings[0].base_version == "v1"
    assert b.student.trainings[0].recipe == "rehearsal"
    written = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert written["zero_shot"]["accuracy"] == summary.zero_shot.accuracy
    assert {"annotate", "identify", "level", "evaluate", "promote"} <= written["seconds"].keys()
    card = b.student.cards["v2"]
    assert f"| `{labelled.name}` | 100 | {summary.zero_shot.accuracy:.1%} (" in card
    assert "| `what color` |" in card


async def test_a_finished_run_answers_from_its_ledger_without_any_service(tmp_path, pool, labelled):
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        first = await b.align()
        b.labelled = labelled
        measured = await b.align()
        assert measured.labelled is not None
        assert (measured.swap, measured.version, measured.promoted) == (
            first.swap,
            first.version,
            True,
        )
    b.where = Where("127.0.0.1:1", "127.0.0.1:1", patience_s=0.0)
    again = await b.align()
    assert again == measured
    b.labelled = None
    assert await b.align() == measured


async def test_a_worse_candidate_is_not_promoted_and_the_run_says_why(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(trained_skill=0.2)) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        summary = await b.align()
        assert (summary.promoted, b.student.live) == (False, "v1")
        assert "not better" in summary.reason
        with open_run(b.folder) as run, b.progress() as progress:
            forced = await commands.promote(run, b.where, lambda _: True, progress, force=True)
        assert (forced.promoted, b.student.live) == (True, "v2")
        assert "forced" in forced.reason
        assert "| promoted | `forced, though not better" in b.student.cards["v2"]
        with b.progress() as progress:
            pointers = await commands.rollback(b.folder, b.where, progress)
        assert (pointers.live, pointers.previous) == ("v1", "v2")


async def test_rare_kinds_of_question_are_judged_together(tmp_path, pool):
    """A generated question opens in odd ways: one answer of a kind of its own must not decide."""

    def question(sha256: str, seed: int) -> str:
        thing = int(draw(sha256, seed) * 1000)
        return (
            f"odd{thing % 50} way of asking {thing}?"
            if thing % 10 == 0
            else f"what color is thing {thing}?"
        )

    async with bench(tmp_path / "run", pool, ScriptedTeacher(question=question)) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await b.align()
    assert set(summary.held_out.before.kinds) == {"other", "what color"}


async def test_the_labelled_set_decides_nothing(tmp_path, pool, labelled):
    """The labelled set calls the candidate worse, since every label is wrong for it."""
    wrong = [
        dict(json.loads(line), answers=["unknown"]) for line in labelled.read_text().splitlines()
    ]
    labelled.write_text("\n".join(map(json.dumps, wrong)))
    async with bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        b.labelled = labelled
        summary = await b.align()
    assert summary.aligned.accuracy < summary.zero_shot.accuracy
    assert summary.promoted


async def test_somebody_elses_promotion_is_not_overwritten(tmp_path, pool):
    async with bench(
        tmp_path / "run", pool, student=ScriptedStudent(skills={"v1": 0.4, "other": 0.4})
    ) as b:
        b.settings = with_recipe(b.settings, held_out=0.3)
        with open_run(b.folder, b.settings) as run, b.progress() as progress:

            def meanwhile(question: str) -> bool:
                b.student.live = "other" if question.startswith("Promote") else b.student.live
                return True

            with pytest.raises(Conflict, match="other is live"):
                await commands.align(run, b.where, None, meanwhile, progress)
        assert b.student.live == "other"


async def test_a_failed_training_is_told_and_tried_anew(tmp_path, pool):
    async with bench(
        tmp_path / "run", pool, student=ScriptedStudent(training_error=MpaError("out of memory"))
    ) as b:
        with pytest.raises(MpaError, match="out of memory"):
            await b.align()
        calls = b.teacher.calls.total()
        b.student.training_error = None
        await b.align()
        assert b.teacher.calls.total() == calls
    first, looked_for, second = (request.request_id for request in b.student.trainings)
    assert first == looked_for != second


async def test_an_interrupted_training_is_followed_not_repeated(tmp_path, pool):
    """The orchestrator dies while the student trains; the repeated request finds the same
    operation.
    """
    async with bench(tmp_path / "run", pool) as b:
        b.student.refusal = WrongState("the orchestrator stops here")
        with pytest.raises(WrongState, match="stops here"):
            await b.align()
        b.student.refusal = None
        await b.align()
    first, second = b.student.trainings
    assert first == second


async def test_a_training_that_failed_while_nobody_looked_is_begun_anew_at_once(tmp_path, pool):
    """The service was shut down in the middle of it together with the orchestrator."""
    async with bench(tmp_path / "run", pool) as b:
        b.student.refusal = WrongState("the orchestrator stops here")
        with pytest.raises(WrongState, match="stops here"):
            await b.align()
        b.student.refusal = None
        b.student.failed_before = {b.student.trainings[0].request_id}
        await b.align()
    first, second, third = (request.request_id for request in b.student.trainings)
    assert first == second != third
    assert "training again" in b.output.getvalue()


async def test_declining_leaves_everything_as_it_was(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        with (
            open_run(b.folder, b.settings) as run,
            b.progress() as progress,
            pytest.raises(Cancelled, match="declined"),
        ):
            await commands.align(run, b.where, None, lambda _: False, progress)
        assert b.student.trainings == []
        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            summary = await commands.align(
                run, b.where, None, lambda question: question.startswith("Train"), progress
            )
        assert (summary.promoted, summary.reason, b.student.live) == (
            False,
            "declined at the prompt",
            "v1",
        )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1"),
        ('{"image": "a.png", "question": "q?"}', "answers"),
        ('{"image": "a.png", "question": "q?", "answers": []}', "at least one"),
        ('{"image": "a.png", "question": " ", "answers": ["a"]}', "line 1"),
        ('["a"]', "line 1"),
        ("", "empty"),
    ],
)
async def test_a_wrong_labelled_set_is_told_before_anything_runs(tmp_path, pool, line, complaint):
    (tmp_path / "labels.jsonl").write_text(line)
    async with bench(tmp_path / "run", pool) as b:
        b.labelled = tmp_path / "labels.jsonl"
        with pytest.raises(InvalidInput, match=complaint):
            await b.align()
        assert b.teacher.calls.total() == 0


async def test_one_orchestrator_at_a_time(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        with (
            open_run(b.folder, b.settings),
            pytest.raises(Conflict, match="at work"),
            open_run(b.folder, b.settings),
        ):
            pass


async def test_the_steps_one_at_a_time_end_as_align_does(tmp_path, pool):
    async with bench(tmp_path / "whole", pool) as whole:
        await whole.align()
    async with bench(tmp_path / "steps", pool) as b:

        def yes(_: str) -> bool:
            return True

        with open_run(b.folder, b.settings) as run, b.progress() as progress:
            await commands.annotate(run, b.where, progress)
            assert b.student.calls.total() == 0
            identified = await commands.identify(run, b.where, progress)
            await commands.level(run, b.where, yes, progress)
            await commands.evaluate(run, b.where, None, progress)
            await commands.promote(run, b.where, yes, progress, force=True)
    assert b.parity_set() == whole.parity_set()
    assert identified.outcome == "unfinished"
    assert b.student.live == "v2"
