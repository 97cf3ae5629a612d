"""Rounds against scripted services: reused replies, stopping rules, and changes of each round."""

import json
from dataclasses import replace
from functools import partial

import pytest
from typer.testing import CliRunner

from services.core.errors import InvalidInput, NothingToAlign, WrongState
from services.orchestrator import in_turn, rounds
from services.orchestrator.cli.main import app
from services.orchestrator.rounds import StoppingRule
from services.orchestrator.run.run import open_run
from tests.orchestrator.conftest import rows, with_recipe
from tests.orchestrator.rounds import CELLS, align, rounds_bench
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher


async def test_each_round_levels_the_gap_of_the_student_before_it(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b)
    assert [training.base_version for training in b.student.trainings] == ["v1", "v2", "v3"]
    assert (b.student.live, summary.version.before, summary.version.after) == ("v4", "v3", "v4")
    first, second, third = summary.rounds
    assert first.gap > second.gap > third.gap > 16
    assert first.records == second.records == third.records == summary.annotations
    assert [row.number for row in summary.rounds] == [1, 2, 3]
    assert first.accuracy_before < first.accuracy_after
    assert {row.outcome for row in summary.rounds} == {"promoted"}
    assert summary.stopped == "3 of 3 rounds are done"


async def test_no_round_asks_for_an_answer_that_is_in_the_ledger(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        await align(b, 1)
        after_one = b.teacher.calls.copy()
        await align(b, 3)
    assert max(b.teacher.keys.values()) == 1
    assert max(count for key, count in b.student.keys.items() if key[-1]) == 1
    # A better student makes no new mistake, so the teacher was asked about everything.
    assert b.teacher.calls == after_one


async def test_the_teacher_is_asked_about_what_the_new_student_has_forgotten(tmp_path, pool):
    """The new student won on held-out records.

    The teacher was never asked about its new mistakes.
    """
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        await align(b, 1)
        asked = b.teacher.calls["answer"]
        b.student.skills["v2"] = 0.2  # as weights that unlearned what nobody held out
        summary = await align(b, 2)
    moves = {(move.before, move.after): move.count for move in summary.rounds[1].moves}
    assert b.teacher.calls["answer"] - asked == moves["unasked", "gap"] > 10


async def test_what_moved_between_rounds_adds_up(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 2)
    first, second = summary.rounds
    assert first.moves == ()
    assert sum(move.count for move in second.moves) == second.records
    left = sum(move.count for move in second.moves if move.before == "gap" and move.after != "gap")
    came = sum(move.count for move in second.moves if move.before != "gap" and move.after == "gap")
    assert first.gap - left + came == second.gap
    assert left > 10


async def test_parity_sets_of_earlier_rounds_are_kept(tmp_path, pool):
    async with rounds_bench(tmp_path / "one", pool) as one:
        one.settings = with_recipe(one.settings, held_out=0.4)
        await one.align()
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 2)
    assert (b.folder / "rounds" / "1" / "parity_set.jsonl").read_text() == one.parity_set()
    assert (
        len(b.parity_set().splitlines())
        == summary.rounds[1].parity_set
        != summary.rounds[0].parity_set
    )
    assert not (one.folder / "rounds").exists()


async def test_a_round_without_a_gain_is_the_last(tmp_path, pool):
    student = ScriptedStudent(trained_skill=0.7, trained_later=(0.5,))
    async with rounds_bench(tmp_path / "run", pool, student=student) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 5)
        assert (b.student.live, len(summary.rounds)) == ("v2", 2)
        assert summary.stopped.startswith("no gain in round 2: not better")
        calls = b.student.calls.total()
        assert (await align(b, 9)).stopped == summary.stopped
        assert b.student.calls.total() == calls


async def test_who_declines_a_promotion_ends_the_rounds(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 3, confirm=lambda question: question.startswith("Train"))
    assert (b.student.live, len(summary.rounds)) == ("v1", 1)
    assert "declined" in summary.stopped


async def test_rounds_stop_below_a_gap_rate_and_go_on_when_it_is_lowered(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 4, until_gap=0.3)
        assert len(summary.rounds) == 3
        assert summary.rounds[1].gap_rate > 0.3 > summary.rounds[2].gap_rate
        assert (summary.outcome, len(b.student.trainings)) == ("nothing_to_align", 2)
        assert "below the 30.0% at which rounds stop" in summary.stopped
        assert b.student.live == "v3"
        further = await align(b, 3, until_gap=0.1)
    assert (further.outcome, b.student.live) == ("promoted", "v4")
    assert max(b.teacher.keys.values()) == 1


async def test_a_gap_below_the_rate_from_the_first_is_nothing_to_align(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        with pytest.raises(NothingToAlign, match=r"below the 90\.0%"):
            await align(b, 3, until_gap=0.9)
    assert b.student.trainings == []


async def test_a_round_begins_from_the_weights_that_the_last_one_made(tmp_path, pool):
    """The student at this address has been replaced by one that has a version of that name."""
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        await align(b, 1)
        b.student.weights["v2"] = "other weights"
        with pytest.raises(WrongState, match=r"v2 at .* has other weights"):
            await align(b, 2)
        b.student.weights.clear()
        assert (await align(b, 2)).version.after == "v3"


async def test_a_later_round_at_parity_ends_well(tmp_path, pool):
    student = ScriptedStudent(trained_skill=0.95)
    async with rounds_bench(tmp_path / "run", pool, student=student) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 3)
    assert (len(summary.rounds), summary.outcome, b.student.live) == (2, "nothing_to_align", "v2")
    assert "at parity" in summary.stopped


