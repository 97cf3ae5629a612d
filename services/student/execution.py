"""Execution of a training: memory, number format, devices.

None of it changes the result beyond rounding, except `group_by_length`, which changes the batches.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.environment import Environment

PRECISIONS = ("auto", "fp32", "bf16")
AUTO = -1
"""Micro batch that is chosen by the free memory."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Settings read from MPA_STUDENT_TRAINING_*."""

    micro_batch: int = 0
    """Samples that one process computes at a time; 0: its whole share; AUTO: as memory allows, with
    gradient checkpointing if needed.

    The effective batch is `micro_batch` x accumulation x `processes`.
    """
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    precision: str = "auto"
    """"bf16": compute in bfloat16 with fp32 master weights; "auto": the same on a GPU that can."""
    processes: int = 1
    """Number of training processes, one for each device."""
    sharded: bool = False
    """Divide weights, gradients and optimizer state among the processes (FSDP) instead of copying
    them (DDP)."""
    offload: bool = False
    """Keep weights, gradients and optimizer state in this machine's memory. A device holds one
    layer at a time, and the activations (FSDP, also in one process)."""
    group_by_length: bool = False
    """Draw samples of similar length together, to save padding."""
    workers: int = 0
    """Processes that decode and tokenize for each training process; 0: it does so itself."""

    @property
    def uses_fsdp(self) -> bool:
        """Whether a device gathers one layer at a time instead of holding the weights."""
        return self.sharded or self.offload

    @property
    def needs_launcher(self) -> bool:
        """Whether torchrun starts the processes that compute."""
        return self.processes > 1 or self.offload

    @staticmethod
    def from_environment(env: Environment) -> Execution:
        """Raises InvalidInput, naming the variable that is wrong."""
        execution = Execution(
            micro_batch=_micro_batch(env),
            gradient_checkpointing=env.flag("TRAINING_GRADIENT_CHECKPOINTING"),
            precision=env.text("TRAINING_PRECISION", "auto"),
            processes=env.integer("TRAINING_PROCESSES", 1),
            sharded=env.flag("TRAINING_SHARDED"),
            offload=env.flag("TRAINING_OFFLOAD"),
            group_by_length=env.flag("TRAINING_GROUP_BY_LENGTH"),
            workers=env.integer("TRAINING_WORKERS", 0),
        )
        faults = {
            "precision": (execution.precision not in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            "processes": (execution.processes < 1, "1 or more"),
            "sharded": (
                execution.sharded and not execution.needs_launcher,
                f"0, or {env.prefix}TRAINING_PROCESSES above 1",
            ),
            "workers": (execution.workers < 0, "0 or more"),
        }
        for name, (wrong, instead) in faults.items():
            if wrong:
                variable = f"{env.prefix}TRAINING_{name.upper()}"
                raise InvalidInput(
                    f"{variable} is {getattr(execution, name)!r}: give {instead}", field=variable
                )
        return execution

    def require_devices(self, found: int) -> None:
        """Raises InvalidInput: fewer GPUs than processes. Without any, all run on the CPU."""
        if 0 < found < self.processes:
            raise InvalidInput(
                f"MPA_STUDENT_TRAINING_PROCESSES is {self.processes}, but training may use only "
                f"{found} devices: set it lower, or add devices to MPA_STUDENT_TRAINING_DEVICES",
                field="processes",
            )

    def divide(self, batch_size: int) -> tuple[int, int]:
        """Divide an effective batch into (size of a micro batch, number of accumulated ones).

        AUTO counts as the whole share. Raises InvalidInput: the division leaves a rest.
        """
        share, rest = divmod(batch_size, self.processes)
        if rest:
            raise InvalidInput(
                f"batch_size is {batch_size}: that can't be divided among {self.processes} "
                "training processes; give a multiple",
                field="hyperparameters.batch_size",
            )
        micro_batch = min(self.micro_batch, share) if self.micro_batch > 0 else share
        if share % micro_batch:
            raise InvalidInput(
                f"batch_size is {batch_size}, {share} for each training process: that can't be "
                f"divided into micro batches of {micro_batch}; give a multiple",
                field="hyperparameters.batch_size",
            )
        return micro_batch, share // micro_batch


def _micro_batch(env: Environment) -> int:
    name = "TRAINING_MICRO_BATCH"
    if env.text(name, "auto") == "auto":
        return AUTO
    given = env.integer(name, 0)
    if given < 0:
        raise InvalidInput(
            f"{env.prefix}{name} is {given}: give auto, a number of samples, or 0 for the whole "
            "share of a process",
            field=env.prefix + name,
        )
    return given
