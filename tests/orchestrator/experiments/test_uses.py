"""The test draw: what was measured there is recorded, and no settings are chosen there."""

import json

import pytest

from services.core.errors import Unavailable, WrongState
from services.orchestrator.experiments.uses import DrawUses
from tests.orchestrator.experiments.conftest import FILE
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving

FOUR = ("zero-shot", "paper+epochs-4")
EIGHT = ("zero-shot", "paper+epochs-8")
CLAIM = 'claim = "longer training forgets"\n'


def chosen(laboratory, epochs) -> None:
    choice = {
        "arm": "paper",
        "student": "qwen2vl-2b",
        "teacher": "qwen2vl-7b",
        "task": "vqa",
        "chosen": f"paper+epochs-{epochs}",
        "variants": 2,
        "seeds": 1,
    }
    (laboratory.data / "grid-chosen.json").write_text(json.dumps([choice]))


async def test_other_settings_are_refused_unless_they_are_another_claim(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        first = laboratory.experiment(arms=FOUR)
        rows = await laboratory.work(first, teacher_at, student_at)
        uses = (laboratory.out / "test-draw.json").read_text()
        more = laboratory.experiment(arms=FOUR, seeds=(0, 1))
        await laboratory.work(more, teacher_at, student_at)
        asked = len(student.trainings)
        with pytest.raises(
            WrongState,
            match=r"paper\+epochs-4 \(qwen2vl-2b, qwen2vl-7b, vqa\) was measured on the test draw "
            r"of vqa with epochs 4 \(20.*\+00:00, small.toml\), and now it would be with epochs 8."
            r".* dev draw.* claim = ",
        ):
            await laboratory.work(laboratory.experiment(arms=EIGHT), teacher_at, student_at)
        assert len(student.trainings) == asked, "nothing is spent before"
        assert (laboratory.out / "test-draw.json").read_text() == uses, "seeds are no choice"
        claimed = laboratory.experiment(CLAIM + FILE, "claimed", EIGHT)
        await laboratory.work(claimed, teacher_at, student_at)
        again = await laboratory.work(first, "127.0.0.1:1", "127.0.0.1:1")
    assert again == rows, "the first claim stands"
    assert [
        (use["arm"], use["claim"], use["experiment"])
        for use in json.loads((laboratory.out / "test-draw.json").read_text())
    ] == [
        ("zero-shot", "", "small"),
        ("paper+epochs-4", "", "small"),
        ("paper+epochs-8", "longer training forgets", "claimed"),
    ]
    report = (laboratory.out / "claimed.md").read_text()
    assert "The test draw was used 2 times: once for each claim" in report
    assert "| longer training forgets | claimed " in report


async def test_an_edited_choice_is_refused_and_stated_settings_are_another_place(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    text = 'draw = "test"\nchosen = "grid-chosen.json"\n' + FILE
    both = ("paper", "paper+epochs-2")
    chosen(laboratory, 4)
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        await laboratory.work(laboratory.experiment(text, arms=both), teacher_at, student_at)
        chosen(laboratory, 8)
        edited = laboratory.experiment(text, arms=both)
        with pytest.raises(WrongState, match=r"with epochs 4 .* would be with epochs 8"):
            await laboratory.work(edited, teacher_at, student_at)
    assert "was used once" in (laboratory.out / "small.md").read_text()


async def test_a_killed_measurement_is_a_use_and_is_resumed(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    experiment = laboratory.experiment(arms=FOUR)
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        student.trouble = lambda _: Unavailable("gone") if student.calls["answer"] >= 150 else None
        with pytest.raises(Unavailable):
            await laboratory.work(experiment, teacher_at, student_at)
        uses = (laboratory.out / "test-draw.json").read_text()
        student.trouble = lambda _: None
        DrawUses(experiment, laboratory.out).require_no_choice()
        with pytest.raises(WrongState, match="would be with epochs 8"):
            DrawUses(laboratory.experiment(arms=EIGHT), laboratory.out).require_no_choice()
        await laboratory.work(experiment, teacher_at, student_at)
    assert (laboratory.out / "test-draw.json").read_text() == uses


def test_the_dev_draw_may_be_used_at_will(laboratory):
    text = FILE.replace("test =", "dev =")
    for arms in (FOUR, EIGHT):
        DrawUses(laboratory.experiment(text, arms=arms), laboratory.out).require_no_choice()
