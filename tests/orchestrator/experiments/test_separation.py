"""Images that a model is measured on are never trained on."""

from services.orchestrator.run.run import read_run
from tests.orchestrator.experiments.conftest import FILE, write_labelled
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import serving


async def test_labels_about_images_of_a_test_are_left_out(laboratory):
    write_labelled(
        laboratory.data / "labels.jsonl", [*range(1010, 1020), *range(2100, 2130)]
    )  # ten of them are the test's
    student = ScriptedStudent()
    async with serving(student) as student_at:
        rows = await laboratory.work(
            laboratory.experiment(arms=("zero-shot", "labels")), student=student_at
        )
    assert rows["labels"]["samples"] == 60


async def test_images_of_the_other_draw_are_never_trained_on_either(laboratory):
    write_labelled(laboratory.data / "dev.jsonl", range(2100, 2120))
    (laboratory.data / "pool" / "leak.png").write_bytes((laboratory.data / "1000.png").read_bytes())
    text = FILE + 'dev = {{ files = "dev.jsonl" }}\n'
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        dev = await laboratory.work(laboratory.experiment(text), teacher_at, student_at)
        annotated = teacher.calls["annotate"]
        judged = laboratory.experiment('draw = "test"\n' + text, "judged")
        test = await laboratory.work(judged, teacher_at, student_at)
    with read_run(laboratory.out / "runs/qwen2vl-2b/qwen2vl-7b/vqa") as run:
        assert "leak.png" not in {record.path for record in run.ledger.records()}
    assert teacher.calls["annotate"] == annotated
    assert len(student.trainings) == 1
    assert [(row["paper"]["draw"], row["paper"]["samples"]) for row in (dev, test)] == [
        ("dev", test["paper"]["samples"]),
        ("test", dev["paper"]["samples"]),
    ]
    assert "Measured on the dev draw" in (laboratory.out / "small.md").read_text()


async def test_images_of_the_test_in_the_pool_are_never_trained_on(laboratory):
    for number in range(1000, 1020):
        (laboratory.data / "pool" / f"leak{number}.png").write_bytes(
            (laboratory.data / f"{number}.png").read_bytes()
        )
    teacher, student = ScriptedTeacher(), ScriptedStudent()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        await laboratory.work(laboratory.experiment(), teacher_at, student_at)
    assert teacher.calls["annotate"] == 80
