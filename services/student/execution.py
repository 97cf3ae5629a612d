"""How a training is carried out, as opposed to what is trained: memory, number format, devices. None of it changes the result
beyond rounding, except `group_by_length`, which changes what is drawn together."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.environment import Environment

PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, slots=True)
class Execution:
    """Read from MPA_STUDENT_TRAINING_*.

    `micro_batch`: samples that one process computes at a time (0: its whole share at once); the effective batch is
    `micro_batch` x accumulation x `processes`.
    `gradient_checkpointing` computes activations twice instead of keeping them.
    `precision`: "bf16" computes in bfloat16 over fp32 master weights, "auto" does so on a GPU that can.
    `processes`: one for each device. With `sharded` they hold a part of the weights, gradients and optimizer state each
    (FSDP), otherwise all of them (DDP).
    `group_by_length` draws samples of like length together, so that less is padding.
    `workers`: processes that decode and tokenize ahead of each training process; 0 leaves it to the training process itself.
    """

    micro_batch: int = 0
    gradient_checkpointing: bool = False
    precision: str = "auto"
    processes: int = 1
    sharded: bool = False
    group_by_length: bool = False
    workers: int = 0

    @staticmethod
    def from_environment(env: Environment) -> Execution:
        """Raises InvalidInput, naming the variable that is wrong."""
        execution = Execution(
            micro_batch=env.integer("TRAINING_MICRO_BATCH", 0),
            gradient_checkpointing=env.flag("TRAINING_GRADIENT_CHECKPOINTING"),
            precision=env.text("TRAINING_PRECISION", "auto"),
            processes=env.integer("TRAINING_PROCESSES", 1),
            sharded=env.flag("TRAINING_SHARDED"),
            group_by_length=env.flag("TRAINING_GROUP_BY_LENGTH"),
            workers=env.integer("TRAINING_WORKERS", 0),
        )
        faults = {
            "micro_batch": (execution.micro_batch < 0, "0 or more"),
            "precision": (execution.precision not in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            "processes": (execution.processes < 1, "1 or more"),
            "sharded": (
                execution.sharded and execution.processes == 1,
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

    def divide(self, batch_size: int) -> tuple[int, int]:
        """An effective batch as (micro batch of one process, micro batches that are accumulated).

        Raises InvalidInput: it can't be divided without a rest.
        """
        share, rest = divmod(batch_size, self.processes)
        if rest:
            raise InvalidInput(
                f"batch_size is {batch_size}: that can't be divided among {self.processes} training processes",
                field="hyperparameters.batch_size",
            )
        micro_batch = min(self.micro_batch or share, share)
        if share % micro_batch:
            raise InvalidInput(
                f"batch_size is {batch_size}, {share} for each training process: that can't be divided into micro batches of "
                f"{micro_batch}",
                field="hyperparameters.batch_size",
            )
        return micro_batch, share // micro_batch
