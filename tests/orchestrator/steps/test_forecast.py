"""A run that its student can't end stops before its first image is annotated."""

from dataclasses import replace

import pytest

from protos.mpa.v1 import training_pb2, versions_pb2
from services.core.errors import WrongState
from services.orchestrator.steps.forecast import TRAINING_DOES_NOT_FIT
from tests.orchestrator.conftest import bench
from tests.orchestrator.scripted import ScriptedStudent
from tests.orchestrator.test_in_turn import align_in_turn

FITS = training_pb2.PlanTrainingResponse(
    fits=True,
    reason="the training takes about 30 GiB of a GPU",
    swap_way=versions_pb2.SWAP_WAY_TWO_SLOTS,
)
TOO_LARGE = training_pb2.PlanTrainingResponse(
    reason="the training takes at least 74.3 GiB of a GPU: train adapters (--lora-rank 16)"
)
ONE_FITS = training_pb2.PlanTrainingResponse(
    fits=True,
    swap_way=versions_pb2.SWAP_WAY_IN_PLACE,
    swap_reason="a second model does not fit",
)


async def test_a_training_that_does_not_fit_stops_the_run_before_its_first_image(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(forecast=TOO_LARGE)) as b:
        with pytest.raises(WrongState, match=r"no room for the run's .*--lora-rank") as no:
            await b.align()
        assert no.value.reason == TRAINING_DOES_NOT_FIT
        assert not b.teacher.calls
        b.student.forecast = FITS
        assert (await b.align()).promoted


async def test_a_candidate_that_could_not_be_evaluated_stops_the_run_unless_it_may_be_tried(
    tmp_path, pool
):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(forecast=ONE_FITS)) as b:
        with pytest.raises(WrongState, match=r"room for one model \(a second .*--trial") as no:
            await b.align()
        assert no.value.reason == "ONE_MODEL_FITS"
        assert not b.teacher.calls
        b.where = replace(b.where, is_trial=True)
        assert (await b.align()).promoted


async def test_the_forecast_is_of_the_runs_own_training_and_is_shown(tmp_path, pool):
    student = ScriptedStudent(forecast=FITS)
    async with bench(tmp_path / "run", pool, student=student, lora_rank=8, limit=40) as b:
        await b.align()
        assert "level: the training takes about 30 GiB of a GPU" in b.output.getvalue()
        await b.align()
    (asked,) = student.plans
    assert asked.hyperparameters.lora_rank == 8


async def test_in_turn_the_student_is_asked_first_too(tmp_path, pool):
    async with bench(tmp_path / "run", pool, student=ScriptedStudent(forecast=TOO_LARGE)) as b:
        with pytest.raises(WrongState, match="no room for the run's training"):
            await align_in_turn(b)
        assert not b.teacher.calls