@pytest.mark.parametrize("redo", [False, True])
async def test_rejected_annotations_are_redone_once_in_each_later_round_if_asked(
    tmp_path, pool, redo
):
    seen: dict[str, list[int]] = {}

    def rejects(sha256, seed):
        """An eighth of the images yields nothing at the first three seeds, another eighth never."""
        seeds = seen.setdefault(sha256, [])
        seeds.append(seed)
        kind = int(sha256[:2], 16) % 8
        return "no_question" if kind == 0 or (kind == 1 and len(seeds) < 4) else ""

    teacher = ScriptedTeacher(rejects=rejects)
    async with rounds_bench(tmp_path / "run", pool, teacher, recipe="paper") as b:
        b.settings = with_recipe(
            replace(b.settings, redo_rejected=redo), held_out=0.6, minimum_gap=1
        )
        summary = await align(b)
    kinds = [int(sha256[:2], 16) % 8 for sha256 in seen]
    never, late = kinds.count(0), kinds.count(1)
    assert never > 5 < late
    assert summary.rejected == {"no_question": never if redo else never + late}
    records = [row.records for row in summary.rounds]
    assert records == [120 - never - late, 120 - never - late, 120 - never - (0 if redo else late)]
    assert teacher.calls["annotate"] == 120 + (never + late) * (3 if redo else 1)
    assert max(teacher.keys.values()) == 1, "a new seed each time"


async def test_a_question_that_took_the_place_of_a_rejected_one_is_new(tmp_path, pool):
    """Its record of the first round was in the gap, until the teacher was sampled."""
    async with rounds_bench(tmp_path / "run", pool, ScriptedTeacher(noise=0.2)) as b:
        b.settings = replace(b.settings, redo_rejected=True)
        b.settings = with_recipe(b.settings, held_out=0.4, samples=3, min_agreement=0.6)
        summary = await align(b, 2)
    redone = (
        "SELECT count(*) FROM annotations a JOIN records r USING (image_sha256, number) "
        "WHERE attempt = 2 AND round = 2"
    )
    ((expected,),) = rows(b.folder, redone)
    was_there = (
        "SELECT count(*) FROM records WHERE round = 2 "
        "AND EXISTS (SELECT 1 FROM records e WHERE e.round = 1 "
    )
    ((kept,),) = rows(
        b.folder,
        was_there + "AND (e.image_sha256, e.number) = (records.image_sha256, records.number))",
    )
    assert expected + kept > summary.rounds[1].records, (
        "some of them have a record of the first round"
    )
    assert (
        sum(move.count for move in summary.rounds[1].moves if move.before == "new") == expected > 5
    )


async def test_the_table_is_shown_by_its_command_and_after_a_run(tmp_path, pool):
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        summary = await align(b, 2)
    shown = CliRunner().invoke(app, ["rounds", str(b.folder)])
    assert shown.exit_code == 0
    assert "v2 -> v3" in shown.output
    assert "gap -> unasked" in shown.output
    assert "stopped      2 of 2 rounds are done" in shown.output
    told = json.loads(CliRunner().invoke(app, ["rounds", str(b.folder), "--json"]).output)
    assert [row["gap"] for row in told["rounds"]] == [row.gap for row in summary.rounds]
    assert "round 2 moved" in CliRunner().invoke(app, ["status", str(b.folder)]).output


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"until_gap": 1.0}, {"until_gap": -0.1}])
def test_a_rule_that_means_nothing_is_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong)).replace("_", "-")):
        StoppingRule(**wrong)


async def test_one_device_at_a_time_makes_the_same_rounds(tmp_path, pool):
    async with rounds_bench(tmp_path / "beside", pool) as beside:
        beside.settings = with_recipe(beside.settings, held_out=0.4)
        await align(beside, 2)
    async with rounds_bench(tmp_path / "run", pool) as b:
        b.settings = with_recipe(b.settings, held_out=0.4)
        with open_run(b.folder, b.settings) as opened, b.progress() as progress:
            rounds.set_rule(opened, StoppingRule(2))
            one = partial(
                in_turn.align,
                opened,
                b.where,
                None,
                lambda _: True,
                progress,
                teacher_takes_turns=True,
            )
            await rounds.repeat(opened, one)
    assert rows(b.folder, CELLS) == rows(beside.folder, CELLS)
    assert (b.parity_set(), b.student.live) == (beside.parity_set(), "v3")
    assert b.teacher.keys == beside.teacher.keys


@pytest.mark.parametrize("wrong", [("--rounds", "0"), ("--until-gap", "1.5")])
def test_the_command_refuses_a_rule_that_means_nothing(wrong):
    arguments = [
        "align",
        "pool",
        "--task",
        "vqa",
        "--teacher",
        "localhost:1",
        "--student",
        "localhost:1",
        *wrong,
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 2
