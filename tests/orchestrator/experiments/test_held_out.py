"""Experiments that hold out records: how well these choose settings, next to the dev draw."""

from dataclasses import replace

import pytest

from services.core.parity import is_held_out
from services.orchestrator.experiments.chosen import choose_settings, ranks_by_held_out
from services.orchestrator.experiments.file import read_experiment
from services.orchestrator.run.run import read_run
from tests.orchestrator.experiments.conftest import FILE, write, write_labelled
from tests.orchestrator.experiments.test_choices import GRID, MODELS, row, two_tasks
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving


def test_the_choice_by_held_out_records_has_its_regret(data):
    arms = GRID.replace("[1, 4]", "[1, 4, 8]")
    experiment = read_experiment(write(data, two_tasks(arms)), data)
    names = [f"filtered+epochs-{epochs}" for epochs in (1, 4, 8)]
    scores = zip(names, (0.5, 0.75, 0.7), (0.6, 0.8, 0.9), strict=True)
    rows = [
        row(arm, "vqa", mean, held_out=held_out, held_out_scores=(held_out, 1.8 - held_out))
        for arm, mean, held_out in scores
    ]
    (found,) = choose_settings(experiment, rows)
    assert (found.chosen, found.by_held_out) == (names[1], names[2])
    assert found.regret == pytest.approx(0.05)
    assert found.seed_regret == pytest.approx((0.05 + 0.25) / 2), "the second seed is misled"
    assert found.rank_correlation == pytest.approx(0.5)
    rows.append(row("paper+epochs-1", "vqa", 0.9, held_out=0.1, held_out_scores=(0.1, 0.1)))
    correlation, number = ranks_by_held_out(rows)[(*MODELS, "vqa")]
    assert correlation == pytest.approx(-0.4)
    assert number == 4
    rows[0] = replace(rows[0], held_out=None)
    (found,) = choose_settings(experiment, rows)
    assert (found.chosen, found.by_held_out, found.regret) == (names[1], "", None)


async def test_held_out_records_are_never_trained_on_and_judge_each_student(laboratory):
    write_labelled(laboratory.data / "dev.jsonl", range(2100, 2120))
    variants = GRID.replace("{", "{{").replace("}", "}}").replace('"paper"', '"labels"')
    text = ("held_out = 0.3\n" + FILE).replace("{arms}", variants)
    text += 'dev = {{ files = "dev.jsonl" }}\n'
    teacher, student = (
        ScriptedTeacher(),
        ScriptedStudent(trained_skill=0.6, trained_later=(0.9, 0.7)),
    )
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(laboratory.experiment(text), teacher_at, student_at)
        asked = student.calls["answer"]
        again = await laboratory.work(laboratory.experiment(text), "127.0.0.1:1", "127.0.0.1:1")
    assert again == rows
    assert teacher.calls["annotate"] == 60, "twenty of the pool look like images of dev"
    with read_run(laboratory.out / "runs/qwen2vl-2b/qwen2vl-7b/vqa") as run:
        records = list(run.ledger.records())
    assert {one.held_out for one in records} == {True, False}
    assert all(one.held_out == is_held_out(one.image_sha256, 0.3) for one in records)
    one, four = rows["filtered+epochs-1"], rows["filtered+epochs-4"]
    assert one["samples"] <= sum(not record.held_out for record in records)
    assert 0 < one["held_out_questions"] <= sum(record.held_out for record in records)
    assert one["held_out"] < four["held_out"] <= 1.0, "the better student of the script"
    assert rows["labels+epochs-1"]["held_out"] is rows["zero-shot"]["held_out"] is None
    found = {choice["arm"]: choice for choice in laboratory.rows("small-chosen")}
    assert found["filtered"]["by_held_out"] == "filtered+epochs-4"
    assert (found["filtered"]["regret"], found["filtered"]["rank_correlation"]) == (0.0, 1.0)
    assert found["labels"]["by_held_out"] == ""
    evaluated = 5 * 40 + 3 + 5
    assert asked == len(records) + evaluated + 2 * one["held_out_questions"], "no question twice"
    assert "## Settings chosen by held-out records" in (laboratory.out / "small.md").read_text()
