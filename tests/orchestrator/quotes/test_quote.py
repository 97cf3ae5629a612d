"""Quotes: the run then takes what its quote predicted."""

import inspect
import json
from dataclasses import replace

import pytest
from rich.console import Console

from services.core.errors import WrongState
from services.core.intervals import Interval
from services.core.presets import PRESETS
from services.core.usage import Usage
from services.orchestrator.cli import commands
from services.orchestrator.cli.align import align
from services.orchestrator.cli.quote import quote as quote_command
from services.orchestrator.cli.request import GuardChoice
from services.orchestrator.endpoints.budget import NO_LIMITS
from services.orchestrator.images.drawn import DrawnImages
from services.orchestrator.images.opening import open_images
from services.orchestrator.quotes.pilot import draw
from services.orchestrator.quotes.quote import Quote, QuotedStage, quote
from services.orchestrator.quotes.training import Training
from services.orchestrator.reports.quote import clock, show
from services.orchestrator.run.run import open_run
from tests.orchestrator.cli.test_main import align_arguments, at, run
from tests.orchestrator.conftest import bench, with_recipe
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher


async def quoted(b, folder, size=40, usd_per_hour=0.0, seed=0):
    with (
        open_run(folder, replace(b.settings, pilot=True, seed=seed)) as opened,
        b.progress() as progress,
    ):
        return await quote(opened, b.where, size, 2, usd_per_hour, progress)


async def test_a_pilot_predicts_the_run_which_does_not_pay_for_it_again(tmp_path, pool, cache):
    teacher = ScriptedTeacher()
    async with bench(tmp_path / "run", pool, teacher, cache=cache) as b:
        found = await quoted(b, tmp_path / "pilot")
        pilot_calls = teacher.calls.total()
        actual = await b.align()
    stages = {stage.name: stage for stage in found.stages}
    assert (found.pool, found.pilot, found.usable, found.saved_calls) == (120, 40, 40, 0)
    assert stages["annotate"].calls == 240
    assert stages["answer"].calls == actual.student_calls == 240
    answers = actual.teacher_calls + actual.teacher_calls_saved - 240
    assert stages["identify"].calls == pytest.approx(answers, rel=0.15)
    assert stages["evaluate"].calls == pytest.approx(actual.evaluation_calls["student"], rel=0.5)
    assert found.parity_set.low < actual.parity_set < found.parity_set.high
    assert found.parity_set.low < found.parity_set.expected < found.parity_set.high
    assert found.provider_usd == pytest.approx(
        0.001 * (stages["annotate"].calls + stages["identify"].calls), rel=0.01
    )
    assert found.pilot_usd == pytest.approx(0.001 * pilot_calls)
    assert stages["annotate"].usage.prompt_tokens == 100 * 240
    assert (actual.teacher_calls_saved, max(teacher.keys.values())) == (pilot_calls, 1)


async def test_a_pilot_of_all_images_is_exact(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="paper") as b:
        found = await quoted(b, tmp_path / "pilot", size=500)
        actual = await b.align()
    size = found.parity_set
    assert size.low == size.expected == size.high == actual.parity_set
    assert [stage.calls for stage in found.stages[:3]] == [120, 120, actual.teacher_calls - 120]
    assert found.stages[3].calls == actual.evaluation_calls["student"]


async def test_samples_of_the_teacher_are_a_stage_of_their_own(tmp_path, pool):
    async with bench(tmp_path / "run", pool, recipe="paper") as b:
        b.settings = with_recipe(b.settings, samples=2)
        found = await quoted(b, tmp_path / "pilot", size=500)
        before = b.teacher.calls.total()
        await b.align()
    stages = {stage.name: stage for stage in found.stages}
    assert stages["sample"].role == "teacher"
    assert stages["sample"].calls > 16
    assert (
        sum(stage.calls for stage in found.stages if stage.role == "teacher")
        == b.teacher.calls.total() - before
    )


