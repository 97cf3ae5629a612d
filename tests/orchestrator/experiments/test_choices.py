"""Settings that are chosen on dev, task by task, and those that the test draw reads."""

import json
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput
from services.orchestrator.experiments.chosen import choose_settings
from services.orchestrator.experiments.file import read_experiment
from services.orchestrator.experiments.plan import groups, subjects
from services.orchestrator.experiments.results import Row
from tests.orchestrator.experiments.conftest import FILE, write, write_labelled
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving

MODELS = ("qwen2vl-2b", "qwen2vl-7b")
MORE = """dev = {{ files = "test.jsonl" }}
[tasks.signs]
task = "vqa"
pool = "pool"
dev = {{ files = "test.jsonl" }}
test = {{ files = "test.jsonl" }}
"""
GRID = '["zero-shot", { arm = ["filtered", "paper"], epochs = [1, 4] }]'
CHOSEN = [("filtered", "vqa", 4), ("filtered", "signs", 1), ("paper", "vqa", 1)]


def two_tasks(arms, said="") -> str:
    return said + (FILE + MORE).format(arms=arms, seeds="[0, 1]")


def row(arm, task, mean, **values) -> Row:
    return Row(arm, *MODELS, task, task, "vqa_accuracy", **{"seeds": 2, "mean": mean, **values})


def choices(folder, chosen=CHOSEN) -> None:
    """A file as an experiment on the dev draw writes it."""
    rows = [
        {
            "arm": arm,
            "student": MODELS[0],
            "teacher": MODELS[1],
            "task": task,
            "chosen": f"{arm}+epochs-{epochs}",
            "score": 0.5,
            "variants": 2,
            "seeds": 2,
        }
        for arm, task, epochs in chosen
    ]
    (folder / "grid-chosen.json").write_text(json.dumps(rows))


def on_test(data, arms):
    text = two_tasks(arms, 'draw = "test"\nchosen = "grid-chosen.json"\n')
    return read_experiment(write(data, text), data)


def test_each_task_has_its_own_choice_once_all_variants_are_measured(data):
    experiment = read_experiment(write(data, two_tasks(GRID)), data)
    one, four = "filtered+epochs-1", "filtered+epochs-4"
    rows = [
        row(one, "vqa", 0.5),
        row(four, "vqa", 0.6),
        row(one, "signs", 0.7),
        row(four, "signs", 0.7),
        replace(row(four, "vqa", 0.9), on="signs"),
        row("paper+epochs-1", "vqa", 0.9),
        row("paper+epochs-4", "vqa", 0.9, seeds=1),
        row("paper+epochs-1", "signs", None, seeds=0, reason="the gap has 3 samples"),
        row("paper+epochs-4", "signs", None, seeds=0, reason="the gap has 3 samples"),
    ]
    found = choose_settings(experiment, rows)
    assert [(one.arm, one.task, one.chosen, one.score) for one in found] == [
        ("filtered", "vqa", four, 0.6),
        ("filtered", "signs", one, 0.7),
        ("paper", "signs", "paper+epochs-1", None),
    ]
    assert choose_settings(replace(experiment, entries={}), rows) == [], "no dev draw"


def test_an_arm_is_trained_with_the_settings_of_its_task(data):
    choices(data)
    found = on_test(data, '["zero-shot", "filtered", "filtered+epochs-4"]')
    settled = {(group.arm.name, group.entry.name): group.chosen for group in groups(found)}
    assert settled == {
        ("zero-shot", "vqa"): "",
        ("zero-shot", "signs"): "",
        ("filtered", "vqa"): "filtered+epochs-4",
        ("filtered", "signs"): "filtered+epochs-1",
        ("filtered+epochs-4", "vqa"): "",
        ("filtered+epochs-4", "signs"): "",
    }
    trained = [subject for subject in subjects(found) if subject.arm.is_trained]
    assert len(trained) == 3 * 2, "the same settings of one task are trained once"


