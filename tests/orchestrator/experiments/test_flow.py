"""A whole experiment over loopback gRPC: its requests, its samples; no work is repeated."""

import math

import pytest

from services.core.errors import MpaError, Unavailable, WrongState
from services.core.intervals import holm
from services.core.pixels import UNLIMITED, PixelBudget
from services.orchestrator.experiments.identified import settle_budget
from services.orchestrator.experiments.plan import lines
from services.orchestrator.run.run import settings_of
from tests.orchestrator.experiments.conftest import FILE, write_labelled
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving

ARMS = (
    "zero-shot",
    "paper",
    "rehearsal-0.5",
    "without-pi",
    "without-pi-step-matched",
    "random",
    "labels-30-lora",
    "labels-30",
    "labels",
    "teacher",
    "paper@0.5",
)
VARIANTS = """[
    "zero-shot",
    "filtered+emphasis-2",
    {{ arm = ["filtered", "paper"], epochs = [1, 4], learning_rate = 1e-3, weight_decay = 0.1 }},
]"""


async def test_every_arm_is_trained_as_it_says_and_measured_officially(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(laboratory.experiment(arms=ARMS), teacher_at, student_at)
    assert set(rows) == set(ARMS)
    gap = rows["paper"]["samples"]
    assert gap > 16
    assert rows["random"]["samples"] == rows["without-pi-step-matched"]["samples"] == gap
    assert rows["rehearsal-0.5"]["samples"] == gap + round(gap * 0.5)
    assert rows["paper@0.5"]["samples"] == round(gap * 0.5)
    assert rows["without-pi"]["samples"] > gap
    assert rows["labels"]["samples"] == 160
    assert rows["labels-30"]["samples"] == rows["labels-30-lora"]["samples"] == 30
    lora = [
        request.hyperparameters
        for request in student.trainings
        if request.recipe == "labels-30-lora"
    ]
    assert [(one.lora_rank, one.learning_rate) for one in lora] == [(16, 1e-4)]
    assert {request.base_version for request in student.trainings} == {"v1"}
    assert {request.hyperparameters.loss for request in student.trainings} == {"sample"}, (
        "Eq. 3, for each arm alike"
    )
    assert all(request.contract.normaliser == "exact@1" for request in student.trainings)
    assert all(
        request.contract.training_template == request.training_template
        for request in student.trainings
    )
    assert {(row["metric"], row["questions"]) for row in rows.values()} == {("vqa_accuracy", 40)}
    pairs = {(one["arm"], one["other"]) for one in laboratory.rows("small-versus")}
    trained = {arm for arm in ARMS if arm not in ("zero-shot", "teacher", "paper@0.5")}
    assert pairs == {
        (arm, other) for arm in ("paper", "rehearsal-0.5") for other in trained - {arm}
    }
    assert rows["teacher"]["mean"] > rows["zero-shot"]["mean"]
    assert 0 < rows["zero-shot"]["latency_s"] < 1
    assert rows["teacher"]["parameters"] > rows["zero-shot"]["parameters"]


async def test_seeds_are_averaged_and_compared_with_the_untrained_student(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent(trained_later=(0.8,))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(laboratory.experiment(seeds=(0, 7)), teacher_at, student_at)
    assert [request.hyperparameters.seed for request in student.trainings] == [0, 7]
    paper, untrained = rows["paper"], rows["zero-shot"]
    assert (paper["seeds"], untrained["seeds"]) == (2, 1)
    assert paper["mean"] == pytest.approx(sum(paper["scores"]) / 2)
    assert paper["sd"] == pytest.approx(abs(paper["scores"][0] - paper["scores"][1]) / 2**0.5)
    assert paper["gain"] == pytest.approx(paper["mean"] - untrained["mean"])
    assert paper["fixed"] == pytest.approx(40 * paper["gain"])
    assert paper["broken"] == 0
    assert paper["p"] < 0.05
    assert paper["low"] <= paper["gain"] <= paper["high"]
    assert untrained["gain"] is None
    assert [(one["kind"], one["questions"]) for one in paper["kinds"]] == [
        ("what color", 20),
        ("yes/no", 20),
    ]
    assert sum(one["fixed"] for one in paper["kinds"]) == pytest.approx(paper["fixed"])
    assert sum(one["after"] - one["before"] for one in paper["kinds"]) / 2 == pytest.approx(
        paper["gain"]
    )
    assert all(one["low"] <= one["after"] - one["before"] <= one["high"] for one in paper["kinds"])
    assert untrained["kinds"] == []
    _, _, said = (laboratory.out / "small.md").read_text().partition("## By kind of question")
    of_kinds = [line for line in said.splitlines() if line.startswith("| MPA")]
    adjusted = sorted(float(line.split("|")[-2]) for line in of_kinds)
    first, second = holm(sorted(one["p"] for one in paper["kinds"]))
    assert adjusted == pytest.approx([first, second], rel=0.1), "two kinds in all"
    _, _, said = (laboratory.out / "small.md").read_text().partition("## Worst kinds")
    line = next(line for line in said.splitlines() if line.startswith("| MPA"))
    worst = [cell.strip() for cell in line.split("|")[-5:-1]]
    least = min(paper["kinds"], key=lambda one: one["after"] - one["before"])
    points = 100 * (least["after"] - least["before"])
    assert worst == ["2", "0", least["kind"], f"{points:+.1f}"]


async def test_arms_are_compared_with_each_other_seed_by_seed(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent(trained_later=(0.8, 0.5, 0.6))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(
            laboratory.experiment(arms=("paper", "random"), seeds=(0, 1)), teacher_at, student_at
        )
    (found,) = laboratory.rows("small-versus")
    assert (found["arm"], found["other"], found["seeds"]) == ("paper", "random", 2)
    assert found["gain"] == pytest.approx(rows["paper"]["mean"] - rows["random"]["mean"])
    assert found["fixed"] - found["broken"] == pytest.approx(40 * found["gain"])
    assert found["low"] <= found["gain"] <= found["high"]
    assert found["p_holm"] == found["p_paired"] < 1.0, "a single comparison"
    assert "| MPA | random, size-matched |" in " ".join(
        (laboratory.out / "small.md").read_text().split()
    )


async def test_variants_are_trained_as_they_say_and_chosen_on_dev(laboratory):
    write_labelled(laboratory.data / "dev.jsonl", range(2100, 2120))
    text = FILE.replace("{arms}", VARIANTS)
    text += 'dev = {{ files = "dev.jsonl" }}\n'
    teacher, student = ScriptedTeacher(), ScriptedStudent(trained_later=(0.6, 0.7, 0.9, 0.5, 0.8))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(laboratory.experiment(text), teacher_at, student_at)
        again = await laboratory.work(laboratory.experiment(text), "127.0.0.1:1", "127.0.0.1:1")
    assert again == rows, "tables are made again from the answers"
    asked = {request.recipe: request.hyperparameters for request in student.trainings}
    trained = asked["filtered+epochs-4+rate-0.001+decay-0.1"]
    assert (trained.epochs, trained.learning_rate, trained.weight_decay) == (4, 1e-3, 0.1)
    assert not asked["filtered+emphasis-2"].HasField("learning_rate")
    filtered = rows["filtered+epochs-4+rate-0.001+decay-0.1"]
    assert rows["filtered+emphasis-2"]["samples"] <= filtered["samples"]
    assert filtered["steps"] == 4 * math.ceil(filtered["samples"] / 16)
    (chosen, other) = laboratory.rows("small-chosen")
    best = max(
        (row for arm, row in rows.items() if arm.startswith("filtered+epochs")),
        key=lambda row: row["mean"],
    )
    assert (chosen["arm"], chosen["chosen"], chosen["score"]) == (
        "filtered",
        best["arm"],
        best["mean"],
    )
    assert (other["arm"], other["variants"]) == ("paper", 2)
    pairs = {(one["arm"], one["other"]) for one in laboratory.rows("small-versus")}
    one, four = (f"+epochs-{epochs}+rate-0.001+decay-0.1" for epochs in (1, 4))
    assert pairs == {
        (arm + of, other + of)
        for of in (one, four)
        for arm, other in (("filtered", "paper"), ("paper", "filtered"))
    }, "at equal steps"
    p_values = {}
    for one in laboratory.rows("small-versus"):
        p_values.setdefault(frozenset((one["arm"], one["other"])), set()).add(
            (one["p_paired"], one["p_holm"])
        )
    (first, second) = sorted(p for of in p_values.values() for p in of)
    assert first[1] == pytest.approx(min(1.0, 2 * first[0])), "two tests, each seen both ways"
    assert second[1] == pytest.approx(max(first[1], second[0]))
    assert "## Settings chosen on the dev draw" in (laboratory.out / "small.md").read_text()


async def test_nothing_is_done_twice(laboratory):
    """A repeated experiment needs no service; with one more arm or table only that is done."""
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        first = await laboratory.work(laboratory.experiment(), teacher_at, student_at)
        assert [
            (line.number, line.done) for line in lines(laboratory.experiment(), laboratory.out)
        ] == [(1, 1), (1, 1), (2, 2)]
        asked = teacher.calls.copy()
        assert await laboratory.work(laboratory.experiment(), "127.0.0.1:1", "127.0.0.1:1") == first
        more = laboratory.experiment(name="other", arms=("zero-shot", "paper", "random"))
        found = await laboratory.work(more, teacher_at, student_at)
    assert teacher.calls == asked
    assert len(student.trainings) == 2
    assert {arm: found[arm] for arm in first} == first
    answered = student.calls["answer"]
    assert answered == 80 + 3 * 40 + 3 + 5, "identified, measured three times, timed once"


@pytest.mark.parametrize("calls", [30, 100, 200])
async def test_stopped_anywhere_it_goes_on_where_it_was(laboratory, calls):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    experiment = laboratory.experiment(arms=("zero-shot", "paper", "labels-30"))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        student.trouble = lambda _: (
            Unavailable("gone") if student.calls["answer"] >= calls else None
        )
        with pytest.raises(Unavailable):
            await laboratory.work(experiment, teacher_at, student_at)
        student.trouble = lambda _: None
        rows = await laboratory.work(experiment, teacher_at, student_at)
    assert set(rows) == {"zero-shot", "paper", "labels-30"}
    assert teacher.calls["annotate"] == 80
    assert {count for key, count in student.keys.items() if key[-1] != "v1"} == {1}
    assert len(student.trainings) == 2


async def test_a_training_that_failed_is_told_and_tried_anew(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent(training_error=MpaError("out of memory"))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        with pytest.raises(MpaError, match="out of memory"):
            await laboratory.work(laboratory.experiment(), teacher_at, student_at)
        student.training_error = None
        rows = await laboratory.work(laboratory.experiment(), teacher_at, student_at)
    assert rows["paper"]["samples"] > 0
    first, again, second = (request.request_id for request in student.trainings)
    assert first == again != second


async def test_a_student_at_parity_is_told_and_nothing_is_trained(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent(skills={"v1": 0.95})
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(
            laboratory.experiment(arms=("zero-shot", "paper", "labels-30")), teacher_at, student_at
        )
    assert "the gap has" in rows["paper"]["reason"]
    assert rows["paper"]["mean"] is None
    assert rows["labels-30"]["mean"] is not None
    assert len(student.trainings) == 1


async def test_another_student_or_other_data_are_never_mixed_in(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        await laboratory.work(laboratory.experiment(), teacher_at, student_at)
        student.weights["v1"] = "other weights"
        with pytest.raises(WrongState, match="other weights than this experiment began with"):
            await laboratory.work(
                laboratory.experiment(arms=("zero-shot", "paper", "random")), teacher_at, student_at
            )
        with pytest.raises(WrongState, match="other settings"):
            await laboratory.work(
                laboratory.experiment(text="questions = 2\n" + FILE), teacher_at, student_at
            )


def test_the_usual_pixel_budget_is_that_of_the_students_preset(laboratory):
    asked, out = laboratory.experiment(), laboratory.out
    large = laboratory.experiment("max_pixels = 2_000_000\n" + FILE)
    (student,) = asked.students
    usual = PixelBudget(1_003_520, 28)
    for _ in range(2):
        assert settle_budget(asked, student, out / "new") == usual
        assert settle_budget(large, student, out / "new") == PixelBudget(2_000_000, 28)
    (out / "early" / "runs" / student).mkdir(parents=True)
    assert settle_budget(asked, student, out / "early") == UNLIMITED, "as it began"
    assert settle_budget(large, student, out / "early") == PixelBudget(2_000_000)


async def test_runs_and_trainings_of_an_earlier_release_continue(laboratory):
    """They have no pixel budget."""
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    asked = laboratory.experiment(arms=("zero-shot", "paper", "labels"))
    (name,) = asked.students
    (laboratory.out / "runs" / name).mkdir(parents=True)  # it has begun
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        first = await laboratory.work(asked, teacher_at, student_at)
        (laboratory.out / "runs" / name / "pixels.json").unlink()
        assert await laboratory.work(asked, teacher_at, student_at) == first
    stored = settings_of(laboratory.out / "runs" / name / "qwen2vl-7b" / "vqa")
    assert stored.pixel_budget == UNLIMITED
    assert len(student.trainings) == 2
