"""Attempts of a training whose micro batch is chosen by memory.

STORE/jobs/<id>/attempts.json   all attempts so far, the current one last

The first one is estimated. If its memory runs out all the same, the next one computes half as many
samples at a time, and then also computes activations twice. Each is a fresh process, whose memory
is empty. All of them learn from the same effective batches, so an attempt may continue from a
checkpoint of an earlier one.

At last weights, gradients and optimizer state move to this machine's memory (offload), if there is
room. Its checkpoints have another form, so the training begins again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from services.core.training_memory import TrainingWay
from services.files import write_atomically
from services.student.execution import AUTO, Execution
from services.student.job import Job

_FILE = "attempts.json"
OUT_OF_HOST_MEMORY = (
    "it was killed, as the kernel does if this machine's memory runs out; free that memory of "
    "other processes, raise the container's limit, or use a machine with more memory"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Choices that decide a training's memory."""

    micro_batch: int
    """Samples that one process computes at a time; AUTO: the attempt estimates it at its start."""
    gradient_checkpointing: bool
    offload: bool = False

    def __str__(self) -> str:
        size = "auto" if self.micro_batch == AUTO else str(self.micro_batch)
        again = " with gradient checkpointing" if self.gradient_checkpointing else ""
        return size + again + (" and offload" if self.offload else "")


def read_attempts(folder: Path) -> list[Attempt]:
    """Attempts of the job in `folder`, the earliest first."""
    path = folder / _FILE
    return [Attempt(**raw) for raw in json.loads(path.read_text())] if path.is_file() else []


def _add(folder: Path, attempt: Attempt) -> None:
    before = [each for each in read_attempts(folder) if each.micro_batch != AUTO]
    attempts = [*before, attempt]
    write_atomically(folder / _FILE, json.dumps([asdict(each) for each in attempts]))


def begin(folder: Path, way: TrainingWay | None) -> None:
    """Record an attempt: the estimated way."""
    if way is not None:
        _add(folder, Attempt(way.micro_batch, way.checkpointing, way.offloaded))


def execution_of(folder: Path, job: Job) -> Execution:
    """The job's execution with the choices of its current attempt."""
    attempts = read_attempts(folder)
    if job.execution.micro_batch != AUTO or not attempts:
        return job.execution
    return replace(job.execution, **asdict(attempts[-1]))


def make_smaller(folder: Path, job: Job) -> Attempt | None:
    """Record and return the attempt after one that ran out of memory; None: there is none."""
    attempts = read_attempts(folder)
    if job.execution.micro_batch != AUTO or not attempts:
        return None
    last = attempts[-1]
    share, _ = replace(job.execution, micro_batch=0).divide(job.hyperparameters.batch_size)
    halves = [size for size in range(last.micro_batch // 2, 0, -1) if share % size == 0]
    if not halves and last.gradient_checkpointing:
        return None
    # Offloaded weights are read again for each micro batch, but not for checkpointing.
    is_whole = last.offload and not last.gradient_checkpointing
    following = (
        replace(last, micro_batch=halves[0])
        if halves and not is_whole
        else replace(last, gradient_checkpointing=True)
    )
    _add(folder, following)
    return following


def offload(folder: Path) -> Attempt:
    """Record and return the attempt after the last that a device had no memory for.

    It begins again: checkpoints of earlier attempts are removed.
    """
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    following = Attempt(AUTO, gradient_checkpointing=True, offload=True)
    _add(folder, following)
    return following


def after_kill(folder: Path, job: Job) -> Attempt | None:
    """Record and return the attempt after one that took more than this machine's memory.

    None: there is none. Smaller micro batches don't shrink weights that are in that memory.
    """
    return None if execution_of(folder, job).offload else make_smaller(folder, job)


def too_large(folder: Path, job: Job) -> str:
    """Message for people: memory ran out, and nothing smaller is left to try."""
    execution = execution_of(folder, job)
    micro_batch, _ = job.execution.divide(job.hyperparameters.batch_size)
    tried = ", ".join(map(str, read_attempts(folder))) or micro_batch
    ways = ["free the device of other processes", "use a device with more memory"]
    if not job.hyperparameters.lora_rank:
        ways.append("train adapters (--lora-rank 16)")
    if not execution.offload:
        ways.append(
            "keep weights and optimizer state in this machine's memory "
            "(MPA_STUDENT_TRAINING_OFFLOAD=1)"
        )
    if not execution.sharded:
        ways.append(
            "divide the model among devices (MPA_STUDENT_TRAINING_PROCESSES above 1 and "
            "MPA_STUDENT_TRAINING_SHARDED=1)"
        )
    if job.execution.micro_batch != AUTO:
        ways.insert(0, "set MPA_STUDENT_TRAINING_MICRO_BATCH=auto")
    return (
        "the device has too little memory for this training: tried micro batches of size "
        f"{tried}; {'; or '.join(ways)}"
    )
