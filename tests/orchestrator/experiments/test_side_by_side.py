"""Trainings and evaluations at the same time, and one after the other."""

import asyncio

from protos.mpa.v1 import versions_pb2
from services.core.errors import WrongState
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher
from tests.orchestrator.scripted_service import abort, serving

WITHIN_S = 90.0


class Patient(ScriptedStudent):
    """Its second training lasts until the version of the first has answered a whole test."""

    async def GetOperation(self, request, context):
        answered = sum(count for key, count in self.keys.items() if key[-1] == "v2")
        return self._operation(done=len(self.trainings) < 2 or answered == 40)


async def test_a_student_is_measured_while_the_next_one_trains(laboratory):
    teacher, student = ScriptedTeacher(), Patient(trained_later=(0.8,))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        work = laboratory.work(laboratory.experiment(seeds=(0, 1)), teacher_at, student_at)
        rows = await asyncio.wait_for(work, WITHIN_S)
    assert rows["paper"]["seeds"] == 2
    assert all(request.is_trial for request in student.trainings)


async def test_on_a_single_device_all_train_before_any_is_measured(laboratory):
    teacher, student = ScriptedTeacher(), ScriptedStudent(trained_later=(0.8,))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        experiment = laboratory.experiment(seeds=(0, 1))
        rows = await laboratory.work(experiment, teacher_at, student_at, is_single_device=True)
    assert rows["paper"]["seeds"] == 2
    said = [line.partition(" ")[0] for line in laboratory.output.getvalue().splitlines()]
    steps = [word for word in said if word in ("train", "evaluate")]
    assert steps == ["train", "train", "evaluate", "evaluate", "evaluate"]


class Full(ScriptedStudent):
    """Has room for another version once its second training has ended."""

    refused_loads = 0

    async def GetVersion(self, request, context):
        response = await super().GetVersion(request, context)
        if request.name != "v1":
            response.version.state = versions_pb2.VERSION_STATE_UNLOADED
        return response

    async def LoadVersion(self, request, context):
        if not self.is_trained:
            self.refused_loads += 1
            await abort(context, WrongState("no memory is free", reason="NO_ROOM"))
        return versions_pb2.LoadVersionResponse()

    @property
    def is_trained(self):
        return len(self.trainings) == 2 and self.refused_loads > 0

    async def GetOperation(self, request, context):
        return self._operation(done=len(self.trainings) < 2 or self.is_trained)


async def test_without_memory_for_both_a_student_is_measured_after_the_trainings(laboratory):
    teacher, student = ScriptedTeacher(), Full(trained_later=(0.8,))
    async with serving(teacher) as teacher_at, serving(student) as student_at:
        work = laboratory.work(laboratory.experiment(seeds=(0, 1)), teacher_at, student_at)
        rows = await asyncio.wait_for(work, WITHIN_S)
    assert student.refused_loads == 1
    assert rows["paper"]["seeds"] == 2
    assert "is measured after the trainings: no memory is free" in laboratory.output.getvalue()
