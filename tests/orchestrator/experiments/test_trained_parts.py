"""Arms that train a part of the student, or by samples with weights: their requests."""

from services.core.parity import Cell
from services.orchestrator.run.run import read_run
from tests.orchestrator.experiments.test_repaired import Keeping
from tests.orchestrator.scripted import ScriptedTeacher
from tests.orchestrator.scripted_service import serving
from tests.orchestrator.steps.test_anchoring import TAKES_ANCHORS

ARMS = ("filtered", "filtered+narrow", "filtered+narrow-gate-up", "paper+tower-0.1")


async def test_the_student_is_told_which_parts_to_train(laboratory):
    teacher, student = ScriptedTeacher(), Keeping()
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        await laboratory.work(laboratory.experiment(arms=ARMS), teacher_at, student_at)
    found = {request.recipe: request.hyperparameters for request in student.trainings}
    assert [found[arm].trainable for arm in ARMS] == ["", "attention", "gate-up", ""]
    assert found["paper+tower-0.1"].tower_rate == 0.1
    assert not any(found[arm].HasField("tower_rate") for arm in ARMS[:-1])
    assert not found["filtered"].HasField("trainable")


async def test_gap_samples_weigh_more_in_the_loss(laboratory):
    teacher, student = ScriptedTeacher(), Keeping(forecast=TAKES_ANCHORS)
    arms = ("filtered", "filtered+weight-3")
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        await laboratory.work(laboratory.experiment(arms=arms), teacher_at, student_at)
    plain, weighted = (student.sent_samples[request.dataset] for request in student.trainings)
    assert not any(sample.HasField("weight") for sample in plain)
    with read_run(next(laboratory.out.glob("runs/*/*/vqa"))) as run:
        gap = {
            (one.image_sha256, one.question) for one in run.ledger.records() if one.cell is Cell.GAP
        }
    for sample in weighted:
        is_gap = (sample.image_sha256, sample.question) in gap
        assert sample.HasField("weight") is is_gap
        assert sample.weight == (3.0 if is_gap else 0.0)
    assert gap
