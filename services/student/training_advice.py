"""Advice for people whose training does not fit: the settings by which it would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from services.core.memory import Dimensions
from services.core.training_memory import (
    SampleSize,
    TrainingWay,
    fits,
    fits_in_host,
    host_bytes,
    training_bytes,
)
from services.engines.room import gib

DEVICES = "MPA_STUDENT_TRAINING_DEVICES"
RANK = 16
"""Rank of the adapters in the advice."""
_SHARDS = (2, 3, 4, 6, 8)


def too_large_for_host(needed: int, free: int) -> str:
    """Message: this machine has too little memory for an offloaded training."""
    return (
        f"the training takes about {gib(needed)} of this machine's memory for weights, gradients "
        f"and optimizer state, but {gib(free)} are free: use a machine with more memory, or unset "
        "MPA_STUDENT_TRAINING_OFFLOAD"
    )


def ways_out(
    model: Dimensions, sample: SampleSize, leanest: TrainingWay, free: int, host: int
) -> Iterator[str]:
    """Settings by which the training would fit, with `host` bytes of the machine free for them."""
    adapters = replace(leanest, lora_rank=RANK)
    if not leanest.lora_rank and fits(model, sample, adapters, free):
        yield f"train adapters (--lora-rank {RANK}: {gib(training_bytes(model, sample, adapters))})"
    offloaded = replace(leanest, offloaded=True)
    memory = host_bytes(model, offloaded)
    if (
        not leanest.offloaded
        and fits(model, sample, offloaded, free)
        and fits_in_host(model, offloaded, host)
    ):
        yield (
            "keep weights, gradients and optimizer state in this machine's memory, which is slower "
            f"(MPA_STUDENT_TRAINING_OFFLOAD=1: {gib(training_bytes(model, sample, offloaded))} of "
            f"{gib(free)} on the GPU, {gib(memory)} of {gib(host)} here)"
        )
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
