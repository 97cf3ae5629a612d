"""Room for a training in the memory of its devices, estimated before anything begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.memory import BFLOAT16, FLOAT32, Dimensions
from services.core.presets import Hyperparameters
from services.core.training_memory import (
    SampleSize,
    TrainingWay,
    fastest_that_fits,
    fits,
    fits_in_host,
    host_bytes,
    leaner,
    training_bytes,
)
from services.engines.gpus import require_named, visible_gpus
from services.engines.host_memory import ROOT, machine_memory
from services.engines.room import free_memory, gib
from services.engines.weights import file_bytes
from services.student.execution import AUTO, Execution
from services.student.trainable import trained_parameters
from services.student.training_advice import DEVICES, too_large_for_host, ways_out


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
    root: Path = ROOT,
) -> TrainingRoom:
    """Estimate of a training of the checkpoint in `base` on `devices`, as CUDA_VISIBLE_DEVICES.

    `sample`: size of the largest sample; by default that of a large photo. `root`: see host_memory.
    Raises InvalidInput: the batch can't be divided, the model can't be trained, a device is not
    there, or there are fewer devices than processes.
    """
    execution.divide(hyperparameters.batch_size)
    if (base / "fake.json").is_file():
        return TrainingRoom()
    require_named(DEVICES, devices)
    execution.require_devices(len(visible_gpus(devices)))
    model, sample = _measure(base, sample)
    free, total = free_memory(execution.processes, devices)
    has_gpu = total is not None
    first = _first_way(base, model, hyperparameters, execution, has_gpu=has_gpu)
    leanest = list(leaner(first))[-1]
    host, _ = machine_memory(root)
    if first.offloaded:
        needed = host_bytes(model, first)
        if not fits_in_host(model, first, host):
            return TrainingRoom(needed, host, leanest, too_large_for_host(needed, host), fits=False)
        free -= 0 if has_gpu else needed
    if not has_gpu:
        free //= execution.processes  # they share the machine's memory
    device = "the CPU's memory" if not has_gpu else "each GPU" if first.processes > 1 else "a GPU"
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
        if way.offloaded:
            reason += f"; and {gib(host_bytes(model, way))} of this machine's memory"
        return TrainingRoom(needed, free, way, reason)
    if fastest is not None:
        needed = training_bytes(model, sample, first)
        reason = (
            f"the training takes about {gib(needed)} of {device} in micro batches of "
            f"{first.micro_batch}, but {gib(free)} are free: set "
            "MPA_STUDENT_TRAINING_MICRO_BATCH=auto"
        )
        return TrainingRoom(needed, free, first, reason, fits=False)
    needed = training_bytes(model, sample, leanest)
    advice = [*ways_out(model, sample, leanest, free, host if has_gpu else 0)]
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


def can_offload(
    base: Path, hyperparameters: Hyperparameters, execution: Execution, root: Path = ROOT
) -> bool:
    """Whether a training that no GPU had memory for fits into this machine's memory.

    False if it is there already.
    """
    if execution.offload or not visible_gpus():
        return False
    model, _ = _measure(base, SampleSize(tokens=0, patches=0))  # activations are on the device
    way = _first_way(base, model, hyperparameters, execution, has_gpu=True)
    return fits_in_host(model, way, machine_memory(root)[0])


def _first_way(
    base: Path,
    model: Dimensions,
    hyperparameters: Hyperparameters,
    execution: Execution,
    *,
    has_gpu: bool,
) -> TrainingWay:
    """The fastest way, by the settings."""
    micro_batch, accumulated = execution.divide(hyperparameters.batch_size)
    in_bf16 = execution.precision == "bf16" or (execution.precision == "auto" and has_gpu)
    return TrainingWay(
        micro_batch=micro_batch,
        share=micro_batch * accumulated,
        checkpointing=execution.gradient_checkpointing,
        lora_rank=hyperparameters.lora_rank,
        trained=trained_parameters(base, hyperparameters),
        processes=execution.processes,
        sharded=execution.sharded,
        offloaded=execution.offload,
        value_bytes=BFLOAT16 if in_bf16 else FLOAT32,
        base_bytes=min(FLOAT32, file_bytes(base) // model.parameters) if in_bf16 else FLOAT32,
    )


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
