"""Arms with anchors: what the student is sent, and what is counted."""

from collections import Counter
from dataclasses import replace

from tests.orchestrator.experiments.test_repaired import Keeping
from tests.orchestrator.scripted import ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from tests.orchestrator.steps.test_anchoring import TAKES_ANCHORS, divided


async def test_an_arm_asks_the_questions_of_its_task(laboratory):
    student = Keeping(forecast=TAKES_ANCHORS)
    experiment = laboratory.experiment(arms=("filtered", "filtered+anchor-2"))
    questions = ("how old is it?", "where is it from?")
    entry = replace(experiment.entries["vqa"], anchor_questions=questions)
    experiment = replace(experiment, entries={**experiment.entries, "vqa": entry})
    async with serving(ScriptedTeacher()) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(experiment, teacher_at, student_at)
        plain, request = student.trainings
        samples, anchors = divided(student.sent_samples[request.dataset])
        assert list(samples) == list(student.sent_samples[plain.dataset])
        asked = Counter(one.question for one in anchors)
        assert {*questions} <= asked.keys()
        assert max(asked.values()) - min(asked.values()) <= 1
        arm, other = rows["filtered+anchor-2"], rows["filtered"]
        assert arm["samples"] == other["samples"], "anchors are none"
        assert arm["steps"] > other["steps"]
        await laboratory.work(experiment, teacher_at, student_at)
        assert len(student.trainings) == 2