def test_the_first_file_that_has_a_choice_wins(data):
    choices(data, [("filtered", "vqa", 8), ("paper", "vqa", 8), ("paper", "signs", 8)])
    (data / "grid-chosen.json").rename(data / "more-chosen.json")
    choices(data)
    said = 'draw = "test"\nchosen = ["grid-chosen.json", "more-chosen.json"]\n'
    found = read_experiment(write(data, two_tasks('["filtered", "paper"]', said)), data)
    assert {(group.entry.name, group.chosen) for group in groups(found)} == {
        ("vqa", "filtered+epochs-4"),
        ("signs", "filtered+epochs-1"),
        ("vqa", "paper+epochs-1"),
        ("signs", "paper+epochs-8"),
    }


@pytest.mark.parametrize(
    ("arms", "complaint"),
    [
        (
            '["paper"]',
            r'"chosen" has no settings of the arm paper for qwen2vl-2b, qwen2vl-7b, signs: .*'
            r"`mpa-orch experiment grid.toml`",
        ),
        ('["filtered+epochs-1", "filtered+epochs-4"]', "refuses to choose on the test draw"),
    ],
)
def test_a_missing_choice_is_never_a_default(data, arms, complaint):
    choices(data)
    with pytest.raises(InvalidInput, match=complaint):
        on_test(data, arms)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r'"chosen" names .grid-chosen.json., and .*No such file.* grid.toml` writes it'),
        ("[", "which is no JSON"),
        ("{}", "no list of choices"),
        ("[1]", r"grid-chosen.json\[0\] is a number"),
        ('[{"arm": "paper"}]', r'"task" is missing: an earlier release chose for all tasks'),
        (
            json.dumps(
                [{"arm": "paper", "student": "s", "task": "t", "chosen": "random+epochs-4"}]
            ).replace("}", ', "variants": 2, "seeds": 2}'),
            r'"chosen" is .random\+epochs-4., which is no variant of paper',
        ),
    ],
)
def test_a_wrong_file_of_choices_is_reported(data, content, complaint):
    if content is not None:
        (data / "grid-chosen.json").write_text(content)
    with pytest.raises(InvalidInput, match=complaint):
        on_test(data, '["paper"]')


def test_choices_are_for_the_test_draw(data):
    choices(data)
    text = two_tasks('["filtered"]', 'chosen = "grid-chosen.json"\n')
    with pytest.raises(InvalidInput, match=r'"chosen" is for draw = "test"'):
        read_experiment(write(data, text), data)


async def test_what_dev_chose_is_what_test_measures_and_nothing_is_trained_twice(laboratory):
    write_labelled(laboratory.data / "dev.jsonl", range(2100, 2120))
    text = FILE + 'dev = {{ files = "dev.jsonl" }}\n'
    variants = GRID.replace("{", "{{").replace("}", "}}")
    grid = laboratory.experiment(text.replace("{arms}", variants), "grid")
    said = 'draw = "test"\nchosen = "../out/grid-chosen.json"\n'
    teacher, student = ScriptedTeacher(), ScriptedStudent(trained_later=(0.6, 0.7, 0.9, 0.5))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        dev = await laboratory.work(grid, teacher_at, student_at)
        trained = len(student.trainings)
        arms = ("zero-shot", "filtered", "paper")
        final = laboratory.experiment(said + text, "final", arms)
        test = await laboratory.work(final, teacher_at, student_at)
        again = await laboratory.work(final, "127.0.0.1:1", "127.0.0.1:1")
    assert again == test
    assert len(student.trainings) == trained == 4
    best = max(("filtered+epochs-1", "filtered+epochs-4"), key=lambda arm: dev[arm]["mean"])
    assert set(test) == set(arms)
    assert (test["filtered"]["chosen"], test["filtered"]["draw"]) == (best, "test")
    assert test["filtered"]["steps"] == dev[best]["steps"]
    pairs = {(one["arm"], one["other"]) for one in laboratory.rows("final-versus")}
    assert pairs == {("filtered", "paper"), ("paper", "filtered")}, "at each one's best"
    one = laboratory.rows("final-versus")[0]
    assert (one["steps"], one["other_steps"]) == (
        test["filtered"]["steps"],
        test["paper"]["steps"],
    )
    report = (laboratory.out / "final.md").read_text()
    words = best.removeprefix("filtered+").replace("-", " ")
    assert f"Settings chosen on the dev draw. PI as a filter: {words} (vqa). MPA: " in report
    assert "## Settings chosen on the dev draw" in report
    assert f"| filtered (chosen: {words}) |" in report
    assert not (laboratory.out / "final-chosen.json").exists()