async def test_questions_of_guard_sets_are_a_stage_of_their_own(tmp_path, pool):
    guard = tmp_path / "guard.jsonl"
    row = {"image": "pool/000.png", "answers": ["red"]}
    asked = (json.dumps({**row, "question": f"what is part {n}?"}) for n in range(10))
    guard.write_text("\n".join(asked))
    async with bench(tmp_path / "run", pool, recipe="paper") as b:
        with (
            open_run(tmp_path / "pilot", replace(b.settings, pilot=True)) as opened,
            b.progress() as progress,
        ):
            choice = GuardChoice((guard,))
            found = await commands.quote(opened, b.where, 20, 2, NO_LIMITS, progress, choice)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["guard"].calls == 2 * 10, "both versions answer"
    answered = stages["answer"]
    assert answered.seconds is not None
    assert stages["guard"].seconds == pytest.approx(answered.seconds * 20 / answered.calls)


async def test_time_is_told_by_stage_and_only_of_calls_that_were_made(tmp_path, pool, cache):
    async with bench(
        tmp_path / "run", pool, ScriptedTeacher(delay_s=0.05), cache=cache, recipe="paper"
    ) as b:
        first = await quoted(b, tmp_path / "first", usd_per_hour=3.6)
        again = await quoted(b, tmp_path / "again")
    seconds = {stage.name: stage.seconds for stage in first.stages}
    assert seconds["annotate"] > 0.05 * 120 / 64
    side_by_side = max(seconds["annotate"] + seconds["identify"], seconds["answer"])
    assert first.wall_s == pytest.approx(side_by_side + seconds["evaluate"])
    assert first.gpu_hours == pytest.approx(2 * first.wall_s / 3600)
    assert first.devices_usd == pytest.approx(first.wall_s / 1000)
    assert (again.stages[0].seconds, again.wall_s, again.gpu_hours) == (None, None, None)
    assert again.saved_calls > 40
    assert again.parity_set == first.parity_set


def past(**steps):
    """Trainings of a student, 2 s a step, v3's and later ones 5 s."""
    return {
        version: {
            "train_seconds": (2.0 if version < "v3" else 5.0) * count,
            "train_steps": count,
            "train_loss": 0.1,
        }
        for version, count in steps.items()
    }


