"""Repaired arms: training records are asked again, and a second training meets some more often."""

from collections import Counter

import pytest

from services.core.errors import MpaError, Unavailable
from services.core.parity import Cell
from services.orchestrator.run.run import read_run
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher, answer
from tests.orchestrator.scripted_service import serving

ARMS = ("filtered", "filtered+repair-1", "paper+repair-2")


class Keeping(ScriptedStudent):
    """Keeps all that it was sent, by training."""

    async def UploadDataset(self, requests, context):
        response = await super().UploadDataset(requests, context)
        self.sent_samples = {**getattr(self, "sent_samples", {}), response.dataset: self.samples}
        return response


def _meetings(student, request):
    samples = student.sent_samples[request.dataset]
    return Counter((one.image_sha256, one.question) for one in samples)


async def test_broken_and_unfixed_samples_are_met_more_often(laboratory):
    teacher, student = ScriptedTeacher(), Keeping(trained_skill=0.3, trained_later=(0.9,))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        rows = await laboratory.work(laboratory.experiment(arms=ARMS), teacher_at, student_at)
    first, again, repaired, *_ = student.trainings
    assert again.request_id == first.request_id, "the training of filtered is not repeated"
    assert (first.recipe, repaired.recipe) == ("filtered", "filtered+repair-1")
    assert set(_meetings(student, first).values()) == {1}
    with read_run(next(laboratory.out.glob("runs/*/*/vqa"))) as run:
        cells = {
            (one.image_sha256, one.question): (one.cell, one.answer) for one in run.ledger.records()
        }
    for (image, question), times in _meetings(student, repaired).items():
        cell, annotated = cells[image, question]
        is_wrong = answer(student.skills["v2"], image, question) != annotated
        assert times == ((2 if cell is Cell.GAP else 3) if is_wrong else 1)
    assert 2 in _meetings(student, repaired).values()
    assert 3 in _meetings(student, repaired).values()
    assert rows["filtered+repair-1"]["samples"] == rows["filtered"]["samples"]
    assert rows["filtered+repair-1"]["steps"] > rows["filtered"]["steps"]


@pytest.mark.parametrize("calls", [150, 200, 260])
async def test_stopped_anywhere_no_training_is_repeated(laboratory, calls):
    teacher = ScriptedTeacher()
    student = Keeping(trained_skill=0.7, trained_later=(0.3, 0.9))
    experiment = laboratory.experiment(arms=("filtered+repair-2",))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        student.trouble = _gone_at(calls)
        with pytest.raises(MpaError):
            await laboratory.work(experiment, teacher_at, student_at)
        student.trouble = lambda _: None
        await laboratory.work(experiment, teacher_at, student_at)
        ids = [request.request_id for request in student.trainings]
        await laboratory.work(experiment, teacher_at, student_at)
    assert len(set(ids)) == 3
    assert [request.request_id for request in student.trainings] == ids


def _gone_at(calls):
    asked = Counter()

    def trouble(kind):
        asked[kind] += 1
        return Unavailable("gone") if asked.total() > calls else None

    return trouble
