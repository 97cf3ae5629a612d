"""Room for a training in the memory of its devices, estimated before anything begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.memory import BFLOAT16, FLOAT32, Dimensions
from services.core.presets import Hyperparameters
from services.core.training_memory import (
    SampleSize,
    TrainingWay,
    fastest_that_fits,
    fits,
    leaner,
    training_bytes,
)
from services.engines.gpus import require_named, visible_gpus
from services.engines.room import free_memory, gib
from services.engines.weights import file_bytes
from services.student.execution import AUTO, Execution

DEVICES = "MPA_STUDENT_TRAINING_DEVICES"
RANK = 16
"""Rank of the adapters in the advice."""
_SHARDS = (2, 3, 4, 6, 8)


@dataclass(frozen=True, slots=True)
class TrainingRoom:
    """Estimate of one training."""

    needed: int = 0
    """Bytes of each device, by `way`."""
    free: int = 0
    """Bytes on the fullest of the devices."""
    way: TrainingWay | None = None
    """The fastest way that fits, or else the leanest; None for the fake engine.

    If the micro batch is set, there is one way.
    """
    reason: str = "a scripted student takes no memory"
    """Text for people; advice if the training does not fit."""
    fits: bool = True


def training_room(
    base: Path,
    hyperparameters: Hyperparameters,
    execution: Execution,
    devices: str = "",
    sample: SampleSize | None = None,
) -> TrainingRoom:
    """Estimate of a training of the checkpoint in `base` on `devices`, as CUDA_VISIBLE_DEVICES.

    `sample`: size of the largest sample; by default that of a large photo.
    Raises InvalidInput: the batch can't be divided, the model can't be trained, a device is not
    there, or there are fewer devices than processes.
    """
    micro_batch, accumulated = execution.divide(hyperparameters.batch_size)
    if (base / "fake.json").is_file():
        return TrainingRoom()
    require_named(DEVICES, devices)
    execution.require_devices(len(visible_gpus(devices)))
    model, sample = _measure(base, sample)
    free, total = free_memory(execution.processes, devices)
    if total is None:
        free //= execution.processes  # they share the machine's memory
    in_bf16 = execution.precision == "bf16" or (execution.precision == "auto" and total is not None)
    first = TrainingWay(
        micro_batch=micro_batch,
        share=micro_batch * accumulated,
        checkpointing=execution.gradient_checkpointing,
        lora_rank=hyperparameters.lora_rank,
        processes=execution.processes,
        sharded=execution.sharded,
        value_bytes=BFLOAT16 if in_bf16 else FLOAT32,
        base_bytes=min(FLOAT32, file_bytes(base) // model.parameters) if in_bf16 else FLOAT32,
    )
    device = "the CPU's memory" if total is None else "each GPU" if first.processes > 1 else "a GPU"
    fastest = fastest_that_fits(model, sample, first, free)
    is_auto = execution.micro_batch == AUTO
    way = fastest if is_auto or fastest == first else None
    if way is not None:
        needed = training_bytes(model, sample, way)
        again = ", computing activations twice" if way.checkpointing else ""
        reason = (
            f"the training takes about {gib(needed)} of {device}, {way.micro_batch} samples at a "
            f"time{again}; {gib(free)} are free"
        )
        return TrainingRoom(needed, free, way, reason)
    if fastest is not None:
        needed = training_bytes(model, sample, first)
        reason = (
            f"the training takes about {gib(needed)} of {device} in micro batches of "
            f"{first.micro_batch}, but {gib(free)} are free: set "
            "MPA_STUDENT_TRAINING_MICRO_BATCH=auto"
        )
        return TrainingRoom(needed, free, first, reason, fits=False)
    leanest = list(leaner(first))[-1]
    needed = training_bytes(model, sample, leanest)
    advice = [*_ways_out(model, sample, leanest, free)]
    if total is not None and fits(model, sample, leanest, total):
        advice.append(
            "end the other processes on that GPU, or name a free one by "
            f"{DEVICES} (with --single-device, training has a GPU to itself)"
        )
    reason = (
        f"the training takes at least {gib(needed)} of {device}, even one sample at a time with "
        f"gradient checkpointing, but {gib(free)} are free: "
        f"{'; or '.join(advice) or 'choose a smaller student (`mpa-orch models`)'}"
    )
    return TrainingRoom(needed, free, leanest, reason, fits=False)


def _measure(base: Path, sample: SampleSize | None) -> tuple[Dimensions, SampleSize]:
    """Raises InvalidInput: transformers doesn't know the architecture, so it can't train it."""
    from services.engines.dimensions import largest_sample, read_dimensions

    try:
        return read_dimensions(base), sample or largest_sample(base)
    except (ValueError, OSError) as error:
        raise InvalidInput(
            f"the student in {base} can't be trained: transformers doesn't load it ({error})",
            field="base_version",
            reason="NOT_TRAINABLE",
        ) from error


def _ways_out(
    model: Dimensions, sample: SampleSize, leanest: TrainingWay, free: int
) -> Iterator[str]:
    """Settings by which the training would fit."""
    adapters = replace(leanest, lora_rank=RANK)
    if not leanest.lora_rank and fits(model, sample, adapters, free):
        yield f"train adapters (--lora-rank {RANK}: {gib(training_bytes(model, sample, adapters))})"
    batch = leanest.share * leanest.processes
    for processes in _SHARDS:
        shards = replace(leanest, processes=processes, sharded=True)
        is_more = processes > leanest.processes and batch % processes == 0
        if is_more and fits(model, sample, shards, free):
            yield (
                f"divide it among {processes} such GPUs "
                f"({gib(training_bytes(model, sample, shards))} each: name them in "
                f"{DEVICES}, set MPA_STUDENT_TRAINING_PROCESSES={processes} "
                "and MPA_STUDENT_TRAINING_SHARDED=1)"
            )
            return