@pytest.mark.parametrize(
    ("trained", "adapters", "lora_rank", "step_s", "said"),
    [
        (past(v1=0, v2=10, v3=40), (), 0, 5.0, "5 s a step, as when v3 was trained there"),
        (past(v1=0, v2=10, v3=40), ("v3",), 0, 2.0, "as when v2 was trained"),
        (past(v1=0, v2=10, v3=40), ("v3",), 8, 5.0, "as when v3 was trained"),
        (past(v1=0, v2=10), (), 8, None, "has not trained adapters of this student yet"),
        (past(v1=0), (), 0, None, "has not trained all weights of this student yet"),
    ],
)
async def test_training_is_told_in_steps_and_in_time_where_there_was_one_before(
    tmp_path, pool, trained, adapters, lora_rank, step_s, said
):
    student = ScriptedStudent(metrics=trained, adapters=adapters)
    async with bench(tmp_path / "run", pool, student=student, lora_rank=lora_rank) as b:
        found = await quoted(b, tmp_path / "pilot", size=500)
        actual = await b.align()
    epochs = PRESETS["bundled"].hyperparameters.epochs
    assert found.training.steps == -(-actual.parity_set // 16) * epochs
    assert found.training.seconds == (step_s and step_s * found.training.steps)
    assert said in found.training.basis
    stages_s = sum(stage.seconds for stage in found.stages)
    assert found.wall_s > 2 * found.training.steps if step_s else found.wall_s <= stages_s


async def test_passes_and_repetitions_of_a_recipe_are_in_the_steps(tmp_path, pool):
    student = ScriptedStudent(metrics=past(v1=0, v2=10))
    recipe = "filtered+repair-1+epochs-3"
    async with bench(tmp_path / "run", pool, student=student, recipe=recipe) as b:
        found = await quoted(b, tmp_path / "pilot", size=500)
    assert found.training.steps == -(-round(found.parity_set.expected) // 16) * 3 * 2


async def test_an_interrupted_quote_goes_on_and_a_finished_one_is_there_without_services(
    tmp_path, pool
):
    async with bench(tmp_path / "run", pool) as b:
        found = await quoted(b, tmp_path / "pilot")
    calls = b.teacher.calls.total()
    assert await quoted(b, tmp_path / "pilot") == found
    assert b.teacher.calls.total() == calls


async def test_a_pilot_is_never_taken_for_the_run(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        await quoted(b, b.folder)
        with pytest.raises(WrongState, match="pilot: True there, False now"):
            await b.align()


async def test_a_pilot_without_a_gap_is_no_error(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(skills={"v1": 1.0})) as b:
        found = await quoted(b, tmp_path / "pilot")
    assert (found.parity_set.low, found.parity_set.expected) == (0, 0)
    assert (found.training.steps, found.training.seconds) == (0, 0.0)
    assert "the recipe needs 16" in found.training.basis
    assert 0 < found.parity_set.high < 60


def test_the_draw_is_random_repeatable_and_grows(pool):
    source = open_images(str(pool))
    ten, forty = draw(source, 10, 0, seed=0), draw(source, 40, 0, seed=0)
    assert draw(source, 10, 0, seed=0) == ten
    assert set(ten.keys) < set(forty.keys)
    assert set(draw(source, 10, 0, seed=1).keys) != set(ten.keys)
    assert not set(forty.keys) <= {f"{number:03}.png" for number in range(60)}
    assert (ten.pool, len(draw(source, 0, 0, seed=0).keys)) == (120, 50)
    assert set(draw(source, 0, 20, seed=0).keys) == {f"{number:03}.png" for number in range(20)}
    drawn = DrawnImages(source, frozenset(ten.keys))
    assert [item.key for item in drawn.walk(lambda _: False)] == sorted(ten.keys)
    assert drawn.total() == 10


async def test_the_command_shows_a_table_or_json_and_keeps_to_a_budget(tmp_path, pool):
    async with bench(tmp_path / "run", pool) as b:
        asked = ("quote", *align_arguments(b)[1:], "--pilot", 30, *at(b))
        code, output, errors = await run(*asked, "--usd-per-hour", "2")
        assert code == 0, errors
        assert "parity set" in output
        assert "30 of 120 images" in output
        code, output, _ = await run(*asked, "--json")
        assert (code, json.loads(output)["pool"]) == (0, 120)
        other = (*asked, "--run", tmp_path / "other", "--no-cache")
        code, _, errors = await run(*other, "--budget", "0")
        assert (code, "larger --budget" in errors) == (4, True)
        assert (await run(*other))[0] == 0


def test_unknown_figures_are_shown_as_such(capsys):
    stage = QuotedStage("annotate", "teacher", 2000, None, Usage(cost_usd=12.5))
    training = Training(7, None, "never trained there")
    unknown = Quote(
        1000, 50, 49, 50, (stage,), Interval(100, 60, 150), training, None, None, None, 12.5, 0.6
    )
    show(unknown, Console(width=200))
    shown = capsys.readouterr().out
    assert "100 samples (95 %: 60 to 150)" in shown
    assert "7 steps, ? (never trained there)" in shown
    assert "?, without the training" in shown
    assert "$12.50, of which the pilot's $0.60 are paid" in shown
    assert "--no-cache measures it" in shown
    assert (clock(7509), clock(None)) == ("2:05:09", "?")


def test_a_quote_takes_every_option_that_decides_on_calls():
    of_align, of_quote = (
        set(inspect.signature(command).parameters) for command in (align, quote_command)
    )
    later = {
        "labelled",
        "rounds",
        "until_gap",
        "redo_rejected",
        "focus",
        "production",
        "trial",
        "yes",
        "max_hours",
        "reviewed",
    }
    where = {"engine", "ray_address", "ui"}  # who makes the calls and looks on, not which
    assert of_align - of_quote - where == later
