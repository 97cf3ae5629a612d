"""mpa.v1.TrainingService on top of a HostedStudent."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
from google.longrunning import operations_pb2

from protos.mpa.v1 import training_pb2, training_pb2_grpc
from services.core.contract import Contract
from services.core.errors import InvalidInput
from services.core.presets import Hyperparameters
from services.rpc.access.caller import the_caller
from services.rpc.access.roles import AccessRole
from services.rpc.limits import check_prompt, check_template
from services.rpc.wire import contract_from_proto
from services.student.datasets import TrainingSample
from services.student.job import TrainingRequest
from services.student.operations import (
    ReadyStudent,
    describe_operation,
    job_name,
    require_own,
)
from services.student.quotas import require_training
from services.student.trainable import require_trainable_parts
from services.student.uploads import Upload
from services.student.version_messages import way_to_proto

_MAX_LORA_RANK = 1024
_LOSSES_AT_ONCE = 50_000
"""Values of a message: 200 KB."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Servicer that receives datasets and starts trainings."""

    def __init__(self, student: ReadyStudent) -> None:
        self._student = student

    async def UploadDataset(
        self, requests: AsyncIterator[training_pb2.UploadDatasetRequest], context: Context
    ) -> training_pb2.UploadDatasetResponse:
        room = self._student().uploads
        in_thread = functools.partial(asyncio.get_running_loop().run_in_executor, room.threads)
        caller = the_caller()
        upload = Upload(room, caller.id, caller.allowance.limits.storage_bytes)
        try:
            async for request in requests:
                part = request.WhichOneof("part")
                if part == "image":
                    await in_thread(upload.add_image, request.image)
                elif part == "sample":
                    sample = _sample(request.sample)
                    if upload.is_ready_for(sample.image_sha256):
                        upload.add_sample(sample)
                    else:
                        await in_thread(upload.add_sample, sample)
            # To gRPC, a caller who breaks off looks like one who has sent everything: the
            # cancellation arrives a moment later.
            await in_thread(upload.flush)
            name = await in_thread(upload.finish)
            return training_pb2.UploadDatasetResponse(
                dataset=name, samples=upload.samples, images=upload.images
            )
        finally:
            await in_thread(upload.end)

    async def Train(
        self, request: training_pb2.TrainRequest, context: Context
    ) -> operations_pb2.Operation:
        student = self._student()
        base = request.base_version or student.versions.pointers.live
        training = TrainingRequest(
            request_id=request.request_id,
            dataset=request.dataset,
            base_version=base,
            run=request.run,
            recipe=request.recipe,
            is_trial=request.is_trial,
            key=the_caller().id,
            contract=_contract(request, student.store.manifest(base).contract),
            hyperparameters=_hyperparameters(
                request.hyperparameters, student.preset.hyperparameters
            ),
        )
        caller = the_caller()
        if known := student.jobs.of_request(request.request_id):
            require_own(student, known, AccessRole.OPERATE)
        elif most := caller.allowance.limits.trainings_per_day:
            require_training(student.jobs, caller.id, most)
        return describe_operation(student, await student.train(training))

    async def PlanTraining(
        self, request: training_pb2.PlanTrainingRequest, context: Context
    ) -> training_pb2.PlanTrainingResponse:
        student = self._student()
        room, plan = await student.plan_training(
            request.base_version or student.versions.pointers.live,
            _hyperparameters(request.hyperparameters, student.preset.hyperparameters),
        )
        return training_pb2.PlanTrainingResponse(
            fits=room.fits,
            reason=room.reason,
            memory_bytes=room.needed,
            free_memory_bytes=room.free,
            micro_batch=room.way.micro_batch if room.way else 0,
            gradient_checkpointing=room.way is not None and room.way.checkpointing,
            swap_way=way_to_proto(plan.way),
            swap_reason=plan.reason,
            takes_anchors=True,
        )

    async def GetSampleLosses(
        self, request: training_pb2.GetSampleLossesRequest, context: Context
    ) -> AsyncIterator[training_pb2.GetSampleLossesResponse]:
        student, name = self._student(), job_name(request.operation)
        require_own(student, name, AccessRole.READ)
        losses = await asyncio.to_thread(student.sample_losses, name)
        if losses is None:
            return
        at_once = max(1, _LOSSES_AT_ONCE // losses.epochs)
        for first in range(0, losses.samples, at_once):
            some = range(first, min(first + at_once, losses.samples))
            yield training_pb2.GetSampleLossesResponse(
                first=first,
                epochs=losses.epochs,
                losses=[value for sample in some for value in losses.of(sample)],
            )


def _sample(sent: training_pb2.TrainingSample) -> TrainingSample:
    weight = sent.weight if sent.HasField("weight") else 1.0
    return TrainingSample(sent.image_sha256, sent.question, sent.answer, weight, sent.anchor)


def _contract(request: training_pb2.TrainRequest, base: Contract) -> Contract:
    """Contract of the version to be made. Raises InvalidInput: a bad text, or two templates."""
    asked = request.contract
    template = check_template(request.training_template, "training_template")
    check_template(asked.answer_template, "contract.answer_template")
    check_template(asked.training_template, "contract.training_template")
    check_prompt(asked.system_prompt, "contract.system_prompt")
    if asked.training_template and template not in ("", asked.training_template):
        raise InvalidInput(
            "training_template and contract.training_template differ: give one of them",
            field="training_template",
        )
    contract = contract_from_proto(asked, base)
    return replace(contract, training_template=template) if template else contract


def _hyperparameters(
    message: training_pb2.Hyperparameters, preset: Hyperparameters
) -> Hyperparameters:
    given = {field.name: value for field, value in message.ListFields() if value != ""}
    chosen = replace(preset, **given)
    faults = {
        "learning_rate": not 0 < chosen.learning_rate < 1,
        "batch_size": not 1 <= chosen.batch_size <= 4096,
        "epochs": not 1 <= chosen.epochs <= 1000,
        "warmup_ratio": not 0 <= chosen.warmup_ratio < 1,
        "weight_decay": not 0 <= chosen.weight_decay < 1,
        "loss": chosen.loss not in ("token", "sample"),
        "lora_rank": not 0 <= chosen.lora_rank <= _MAX_LORA_RANK,
        "lora_alpha": not 0 < chosen.lora_alpha < math.inf,
        "tower_rate": not 0 <= chosen.tower_rate <= 1,
    }
    for name, wrong in faults.items():
        if wrong:
            raise InvalidInput(
                f"{name} is {getattr(chosen, name)!r}: it is out of range for a training",
                field=f"hyperparameters.{name}",
            )
    require_trainable_parts(chosen)
    return chosen
