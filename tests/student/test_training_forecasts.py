"""Forecasts of a service: the memory and disk space of a training."""

import json

import grpc
import pytest

from protos.mpa.v1 import training_pb2, versions_pb2
from tests.serving import fake_student_settings, serving_student
from tests.student.test_training_room import write_sparse

pytestmark = pytest.mark.slow


async def test_the_service_forecasts_training_and_swap(tmp_path):
    async with serving_student(fake_student_settings(tmp_path)) as peer:
        plan = await peer.training.PlanTraining(training_pb2.PlanTrainingRequest())
        assert plan.fits
        assert plan.swap_way == versions_pb2.SWAP_WAY_TWO_SLOTS
    crowded = tmp_path / "crowded"
    async with serving_student(fake_student_settings(crowded, memory_gib=1e6)) as peer:
        plan = await peer.training.PlanTraining(training_pb2.PlanTrainingRequest())
        assert plan.swap_way == versions_pb2.SWAP_WAY_IN_PLACE
        assert "does not fit: it takes 1000000.0 GiB" in plan.swap_reason


async def test_a_published_form_that_must_be_converted_is_told_before_a_run(tmp_path):
    settings = fake_student_settings(tmp_path)
    config = {"architectures": ["InternVLChatModel"]}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    async with serving_student(settings) as peer:
        with pytest.raises(grpc.aio.AioRpcError, match="mpa-orch models convert") as refused:
            await peer.training.PlanTraining(training_pb2.PlanTrainingRequest())
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_disk_without_room_for_a_training_is_told_before_a_run(tmp_path):
    settings = fake_student_settings(tmp_path)
    write_sparse(tmp_path / "base", {"a": (2**23, 2**20)}, has_data=False)
    async with serving_student(settings) as peer:
        plan = await peer.training.PlanTraining(training_pb2.PlanTrainingRequest())
        assert not plan.fits
        assert "of disk for its checkpoints and result" in plan.reason
